"""Lists of jobs: CSV with a header, or JSON lines with an object each.

Everything is checked before anything is painted, and every error names its line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from styleserve import contract

from ..errors import ControlError, JobListError, StyleServeError
from ..inputs.control_values import value_of_text
from ..inputs.controls import OCTAVES, SHORT_NAMES, UNSET, Controls, control_of_name, controls_of
from ..inputs.picture_set import PictureSet
from ..inputs.presets import preset
from ..inputs.print_size import checked_dpi
from .job import Job, JobDefaults, default_output, refuse_doubles

CSV_SUFFIXES: Final = (".csv",)
JSON_LINES_SUFFIXES: Final = (".jsonl", ".ndjson")

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


def read_jobs(path: Path, defaults: JobDefaults | None = None) -> tuple[Job, ...]:
    """Jobs in a file, in its order.

    Args:
        path: Path of a .csv, .jsonl or .ndjson file, in UTF-8; paths in it are relative to its folder.
        defaults: Defaults of the jobs.

    Raises:
        JobListError: The file cannot be read, or has no jobs, or has wrong lines, which the message lists.
    """
    defaults = JobDefaults() if defaults is None else defaults
    jobs: list[Job] = []
    problems: list[str] = []
    for line, row in _rows(path):
        where = f"{path}:{line}"
        try:
            if isinstance(row, str):
                raise JobListError(row)
            jobs.append(_job(row, path.parent, defaults, where))
        except StyleServeError as error:
            problems.append(f"{where}: {error.message}")
    if problems:
        shown = [
            *problems[:_MOST_SHOWN],
            *([f"and {len(problems) - _MOST_SHOWN} more"] * (len(problems) > _MOST_SHOWN)),
        ]
        raise JobListError("\n".join(shown), hint="Nothing was painted. Fix these lines first.")
    if not jobs:
        raise JobListError(f"there is no job in {path}", hint="Give a header, and a line for each job.")
    refuse_doubles(jobs)
    return tuple(jobs)


def _rows(path: Path) -> Iterator[tuple[int, Row | str]]:
    """Line numbers with a row each, or with an error message."""
    suffix = path.suffix.lower()
    if suffix not in CSV_SUFFIXES + JSON_LINES_SUFFIXES:
        raise JobListError(
            f"{path} is neither a folder nor a list of jobs by its name",
            hint=f"Name a folder of pictures, or a file that ends in {', '.join(CSV_SUFFIXES + JSON_LINES_SUFFIXES)}.",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark first
    except UnicodeDecodeError as error:
        raise JobListError(f"{path} is not in UTF-8: {error.reason}", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise JobListError(f"the list of jobs {path} cannot be read: {error.strerror}") from error
    yield from _csv_rows(path, text) if suffix in CSV_SUFFIXES else _json_rows(text)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Row | str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = [name.strip() for name in next(reader, list[str]())]
        if problem := _wrong_header(header):
            raise JobListError(f"{path}:1: {problem}", hint=f"Columns are, with commas: {', '.join(COLUMNS)}.")
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, _csv_row(header, cells)
            line = reader.line_num + 1  # quoted cells go over several lines
    except csv.Error as error:
        raise JobListError(f"{path}:{line}: {error}") from error


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


def _json_rows(text: str) -> Iterator[tuple[int, Row | str]]:
    for line, written in enumerate(text.split("\n"), start=1):
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
            yield line, {name: entry for name, entry in row.items() if entry is not None}


def _job(row: Row, folder: Path, defaults: JobDefaults, where: str) -> Job:
    def one(name: str) -> Path | None:
        return folder / _text(row, name) if name in row else None

    styles = tuple(folder / _name("style", each) for each in _list(row, "style"))
    if not styles:
        raise JobListError("style is missing")
    pictures = PictureSet[Path](
        content=folder / _text(row, "content"),
        styles=styles,
        content_regions=_masks(row, "region", folder),
        style_regions=_masks(row, "style_region", folder),
        start=one("start"),
        reference=one("reference"),
        reference_mask=one("reference_mask"),
    )
    name = _text(row, "output") if "output" in row else default_output(pictures.content, styles, defaults.extension)
    return Job(
        pictures=pictures,
        output=name if PurePosixPath(name).suffix else name + defaults.extension,
        controls=_controls(row, defaults),
        dpi=_dpi(row) if "dpi" in row else defaults.dpi,
        where=where,
    )


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


def _masks(row: Row, name: str, folder: Path) -> tuple[Path | None, ...]:
    return tuple(None if each in (None, "", "-") else folder / _name(name, each) for each in _list(row, name))


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
