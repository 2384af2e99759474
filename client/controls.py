"""The controls of a request, held against the wire contract before anything is sent."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import Enum
from numbers import Integral, Real
from typing import Final

from styleserve import contract

from .errors import ControlError
from .representation import changed_fields

_INT32_MAX: Final = 2**31 - 1
_LONGEST_S: Final = 30 * 24 * 3600


class Unset(Enum):
    """Type of `UNSET`."""

    UNSET = "the server's default"

    def __repr__(self) -> str:
        return self.name


UNSET: Final = Unset.UNSET
"""A control that is not sent, so that the model's own default holds. (None would be a value.)"""


@dataclass(frozen=True, kw_only=True, repr=False)
class Controls:
    """The controls of one request; each field is the `contract.Control` of its name.

    Numbers of other types, such as NumPy's, become Python's own.

    >>> Controls(steps=50), Controls(steps=50).sent()
    (Controls(steps=50), {'steps': 50})

    Raises:
        ControlError: a value is no number, or out of its range. The upper bounds of steps and sides are the model's,
            so the server checks those.
    """

    content_weight: float | Unset = UNSET
    style_weight: float | Unset = UNSET
    total_variation_weight: float | Unset = UNSET
    steps: int | Unset = UNSET
    learning_rate: float | Unset = UNSET
    max_side: int | Unset = UNSET

    def __repr__(self) -> str:
        return changed_fields(self)

    def __post_init__(self) -> None:
        for control in contract.CONTROLS:
            value: object = getattr(self, control.name)
            if value is not UNSET:
                object.__setattr__(self, control.name, _checked(control, value))

    def sent(self) -> dict[str, float | int]:
        """The controls that are set, by their names on the wire."""
        values = {control.name: getattr(self, control.name) for control in contract.CONTROLS}
        return {name: value for name, value in values.items() if value is not UNSET}

    @property
    def expected_steps(self) -> int:
        """Steps that the server will do, to go by."""
        if isinstance(self.steps, Unset):
            return int(max(contract.STEPS.tutorial, contract.STEPS.relative))
        return self.steps

    @property
    def expected_max_side(self) -> int:
        """Longest side that the server will work on, to go by."""
        if isinstance(self.max_side, Unset):
            return int(max(contract.MAX_SIDE.tutorial, contract.MAX_SIDE.relative))
        return self.max_side


def allowed_range(control: contract.Control) -> str:
    """The values a control may have, in words.

    >>> allowed_range(contract.LEARNING_RATE), allowed_range(contract.STEPS)
    ('from 0 to 1', "a whole number from 0 to the model's limit")
    """
    kind = "a whole number " if control.dtype == "int32" else ""
    end = "the model's limit" if control.maximum is None else f"{control.maximum:g}"
    return f"{kind}from {control.minimum:g} to {end}"


def checked_timeout_s(timeout_s: float) -> float:
    """The deadline, once it was found to be one.

    Raises:
        ControlError: it is not positive, or not finite: every call ends.
    """
    if not 0 < timeout_s < _LONGEST_S:
        raise ControlError(f"the timeout is {timeout_s} s; it must be over 0 and under {_LONGEST_S:,} (a month)")
    return timeout_s


def _checked(control: contract.Control, value: object) -> int | float:
    maximum = _INT32_MAX if control.maximum is None else control.maximum
    number = _plain(value, whole=control.dtype == "int32")
    if number is None or not control.minimum <= number <= maximum:  # NaN is in no range
        raise ControlError(
            f"{control.name} is {value!r}; it must be {allowed_range(control)}",
            hint=f"{control.help} Leave it out for the model's own default.",
        )
    return number


def _plain(value: object, *, whole: bool) -> int | float | None:
    """The number as an int or a float, which every encoder takes; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and not whole:
        with contextlib.suppress(OverflowError):  # of a fraction over all floats
            return float(value)
    return None
