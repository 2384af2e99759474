"""Lists of jobs for a batch: CSV with a header, or JSON lines with an object each.

Everything is checked before anything is painted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from ..errors import JobListError
from .job import Job, JobDefaults, default_output, refuse_doubles
from .job_rows import NumberedRow, Row, checked_jobs, csv_rows, job_row, json_rows

CSV_SUFFIXES: Final = (".csv",)
JSON_LINES_SUFFIXES: Final = (".jsonl", ".ndjson")


def read_jobs(path: Path, defaults: JobDefaults | None = None) -> tuple[Job, ...]:
    """Jobs in a file, in its order.

    Args:
        path: Path of a .csv, .jsonl or .ndjson file, in UTF-8; paths in it are relative to its folder.
        defaults: Defaults of the jobs.

    Raises:
        JobListError: The file cannot be read, or has no jobs, or has wrong lines, which the message lists.
    """
    defaults = JobDefaults() if defaults is None else defaults

    def job(row: Row, where: str) -> Job:
        return _job(row, where, path.parent, defaults)

    jobs = tuple(checked_jobs(_rows(path), str(path), job))
    refuse_doubles(jobs)
    return jobs


def _rows(path: Path) -> Iterator[NumberedRow]:
    suffix = path.suffix.lower()
    if suffix not in CSV_SUFFIXES + JSON_LINES_SUFFIXES:
        raise JobListError(
            f"{path} is neither a folder nor a list of jobs by its name",
            hint=f"Name a folder of pictures, or a file that ends in {', '.join(CSV_SUFFIXES + JSON_LINES_SUFFIXES)}.",
        )
    try:
        # Spreadsheets put a byte order mark first. Without `newline`, line breaks in quoted cells would change.
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from csv_rows(lines, str(path)) if suffix in CSV_SUFFIXES else json_rows(lines)
    except UnicodeDecodeError as error:
        raise JobListError(f"{path} is not in UTF-8: {error.reason}", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise JobListError(f"the list of jobs {path} cannot be read: {error.strerror}") from error


def _job(row: Row, where: str, folder: Path, defaults: JobDefaults) -> Job:
    checked = job_row(row, where, defaults)
    pictures = checked.pictures.map(lambda name, _: folder / name)
    name = checked.output or default_output(pictures.content, pictures.styles, defaults.extension)
    return Job(
        pictures=pictures,
        output=name if PurePosixPath(name).suffix else name + defaults.extension,
        controls=checked.controls,
        dpi=checked.dpi,
        where=where,
    )
