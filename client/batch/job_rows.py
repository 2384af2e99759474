"""Rows of a list of jobs: from lines of CSV or JSON, or from any table, to checked values.

Every error names its line, and all wrong lines are reported together.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, cast

from styleserve import contract

from ..errors import ControlError, JobListError, StyleServeError
from ..inputs.control_values import value_of_text
from ..inputs.controls import (
    OCTAVES,
    SHORT_NAMES,
    UNSET,
    Controls,
    control_of_name,
    controls_of,
    refuse_foreign_controls,
)
from ..inputs.picture_set import PictureSet
from ..inputs.presets import preset
from ..inputs.print_size import checked_dpi
from .job import JobDefaults

_SEPARATOR: Final = ";"
"""Separator of several files or numbers in a cell of CSV; JSON has lists."""

_SEVERAL: Final = ("style", "region", "style_region")
_FILES: Final = ("content", *_SEVERAL, "start", "reference", "reference_mask")
_CONTROLS: Final = {
    name: control_of_name(name)
    for full in (*(control.name for control in contract.CONTROLS), OCTAVES)
    for name in (SHORT_NAMES.get(full, full), full)
}
COLUMNS: Final = (*_FILES, "output", "preset", "dpi", *_CONTROLS)
"""Columns of a job. Content and style must be there; an empty cell, or null, takes the default."""

_MOST_SHOWN: Final = 10

Row = Mapping[str, object]
NumberedRow = tuple[int, "Row | str"]
"""Line number with a row, or with an error message."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One row of a list, checked.

    Attributes:
        pictures: Names of the pictures, as written.
        output: Name of the result, as written; None where the row names none.
        controls: Controls of the run: those of the row, over its preset, over the defaults.
        dpi: Resolution in the file of the result, in pixels per inch; None writes none.
        where: Place of the row, for messages, as in "jobs.csv:3".
    """

    pictures: PictureSet[str]
    output: str | None
    controls: Controls
    dpi: int | None
    where: str


def checked_jobs(rows: Iterable[NumberedRow], name: str, make: Callable[[Row, str], _T]) -> Iterator[_T]:
    """Yields what `make` returns for each row and its place.

    Args:
        rows: Rows of the list.
        name: Name of the list, for messages.
        make: Makes a job of a row and its place; its errors are collected.

    Raises:
        JobListError: Some rows are wrong, raised after the last one; or there is no row.
    """
    problems: list[str] = []
    count = wrong = 0
    for line, row in rows:
        where = f"{name}:{line}"
        try:
            if isinstance(row, str):
                raise JobListError(row)
            job = make(row, where)
        except StyleServeError as error:
            wrong += 1
            if len(problems) < _MOST_SHOWN:
                problems.append(f"{where}: {error.message}")
        else:
            count += 1
            yield job
    if wrong:
        more = [f"and {wrong - _MOST_SHOWN} more"] if wrong > _MOST_SHOWN else []
        raise JobListError("\n".join([*problems, *more]), hint="Nothing was painted. Fix these lines first.")
    if not count:
        raise JobListError(f"there is no job in {name}", hint="Give a header, and a line for each job.")


def csv_rows(lines: Iterable[str], name: str) -> Iterator[NumberedRow]:
    """Rows of a CSV file with a header.

    Args:
        lines: Lines with their ends.
        name: Name of the file, for messages.

    Raises:
        JobListError: The header has a wrong column, or the file is not CSV.
    """
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        header = [column.strip() for column in next(reader, list[str]())]
        check_columns(header, f"{name}:1")
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, _csv_row(header, cells)
            line = reader.line_num + 1  # quoted cells continue over several lines
    except csv.Error as error:
        raise JobListError(f"{name}:{line}: {error}") from error


def json_rows(lines: Iterable[str]) -> Iterator[NumberedRow]:
    """Rows of a file with a JSON object on each line."""
    for line, written in enumerate(lines, start=1):
        if not written.strip():
            continue
        try:
            value: Any = json.loads(written)
        except json.JSONDecodeError as error:
            yield line, f"this is no JSON: {error.msg} at column {error.colno}"
            continue
        if not isinstance(value, dict):
            yield line, "a job is an object, in braces"
            continue
        row = cast("dict[str, object]", value)
        unknown = [name for name in row if name not in COLUMNS]
        if unknown:
            yield line, f"there is no {unknown[0]!r}; a job has: {', '.join(COLUMNS)}"
        else:
            yield line, given(row)


def given(row: Row) -> Row:
    """Row without its null values."""
    return {name: entry for name, entry in row.items() if entry is not None}


def check_columns(header: list[str], where: str) -> None:
    """Refuses a table with unknown, double or missing columns.

    Raises:
        JobListError: The message begins with `where`.
    """
    if problem := _wrong_header(header):
        raise JobListError(f"{where}: {problem}", hint=f"Columns are, with commas: {', '.join(COLUMNS)}.")


def job_row(row: Row, where: str, defaults: JobDefaults) -> JobRow:
    """Checked values of a row.

    Raises:
        JobListError: A value is missing or has another type.
        ControlError: A control is out of range, or does not suit the pictures or the other controls.
    """

    def one(name: str) -> str | None:
        return _text(row, name) if name in row else None

    styles = tuple(_name("style", each) for each in _list(row, "style"))
    if not styles:
        raise JobListError("style is missing")
    pictures = PictureSet[str](
        content=_text(row, "content"),
        styles=styles,
        content_regions=_masks(row, "region"),
        style_regions=_masks(row, "style_region"),
        start=one("start"),
        reference=one("reference"),
        reference_mask=one("reference_mask"),
    )
    controls = _controls(row, defaults)
    refuse_foreign_controls(controls)
    pictures.check(controls)
    dpi = _dpi(row) if "dpi" in row else defaults.dpi
    return JobRow(pictures=pictures, output=one("output"), controls=controls, dpi=dpi, where=where)


def _wrong_header(header: list[str]) -> str:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        return f"there is no column {unknown[0]!r}"
    double = [name for name in header if header.count(name) > 1]
    if double:
        return f"the column {double[0]!r} is there twice"
    missing = [name for name in ("content", "style") if name not in header]
    return f"the column {missing[0]!r} is missing" if missing else ""


def _csv_row(header: list[str], cells: list[str]) -> Row | str:
    if len(cells) > len(header):
        return f"there are {len(cells)} values for {len(header)} columns"
    row: dict[str, object] = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if cell.strip()}
    for name, cell in row.items():
        if name in _SEVERAL:
            row[name] = [part.strip() or None for part in str(cell).split(_SEPARATOR)]
        elif name in _CONTROLS:
            try:
                row[name] = value_of_text(_CONTROLS[name], str(cell), separator=_SEPARATOR)
            except ControlError as error:
                return error.message
    return row


def _dpi(row: Row) -> int:
    written = row["dpi"]
    return checked_dpi(int(written) if isinstance(written, str) and written.isdecimal() else written)


def _controls(row: Row, defaults: JobDefaults) -> Controls:
    """Controls of a job: its own, over its preset, over the defaults."""
    own: dict[str, object] = {}
    for name in row:
        if name in _CONTROLS:
            if _CONTROLS[name] in own:
                raise JobListError(
                    f"{SHORT_NAMES[_CONTROLS[name]]} and {_CONTROLS[name]} are the same; give one of them"
                )
            own[_CONTROLS[name]] = row[name]
    controls = controls_of(own)
    if "preset" in row:
        controls = controls.over(preset(_text(row, "preset")))
    inherited = defaults.controls
    if controls.optimizer == "lbfgs":
        inherited = replace(inherited, learning_rate=UNSET)
    return controls.over(inherited)


def _masks(row: Row, name: str) -> tuple[str | None, ...]:
    return tuple(None if each in (None, "", "-") else _name(name, each) for each in _list(row, name))


def _list(row: Row, name: str) -> list[object]:
    """Values of a job that may have several of them."""
    value = row.get(name)
    if value is None or value == "":
        return []
    return list(cast("list[object]", value)) if isinstance(value, list) else [value]


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None or value == "":
        raise JobListError(f"{name} is missing")
    return _name(name, value)


def _name(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise JobListError(f"{name} is {value!r}; it must be a name")
    return value
