"""One chunk of a run: its request, and what its reply brings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from styleserve import contract

from ..images.picture import Picture
from ..inputs.controls import UNSET, Controls
from ..inputs.picture_set import PictureSet
from ..wire import replies
from ..wire.messages import PredictRequest, PredictResponse
from ..wire.requests import Target, paint_request, resume_request
from ..wire.results import Floats
from .checkpoint import SavedRun


@dataclass(frozen=True, eq=False)
class Chunk:
    """Outputs of a chunk.

    Attributes:
        losses: Losses of its steps.
        state: State of the run; empty where it was not asked for.
        file: Picture as the server encoded it; empty where it was not asked for.
        image: Picture, decoded; None where it is not shown.
        version: Version of the model that answered.
        seconds: From the call to its reply.
        decode_s: Time to read the reply.
    """

    losses: Floats
    state: bytes
    file: bytes
    image: Image.Image | None
    version: int
    seconds: float = 0.0
    decode_s: float = 0.0


@dataclass(frozen=True, eq=False)
class ChunkCall:
    """A call for some steps of the current octave.

    Attributes:
        saved: The run so far.
        steps: Evaluations of the call.
        returns_state: Whether the reply has the state.
        returns_image: Whether the reply has the picture.
        shows: Whether the picture is decoded.
        lossless: Whether the next call starts from the picture, which has 16 bits a channel then.
    """

    saved: SavedRun
    steps: int
    returns_state: bool
    returns_image: bool
    shows: bool
    lossless: bool = False

    @property
    def controls(self) -> Controls:
        """Controls of the call. Noise is for the first call only."""
        controls = replace(self.saved.controls, steps=self.steps, max_side=self.saved.current_octave.max_side)
        if self.lossless:
            controls = replace(controls, image_format="png16")
        return replace(controls, start_noise=UNSET, seed=UNSET) if self.saved.start or self.saved.octave else controls

    def request(self, target: Target, pictures: PictureSet[Picture] | None) -> PredictRequest:
        """The request, with the state of the run or with its pictures."""
        if self.saved.state:
            request = resume_request(target, self.saved.state, self.controls, return_state=self.returns_state)
        else:
            assert pictures is not None  # noqa: S101 - `resumed` refuses runs that need pictures and have none
            request = paint_request(
                target, pictures, self.controls, start=self.saved.start, return_state=self.returns_state
            )
        wanted = {contract.LOSSES: True, contract.STATE: self.returns_state, contract.IMAGE_BYTES: self.returns_image}
        request.output_filter.extend(field.name for field, is_wanted in wanted.items() if is_wanted)
        return request

    def read(self, reply: PredictResponse) -> Chunk:
        """Outputs of the reply.

        Raises:
            BadReply: An output is missing, or does not fit the contract.
        """
        file = replies.painted_file(reply) if self.returns_image else b""
        optimizer = self.saved.controls.expected_optimizer
        return Chunk(
            losses=replies.losses(reply, self.steps, optimizer, before=self.saved.steps_done),
            state=replies.state(reply) if self.returns_state else b"",
            file=file,
            image=replies.painted_image(file) if self.shows else None,
            version=reply.model_spec.version.value,
        )
