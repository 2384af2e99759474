"""Start of a run: its options, the plan of a new run, and a saved run with what is asked for now."""

from __future__ import annotations

import math
from dataclasses import dataclass

from styleserve import contract

from ..errors import ContractMismatch, ControlError, SavedRunError
from ..inputs.controls import Controls, Unset, checked_timeout_s
from ..inputs.octaves import Octave, may_be_several, plan
from ..transport.effects import Flow
from ..transport.status import MISMATCH_HINT, mismatch_message
from .checkpoint import SavedRun
from .model_queries import Questions


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


def planned(
    questions: Questions, controls: Controls, timeout_s: float | None, request_id: str
) -> Flow[tuple[Controls, tuple[Octave, ...]]]:
    """Controls with steps and size, and octaves; the model is asked where these depend on it.

    Args:
        questions: Questions about the model.
        controls: Controls of the run.
        timeout_s: Deadline of the questions.
        request_id: Sent with the questions.

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
        facts = yield from questions.facts(timeout_s, request_id)
        if facts.contract_version != contract.CONTRACT_VERSION:
            message = mismatch_message(questions.caller.settings.server, facts.contract_version)
            raise ContractMismatch(message, hint=MISMATCH_HINT, request_id=request_id)
        controls = controls.over(Controls(steps=facts.steps, max_side=facts.max_side))
        smallest_octave = facts.smallest_octave
    return controls, plan(controls.expected_max_side, controls.expected_steps, octaves, smallest_octave)


def continued(saved: SavedRun, model_name: str, controls: Controls, *, has_pictures: bool) -> SavedRun:
    """The saved run, with the number of steps that is asked for now.

    Raises:
        ControlError: A control is not that of the saved run.
        SavedRunError: The saved run has ended without a state, or has octaves left and no pictures are given.
    """
    if saved.steps_done and not saved.can_resume:
        raise SavedRunError(
            f"the saved run ended after {saved.steps_done} steps without a state, so it cannot be resumed",
            hint="To extend finished runs, paint with --save-state (in Python, final_state=True).",
        )
    if saved.needs_pictures and not has_pictures:
        sizes = ", ".join(f"{octave.max_side}" for octave in saved.octaves[saved.octave :])
        raise SavedRunError(
            f"the saved run has sizes left that begin from the pictures: {sizes} pixels",
            hint="Give the pictures that it was begun with.",
        )
    its_own: dict[str, object] = {**saved.controls.given(), "model_name": saved.model_name}
    for name in ("optimizer", "loss"):
        its_own.setdefault(name, getattr(saved.controls, f"expected_{name}"))
    asked: dict[str, object] = {**controls.given(), "model_name": model_name}
    asked.pop(contract.STEPS.name, None)
    for name, value in asked.items():
        if its_own.get(name) != value:
            raise ControlError(
                f"{name} is {value}, but the saved run was begun with {its_own.get(name, 'the default of the model')}",
                hint="Leave it out, or begin a new run. Only the steps may be others.",
            )
    return saved.with_steps(controls.steps)
