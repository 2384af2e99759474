"""What became of each job, kept beside the pictures so that a batch can be stopped at any moment and gone on with.

`manifest.jsonl` is only ever appended to: a line a job, in one write, on the disk before the next. A picture is renamed
into place before its line is written, so a line without its picture means that somebody took the picture away, and a
picture without its line, that the process died in between; both are painted again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Final

from styleserve.atomic_write import remove_unfinished

from ..errors import OutputError
from ..inputs.control_values import Value

MANIFEST_NAME: Final = "manifest.jsonl"

_BEGINNING: Final = b'{"key": '
"""Of every line."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Record:
    """A line of the manifest: what became of one job.

    Attributes:
        key: `Job.key`; None where the pictures could not be read.
        pictures: Path of each picture, as it was given, by its role.
        output: Name of the result below the folder.
        sha256: SHA-256 of the result's file; None where there is none.
        controls: Controls that were set.
        model: its name.
        model_version: that painted; None where none did.
        loss_first: total loss that the optimisation began with; None without steps.
        loss_last: total loss that it ended with; None without steps.
        seconds: that the last try took, from reading the pictures to saving the result.
        tries: how often the job was sent.
        error: its kind and message; None where the picture is there.
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
        """The record in a line.

        Raises:
            ValueError: it is no whole record; fields of a later version are passed over.
        """
        try:
            written = json.loads(line)
            return cls(**{name: value for name, value in written.items() if name in _FIELDS})
        except (AttributeError, TypeError) as error:
            raise ValueError("the line is not a record") from error


_FIELDS: Final = {field.name for field in fields(Record)}


class Manifest:
    """The manifest of a folder, open and locked: to be closed, or used as a context manager. Safe from several threads.

    Args:
        folder: of the batch; it exists.

    Raises:
        OutputError: another run is at work in the folder, the file cannot be opened, it is no manifest, or the system
            has no locks of POSIX.
    """

    def __init__(self, folder: Path) -> None:
        lock = _lock()
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
            self._read(self._mended())
        except BlockingIOError as error:
            os.close(self._file)
            raise OutputError(
                f"another run is at work in {folder}", hint="Wait for it or stop it, or name another folder."
            ) from error
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
        """Gives the folder free; nothing is appended after that."""
        with self._appending:
            self._closed = True
            os.close(self._file)

    def mentions(self, output: str) -> bool:
        """Whether a picture was ever recorded under the name."""
        return output in self._outputs

    def painted(self, key: str) -> Record | None:
        """The last record of a picture with this key, or None."""
        return self._painted.get(key)

    def append(self, record: Record) -> None:
        """Writes a record, and returns when it is on the disk.

        Raises:
            OutputError: it cannot be written.
        """
        line = record.line
        with self._appending:
            if self._closed:  # the number may be another file's by now
                raise OutputError(f"{self._path} is closed")
            try:
                before = os.fstat(self._file).st_size
                if os.write(self._file, line) != len(line):
                    os.ftruncate(self._file, before)  # or the next line would go on where this one stops
                    raise OutputError(f"cannot write {self._path}: the disk is full")
                os.fsync(self._file)
            except OSError as error:
                raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
            self._remember(record)

    def _mended(self) -> list[bytes]:
        """The lines, after a last one that a crash cut short was removed."""
        data = self._path.read_bytes()
        if data[: len(_BEGINNING)] != _BEGINNING[: len(data)]:
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
            with contextlib.suppress(ValueError):  # its job is done again
                self._remember(Record.from_line(line))

    def _remember(self, record: Record) -> None:
        if record.key is not None and record.error is None:
            self._painted[record.key] = record
            self._outputs.add(record.output)


def _lock() -> Callable[[int], None]:
    """What locks a file, until the process ends, however it ends.

    Raises:
        OutputError: the system has no such lock.
    """
    try:
        import fcntl  # noqa: PLC0415 - Windows has none, and single calls need none
    except ImportError as error:
        raise OutputError(
            "a batch locks its folder in the way of POSIX, which this system does not know",
            hint="Run it on Linux or macOS, or in WSL. Single pictures are painted here too: styleserve stylize.",
        ) from error
    return lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file, or None where there is none to be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Removes the half-written files of a run that was killed; for the holder of the lock alone.

    Raises:
        OutputError: a folder cannot be read, or a file in it not be removed.
    """
    try:
        for folder in folders:
            remove_unfinished(folder)
    except OSError as error:
        raise OutputError(f"cannot clean up {error.filename}: {error.strerror}") from error
