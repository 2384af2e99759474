"""Jobs of a bulk run, read one by one from a list in CSV, JSON lines or Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, cast

import pyarrow.parquet as pq

from styleserve.client.batch.job import JobDefaults, content_key
from styleserve.client.batch.job_rows import (
    NumberedRow,
    Row,
    check_columns,
    checked_jobs,
    csv_rows,
    given,
    job_row,
    json_rows,
)
from styleserve.client.errors import JobListError, OutputError, StyleServeError
from styleserve.client.images.save import EXTENSIONS
from styleserve.client.inputs.controls import Controls, controls_of
from styleserve.client.inputs.picture_set import PictureSet

from .locations import identity, joined, lines_of, opened, parent

SUFFIXES: Final = (".parquet", ".csv", ".jsonl", ".ndjson")
"""Suffixes of lists of jobs."""

_KEY_DIGITS: Final = 32
_BATCH_ROWS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class BulkJob:
    """One picture to paint.

    Attributes:
        pictures: Location of each picture.
        name: Name of the result in the list, for the ledger; None where the list names none.
        extension: Extension of the result, one of `EXTENSIONS`.
        controls: Controls of the run.
        dpi: Resolution in the file of the result, in pixels per inch; None writes none.
        where: Place in the list, for messages, as in "jobs.csv:3".
    """

    pictures: PictureSet[str]
    name: str | None
    extension: str
    controls: Controls
    dpi: int | None
    where: str

    def to_text(self) -> str:
        """Job as JSON."""
        return json.dumps(
            {
                "pictures": {name: value for name, value in vars(self.pictures).items() if value},
                "name": self.name,
                "extension": self.extension,
                "controls": self.controls.given(),
                "dpi": self.dpi,
                "where": self.where,
            }
        )

    @classmethod
    def from_text(cls, text: str) -> BulkJob:
        """Job from the JSON that `to_text` returned."""
        written: Mapping[str, Any] = json.loads(text)
        pictures: dict[str, Any] = {
            name: tuple(cast("list[str]", value)) if isinstance(value, list) else value
            for name, value in written["pictures"].items()
        }
        return cls(
            pictures=PictureSet(**pictures),
            name=written["name"],
            extension=written["extension"],
            controls=controls_of(written["controls"]),
            dpi=written["dpi"],
            where=written["where"],
        )

    def key(self, fingerprint: str) -> str:
        """Key of the row: the same names, controls and model, and local files that did not change.

        A rerun finds by it, without reading a picture, what is done. 32 hexadecimal digits.
        """
        files = self.pictures.map(lambda location, _: f"{location} {identity(location)}")
        return self._hash(files, fingerprint, name=self.name or "")

    def id(self, digests: PictureSet[str], fingerprint: str) -> str:
        """Id of the result: the same pictures, controls and model, from wherever they come. 32 hexadecimal digits.

        Args:
            digests: SHA-256 of each picture's file.
            fingerprint: Fingerprint of the model.
        """
        return self._hash(digests, fingerprint)

    def _hash(self, pictures: PictureSet[str], fingerprint: str, **others: str) -> str:
        facts = {"fingerprint": fingerprint, "extension": self.extension, **others}
        return content_key(pictures, self.controls, self.dpi, facts)[:_KEY_DIGITS]


def output_name(job_id: str, extension: str) -> str:
    """Name of a result in the folder of the run.

    >>> output_name("5d41402abc4b2a76b9719d911017c592", ".png")
    'pictures/5d/5d41402abc4b2a76b9719d911017c592.png'
    """
    return f"pictures/{job_id[:2]}/{job_id}{extension}"


def read_bulk_jobs(location: str, defaults: JobDefaults | None = None) -> Iterator[BulkJob]:
    """Jobs of a list, in its order, in little memory.

    Args:
        location: Path or URL of a .parquet, .csv, .jsonl or .ndjson file; names in it are relative to its folder.
        defaults: Defaults of the jobs.

    Raises:
        JobListError: The list cannot be read, or has no jobs; or, after the last job, some lines are wrong.
    """
    defaults = JobDefaults() if defaults is None else defaults
    folder = parent(location)

    def job(row: Row, where: str) -> BulkJob:
        checked = job_row(row, where, defaults)
        suffix = PurePosixPath(checked.output or "").suffix.lower() or defaults.extension
        if suffix not in EXTENSIONS:
            raise OutputError(f"output has the extension {suffix!r}; it must be one of: {', '.join(EXTENSIONS)}")
        return BulkJob(
            pictures=checked.pictures.map(lambda name, _: joined(folder, name)),
            name=checked.output,
            extension=suffix,
            controls=checked.controls,
            dpi=checked.dpi,
            where=where,
        )

    return checked_jobs(_rows(location), location, job)


def _rows(location: str) -> Iterator[NumberedRow]:
    suffix = PurePosixPath(location).suffix.lower()
    if suffix not in SUFFIXES:
        raise JobListError(
            f"{location} is no list of jobs by its name", hint=f"Name a file that ends in {', '.join(SUFFIXES)}."
        )
    try:
        if suffix == ".parquet":
            yield from _parquet_rows(location)
        elif suffix == ".csv":
            yield from csv_rows(lines_of(location), location)
        else:
            yield from json_rows(lines_of(location))
    except StyleServeError:
        raise
    except UnicodeDecodeError as error:
        raise JobListError(f"{location} is not in UTF-8: {error.reason}", hint="Save it as UTF-8.") from error
    except Exception as error:  # of the file system, or of Arrow
        reason = getattr(error, "strerror", None) or error
        raise JobListError(f"the list of jobs {location} cannot be read: {reason}") from error


def _parquet_rows(location: str) -> Iterator[NumberedRow]:
    with opened(location) as file:
        table = pq.ParquetFile(file)
        check_columns(list(table.schema_arrow.names), location)
        number = 0
        for batch in table.iter_batches(batch_size=_BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, given({name: _plain(value) for name, value in row.items()})


def _plain(value: object) -> object:
    """Value as the list means it: pandas writes missing numbers as NaN, and whole numbers beside them as floats."""
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    return value
