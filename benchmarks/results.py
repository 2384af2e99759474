"""Tables of figures: how they are printed and written to a file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from styleserve.atomic_write import atomic_write

from .machine import ROOT

Value = str | int | float | None
Row = Mapping[str, Value]
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Table:
    """A table of figures.

    Attributes:
        title: Title.
        rows: Values by the name of their column, with units in the names; every row has the same columns.
        notes: Notes below the table.
        curves: Points `(seconds, loss)` by name; written to the file, not printed.
    """

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict[str, Curve])

    def text(self) -> str:
        """The table with aligned columns, numbers to the right.

        >>> print(Table("Speed", [{"loop": "ours", "s": 0.5}, {"loop": "theirs", "s": None}]).text())
        Speed
          loop        s
          ours    0.500
          theirs      -
        """
        columns = list(self.rows[0]) if self.rows else []
        cells = [columns, *([shown(row[column]) for column in columns] for row in self.rows)]
        left = [any(isinstance(row[column], str) for row in self.rows) for column in columns]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        lines = [
            "  ".join(cell.ljust(width) if is_left else cell.rjust(width) for cell, width, is_left in padded).rstrip()
            for padded in (zip(line, widths, left, strict=True) for line in cells)
        ]
        return "\n".join([self.title, *(f"  {line}" for line in lines), *(f"  ({note})" for note in self.notes)])


def shown(value: Value) -> str:
    """A value as text for a table: numbers with their significant digits.

    >>> shown(0.04567), shown(12.345), shown(12345.6), shown(1.5e8), shown(3), shown(None)
    ('0.0457', '12.3', '12346', '1.5e+08', '3', '-')
    """
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    if not math.isfinite(value) or size >= 1e6:
        return f"{value:.3g}"
    digits = 0 if size >= 1000 else 1 if size >= 10 else 3 if size >= 0.1 else 4
    return f"{value:.{digits}f}"


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a document as JSON with `atomic_write`; creates the folder.

    Args:
        path: Path of the file.
        document: Document; dataclasses are written as objects, paths as text, and numbers that are not finite as null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(document), indent=1, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode())


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of a document
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value.relative_to(ROOT) if value.is_relative_to(ROOT) else value)
    return value
