"""Values of controls: checked against the contract, and read from text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Final, TypeAlias, cast

from styleserve import contract

from ..errors import ControlError

Value: TypeAlias = int | float | str | tuple[float, ...]

_INT32_MAX: Final = 2**31 - 1
_CONTROLS: Final = {control.name: control for control in contract.CONTROLS}


def allowed_values(control: contract.Control) -> str:
    """Description of the values that a control may have.

    >>> allowed_values(contract.LEARNING_RATE), allowed_values(contract.STEPS)
    ('from 0 to 1', "a whole number from 0 to the model's limit")
    >>> allowed_values(contract.STYLE_SCALE), allowed_values(contract.LOSS)
    ('from 0.125 to 8', 'one of painter, tutorial')
    """
    if control.choices:
        return f"one of {', '.join(control.choices)}"
    kind = "a whole number " if control.dtype == "int32" else ""
    end = "the model's limit" if control.maximum is None else _shown_number(control.maximum)
    return f"{kind}from {_shown_number(control.minimum)} to {end}"


def value_of_text(name: str, text: str, *, separator: str = ",") -> object:
    """Value of a control written as text, for `Controls` to check.

    >>> value_of_text("style_blend", "2,1"), value_of_text("steps", "50"), value_of_text("colors", "matched")
    ((2.0, 1.0), 50, 'matched')

    Raises:
        ControlError: The text is not a value of this control's type.
    """
    control = _CONTROLS.get(name)
    if control is not None and control.dtype == "string":
        return text
    kind = int if control is None or control.dtype == "int32" else float
    try:
        if control is not None and control.per:
            return tuple(float(part) for part in text.split(separator))
        return kind(text)
    except ValueError as error:
        allowed = "a whole number from 1" if control is None else allowed_values(control)
        parts = f", with {separator!r} between several" if control is not None and control.per else ""
        raise ControlError(f"{name} is {text!r}; it must be {allowed}{parts}") from error


def text_of_value(value: Value) -> str:
    """Text of a control's value, which `value_of_text` reads.

    >>> text_of_value((2.0, 1.0)), text_of_value(0.5), text_of_value(50)
    ('2,1', '0.5', '50')
    """
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def checked_value(control: contract.Control, value: object) -> Value:
    """Value of a control, in the type that is sent.

    Raises:
        ControlError: The value has another type, or is out of range.
    """
    if control.choices:
        if value not in control.choices:
            raise _refused(control, value)
        return cast("str", value)
    if control.per:
        several = tuple(cast("Iterable[object]", value)) if isinstance(value, Iterable) else (value,)
        if isinstance(value, str) or not several:
            raise _refused(control, cast("object", value))
        return tuple(float(_number(control, each)) for each in several)
    return _number(control, value)


def _number(control: contract.Control, value: object) -> int | float:
    maximum = _INT32_MAX if control.maximum is None else control.maximum
    number = plain_number(value, whole=control.dtype == "int32")
    if number is None or not control.minimum <= number <= maximum:  # NaN is in no range
        raise _refused(control, value)
    return number


def _refused(control: contract.Control, value: object) -> ControlError:
    return ControlError(
        f"{control.name} is {value!r}; it must be {allowed_values(control)}",
        hint=f"{control.help} Leave it out for the model's own default.",
    )


def plain_number(value: object, *, whole: bool) -> int | float | None:
    """Number as an int or a float, also from NumPy; None for other values."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and not whole:
        with contextlib.suppress(OverflowError):  # a fraction may be larger than all floats
            return float(value)
    return None


def _shown_number(value: float) -> str:
    return f"{value:g}" if value != int(value) or value >= 1e10 else f"{int(value)}"
