"""Progress of a run in chunks."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ..images.picture import encode_png
from ..inputs.octaves import octave_of, work_done
from ..wire.results import Floats, StylizedResult
from .checkpoint import SavedRun


@dataclass(frozen=True, eq=False, repr=False)
class Progress:
    """Progress of a run after a chunk.

    Attributes:
        saved: The run so far; it can be written to a file and resumed. A run in one call has a state only where
            `final_state` was asked for.
        seconds: Time since the run began or was resumed.
        seconds_left: Estimate of the time for the rest.
        partial: Result of the steps so far, of the size of the octave; None where the picture was not asked for. The
            last chunk always has it.
    """

    saved: SavedRun
    seconds: float
    seconds_left: float
    partial: StylizedResult | None

    @property
    def image(self) -> Image.Image | None:
        """Picture so far, 8-bit RGB; None where it was not asked for."""
        return None if self.partial is None else self.partial.image

    @property
    def result(self) -> StylizedResult | None:
        """Result of the whole run; None until it is done."""
        return self.partial if self.steps_done >= self.steps_total else None

    def __repr__(self) -> str:
        time = f"{self.seconds:.1f} s, {self.seconds_left:.1f} s left"
        octave = f", octave {self.octave} of {self.octaves}" if self.octaves > 1 else ""
        steps = f"{self.steps_done} of {self.steps_total} steps{octave}"
        return f"<Progress: {steps}, {time}, model version {self.model_version}>"

    def _repr_png_(self) -> bytes | None:
        """The picture so far, for notebooks; None where it was not asked for."""
        return None if self.image is None else encode_png(self.image)

    @property
    def steps_done(self) -> int:
        """Evaluations so far, of all octaves."""
        return self.saved.steps_done

    @property
    def steps_total(self) -> int:
        """Evaluations of all octaves."""
        return self.saved.steps_total

    @property
    def octaves(self) -> int:
        """Number of octaves of the run."""
        return len(self.saved.octaves)

    @property
    def octave(self) -> int:
        """Number of the octave that the chunk was of; 1 is the smallest."""
        return octave_of(self.saved.octaves, max(self.steps_done - 1, 0)) + 1

    @property
    def fraction(self) -> float:
        """Share of the work that is done, in [0, 1]: pixels times evaluations."""
        return work_done(self.saved.octaves, self.steps_done)

    @property
    def losses(self) -> Floats:
        """Losses so far, `[steps_done, 5]` float32; columns as in `contract.LOSS_COLUMNS`."""
        return self.saved.losses

    @property
    def model_version(self) -> int:
        """Version of the model that made the last chunk."""
        return self.saved.model_version

    @property
    def notes(self) -> tuple[str, ...]:
        """Visible changes to the pictures on loading, and events of the run."""
        return self.saved.notes
