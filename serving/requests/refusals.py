"""Refusals with the text of an assertion in the graph, as TensorFlow formats it."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import MAX_MESSAGE_CHARS, RequestError

_SHOWN: Final = 8
"""Most values of a tensor in the text."""

_ESCAPED: Final = {
    **{code: f"\\{code:03o}" for code in (*range(0x20), 0x7F)},
    **{ord(char): f"\\{char}" for char in "\"'\\"},
    0x0A: r"\n",
    0x0D: r"\r",
    0x09: r"\t",
}

Value = int | float | np.float32 | bytes


def refusal(name: str, rule: str, *received: ArrayLike) -> RequestError:
    """Error for an input that breaks a rule.

    Args:
        name: Name of the input.
        rule: Text of the rule, from `styleserve.contract`.
        *received: Arrays that were received, shown after the rule.
    """
    return RequestError(
        f"assertion failed: [{name} {rule}] {' '.join(f'[{_summary(np.asarray(a))}]' for a in received)}"
    )


def _summary(array: NDArray[Any]) -> str:
    """The first values of an array of one or two dimensions.

    >>> _summary(np.arange(9)), _summary(np.ones((2, 5), np.int32)), _summary(np.ones((1, 2), np.int32))
    ('0 1 2 3 4 5 6 7...', '[1 1 1 1 1][1 1 1...]...', '[1 1]')
    """
    more = "..." if array.size > _SHOWN else ""
    if array.ndim < 2:
        return _line(array[:_SHOWN]) + more
    rows: list[str] = []
    left = _SHOWN
    for row in array[:_SHOWN]:
        if left > 0:
            rows.append(f"[{_line(row[:left])}{'...' if len(row) > left else ''}]")
        left -= len(row)
    return "".join(rows) + more


def _line(vector: NDArray[Any]) -> str:
    values: list[Value] = list(vector) if vector.dtype == np.float32 else vector.tolist()
    return " ".join(map(_text, values))


def _text(value: Value) -> str:
    r"""A value as TensorFlow formats it: a number with the fewest unambiguous digits, bytes escaped.

    >>> _text(5000), _text(np.float32(0.1)), _text(np.float32(1.1e12)), _text(123.0), _text(float("nan"))
    ('5000', '0.1', '1.1e+12', '123', 'nan')
    >>> print(_text(b"it's\n\x01"))
    it\'s\n\001
    """
    if isinstance(value, bytes):
        return value[:MAX_MESSAGE_CHARS].decode(errors="replace").translate(_ESCAPED)
    if isinstance(value, int):
        return str(value)
    few, enough = (6, 9) if type(value) is np.float32 else (15, 17)
    text = f"{value:.{few}g}"
    return text if type(value)(text) == value or math.isnan(value) else f"{value:.{enough}g}"
