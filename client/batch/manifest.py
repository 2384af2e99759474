"""Manifest of a batch: a record of each job beside the pictures, from which a stopped batch resumes.

`manifest.jsonl` is only appended to: one line for each job, in one write, flushed to the disk. A picture is renamed
into place before its line is written. So a line without a picture means that the picture was removed, and a picture
without a line that the process died in between; both are painted again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Final

from styleserve.atomic_write import remove_unfinished

from ..errors import OutputError
from ..inputs.control_values import Value
from .file_lock import folder_lock

MANIFEST_NAME: Final = "manifest.jsonl"

_LINE_PREFIX: Final = b'{"key": '
"""Start of every line."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Record:
    """A line of the manifest: the end of one job.

    Attributes:
        key: `Job.key`; None if the pictures cannot be read.
        pictures: Path of each picture, by its role.
        output: Name of the result below the folder.
        sha256: SHA-256 of the result's file; None without a result.
        controls: Controls that were set.
        model: Name of the model.
        model_version: Version of the model; None without a result.
        loss_first: Total loss at the first step; None without steps.
        loss_last: Total loss at the last step; None without steps.
        seconds: Time of the run, from reading the pictures to saving the result.
        tries: Number of times that the job was begun.
        error: Kind and message of the error; None without an error.
    """

    key: str | None
    pictures: Mapping[str, str]
    output: str
    sha256: str | None = None
    controls: Mapping[str, Value]
    model: str
    model_version: int | None = None
    loss_first: float | None = None
    loss_last: float | None = None
    seconds: float
    tries: int
    error: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        failed = "" if self.error is None else f", failed with {self.error.get('kind')}"
        return f"<Record of {self.output}: {self.seconds:.1f} s, {self.tries} tries{failed}>"

    @property
    def line(self) -> bytes:
        """The record as a line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Record:
        """Record in a line; unknown fields, of a later version, are ignored.

        Raises:
            ValueError: The line is not a whole record.
        """
        try:
            written = json.loads(line)
            return cls(**{name: value for name, value in written.items() if name in _FIELDS})
        except (AttributeError, TypeError) as error:
            raise ValueError("the line is not a record") from error


_FIELDS: Final = {field.name for field in fields(Record)}


class Manifest:
    """The manifest of a folder, open and locked; a context manager, safe from several threads.

    Args:
        folder: Folder of the batch, which exists.

    Raises:
        OutputError: Another run uses the folder, the file cannot be opened or is not a manifest, or the system has no
            POSIX locks.
    """

    def __init__(self, folder: Path) -> None:
        lock = folder_lock(folder)
        self._path: Final = folder / MANIFEST_NAME
        self._appending: Final = threading.Lock()
        self._painted: Final[dict[str, Record]] = {}
        self._outputs: Final[set[str]] = set()
        self._closed = False
        try:
            self._file: Final = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            lock(self._file)
            self._read(self._repaired_lines())
        except OSError as error:
            os.close(self._file)
            raise OutputError(f"cannot read or lock {self._path}: {error.strerror}") from error
        except OutputError:
            os.close(self._file)
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unlocks the folder; nothing is appended after that."""
        with self._appending:
            self._closed = True
            os.close(self._file)

    def mentions(self, output: str) -> bool:
        """Whether a picture was recorded under the name."""
        return output in self._outputs

    def painted(self, key: str) -> Record | None:
        """Last record of a picture with this key, or None."""
        return self._painted.get(key)

    def append(self, record: Record) -> None:
        """Writes a record to the disk.

        Raises:
            OutputError: It cannot be written.
        """
        line = record.line
        with self._appending:
            if self._closed:  # the descriptor may be reused by now
                raise OutputError(f"{self._path} is closed")
            try:
                before = os.fstat(self._file).st_size
                if os.write(self._file, line) != len(line):
                    os.ftruncate(self._file, before)  # else the next line would continue this one
                    raise OutputError(f"cannot write {self._path}: the disk is full")
                os.fsync(self._file)
            except OSError as error:
                raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
            self._remember(record)

    def _repaired_lines(self) -> list[bytes]:
        """Whole lines of the file; a last line that a crash cut short is removed."""
        data = self._path.read_bytes()
        if data[: len(_LINE_PREFIX)] != _LINE_PREFIX[: len(data)]:
            raise OutputError(
                f"{self._path} is not a manifest of this program", hint="Move it away, or name another folder."
            )
        *lines, last = data.split(b"\n")
        if last:
            try:
                Record.from_line(last)
            except ValueError:
                os.ftruncate(self._file, len(data) - len(last))
            else:
                os.write(self._file, b"\n")
                lines.append(last)
        return lines

    def _read(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            with contextlib.suppress(ValueError):  # the job is repeated
                self._remember(Record.from_line(line))

    def _remember(self, record: Record) -> None:
        if record.key is not None and record.error is None:
            self._painted[record.key] = record
            self._outputs.add(record.output)


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file; None if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Removes unfinished files of a run that was killed; only the holder of the lock may call it.

    Raises:
        OutputError: A folder cannot be read, or a file cannot be removed.
    """
    try:
        for folder in folders:
            remove_unfinished(folder)
    except OSError as error:
        raise OutputError(f"cannot clean up {error.filename}: {error.strerror}") from error
