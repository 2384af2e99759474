"""Start of a run: its pictures and options, the plan of a new run, and the checks of a resumed one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from styleserve import contract

from ..errors import ContractMismatch, ControlError, SavedRunError
from ..images.source import PictureSource
from ..inputs.controls import Controls, Unset, checked_timeout_s
from ..inputs.octaves import Octave, may_be_several, plan
from ..inputs.picture_set import PictureSet
from ..inputs.pictures import Regions, StyleSources, picture_set
from ..transport.actions import Operation
from ..transport.status import MISMATCH_HINT, mismatch_message
from .checkpoint import SavedRun
from .model_queries import ModelQueries


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a run beside pictures and controls.

    Attributes:
        images: Whether each chunk brings the picture.
        final_state: Whether an octave in one chunk brings its state, with which a finished run can be extended.
        chunk_s: Shortest time between two chunks, in seconds.
        chunk_steps: Evaluations of each chunk; None sizes chunks from measurements.
        whole: Whether each octave is one call, and `timeout_s` is for all of them together.
        timeout_s: Deadline of each chunk, with all its tries; `default_timeout_s` if None.
        request_id: Sent with every call of the run; a random one if None.

    Raises:
        ControlError: A value is out of its range.
    """

    images: bool = False
    final_state: bool = False
    chunk_s: float = 2.0
    chunk_steps: int | None = None
    whole: bool = False
    timeout_s: float | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.chunk_s < math.inf:
            raise ControlError(f"chunk_s is {self.chunk_s}; it must be over 0 and finite")
        if self.chunk_steps is not None and self.chunk_steps < 1:
            raise ControlError(f"chunk_steps is {self.chunk_steps}; it must be at least 1")
        if self.timeout_s is not None:
            checked_timeout_s(self.timeout_s)


def pictures_of_run(
    content: PictureSource | None,
    styles: StyleSources | None,
    *,
    content_regions: Regions,
    style_regions: Regions,
    start: PictureSource | None,
    reference: PictureSource | None,
    reference_mask: PictureSource | None,
) -> PictureSet[PictureSource] | None:
    """Sources of the pictures of a run; None where none are given, as a saved run may not need them.

    Raises:
        ControlError: Only a part of the pictures is given, or the number of masks is not that of the styles.
    """
    if (content is None) != (styles is None):
        raise ControlError(
            f"the {'content' if content is None else 'style'} is missing",
            hint="Give content and style, or neither and a saved run.",
        )
    if content is not None and styles is not None:
        return picture_set(
            content,
            styles,
            content_regions=content_regions,
            style_regions=style_regions,
            start=start,
            reference=reference,
            reference_mask=reference_mask,
        )
    if any(each is not None for each in (content_regions, style_regions, start, reference, reference_mask)):
        raise ControlError("masks or pictures are given without the content", hint="Give all pictures, or none.")
    return None


def plan_run(
    queries: ModelQueries, controls: Controls, timeout_s: float | None, request_id: str
) -> Operation[tuple[Controls, tuple[Octave, ...]]]:
    """Controls with steps and size, and octaves; the model is asked where they depend on it.

    Args:
        queries: Queries about the model.
        controls: Controls of the run.
        timeout_s: Deadline of the queries.
        request_id: Sent with the queries.

    Raises:
        ControlError: The run cannot have so many octaves.
        ContractMismatch: The model speaks another version of the wire contract.
        ServiceError: One of its subclasses says what else went wrong.
    """
    octaves, smallest_octave = controls.octaves, 0
    if isinstance(octaves, Unset) and controls.expected_loss == "tutorial":
        octaves = 1
    is_open = isinstance(controls.steps, Unset) or isinstance(controls.max_side, Unset)
    if is_open or may_be_several(controls.expected_max_side, controls.expected_steps, octaves):
        facts = yield from queries.facts(timeout_s, request_id)
        if facts.contract_version != contract.CONTRACT_VERSION:
            message = mismatch_message(queries.rpc.settings.server, facts.contract_version)
            raise ContractMismatch(message, hint=MISMATCH_HINT, request_id=request_id)
        controls = controls.over(Controls(steps=facts.steps, max_side=facts.max_side))
        smallest_octave = facts.smallest_octave
    return controls, plan(controls.expected_max_side, controls.expected_steps, octaves, smallest_octave)


def resumed(saved: SavedRun, model_name: str, controls: Controls, *, has_pictures: bool) -> SavedRun:
    """The saved run with the steps of `controls`.

    Raises:
        ControlError: A control is not that of the saved run.
        SavedRunError: The saved run has ended without a state, or has octaves left and no pictures are given.
    """
    if saved.steps_done and not saved.can_resume:
        raise SavedRunError(
            f"the saved run ended after {saved.steps_done} steps without a state, so it cannot be resumed",
            hint="Paint with --save-state (in Python, final_state=True) to extend finished runs.",
        )
    if saved.needs_pictures and not has_pictures:
        sizes = ", ".join(f"{octave.max_side}" for octave in saved.octaves[saved.octave :])
        raise SavedRunError(
            f"the saved run has sizes left that begin from the pictures: {sizes} pixels",
            hint="Give the pictures of the run.",
        )
    own: dict[str, object] = {**saved.controls.given(), "model_name": saved.model_name}
    for name in ("optimizer", "loss"):
        own.setdefault(name, getattr(saved.controls, f"expected_{name}"))
    given: dict[str, object] = {**controls.given(), "model_name": model_name}
    given.pop(contract.STEPS.name, None)
    for name, value in given.items():
        if own.get(name) != value:
            raise ControlError(
                f"{name} is {value}, but the saved run was begun with {own.get(name, 'the default of the model')}",
                hint="Leave it out, or begin a new run. Only the steps may differ.",
            )
    return saved.with_steps(controls.steps)
