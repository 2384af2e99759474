"""How far a run in chunks is, and how long its next chunk may be."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Final

from PIL import Image

from .results import Floats, StylizedResult
from .saved import SavedRun

FIRST_CHUNK: Final = 2
"""Evaluations of the first chunk, whose pace is not known."""
_GROWTH: Final = 4
"""How many times as long as the chunk before a chunk may be: its pace may have been a fluke."""


@dataclass(frozen=True, eq=False, repr=False)
class Progress:
    """How far a run is.

    Attributes:
        saved: the run as it is now: it can be written to a file, and gone on with.
        image: 8-bit RGB, as far as it is; None where it was not asked for. The last one always has it.
        seconds: since the run was begun, or gone on with.
        seconds_left: that the rest will take, at the pace of the last chunk.
        result: of the whole run; None until it is done.
    """

    saved: SavedRun
    image: Image.Image | None
    seconds: float
    seconds_left: float
    result: StylizedResult | None

    def __repr__(self) -> str:
        time = f"{self.seconds:.1f} s, {self.seconds_left:.1f} s left"
        return f"<Progress: {self.steps_done} of {self.steps_total} steps, {time}, model version {self.model_version}>"

    def _repr_png_(self) -> bytes | None:
        """The picture so far, for notebooks; None where it was not asked for."""
        if self.image is None:
            return None
        file = io.BytesIO()
        self.image.save(file, "PNG")
        return file.getvalue()

    @property
    def steps_done(self) -> int:
        """Evaluations that were made."""
        return self.saved.steps_done

    @property
    def steps_total(self) -> int:
        """Evaluations that were asked for."""
        return self.saved.steps_total

    @property
    def losses(self) -> Floats:
        """So far, `[steps_done, 4]` float32; columns as in `contract.LOSS_COLUMNS`."""
        return self.saved.losses

    @property
    def model_version(self) -> int:
        """Of the model that made the last chunk."""
        return self.saved.model_version

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the pictures and can be seen, and what happened on the way."""
        return self.saved.notes


@dataclass(frozen=True)
class Pace:
    """How fast the last chunk was.

    Attributes:
        steps: its evaluations.
        seconds: that it took.
    """

    steps: int
    seconds: float

    def steps_in(self, seconds: float) -> int:
        """Evaluations of a chunk that is to take so long, or a little longer; not many times as many as the last.

        Rounded up, because each chunk carries the state there and back, which is the less of it the longer it takes.

        >>> [Pace(2, seconds).steps_in(3.0) for seconds in (1.0, 1.1, 0.001, 60.0)]
        [6, 6, 8, 1]
        """
        return min(math.ceil(seconds * self.steps / max(self.seconds, 1e-9)), self.steps * _GROWTH)
