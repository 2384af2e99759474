"""Folders for the results and the ledger of a run, on a file system or in an object store."""

from __future__ import annotations

import hashlib
import posixpath
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from styleserve.atomic_write import atomic_write, remove_unfinished
from styleserve.client.errors import OutputError

from .locations import file_system, is_url, reason


class Folder(ABC):
    """Folder for the results of a run. Names have slashes; every write is all or nothing.

    Attributes:
        location: Location of the folder.
        system: File system of fsspec; None for that of the machine.
    """

    location: str
    system: Any = None

    @abstractmethod
    def path_of(self, name: str) -> str:
        """Path of a name in the file system."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes the folder and writes a file into it.

        Raises:
            OutputError: It cannot be written to.
        """

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file of this name.

        Raises:
            OutputError: The folder cannot be read.
        """

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Raises:
            FileNotFoundError: There is no such file.
            OutputError: It cannot be read.
        """

    @abstractmethod
    def write(self, name: str, data: bytes, *, replace: bool = True) -> None:
        """Writes a file.

        Args:
            name: Name of the file.
            data: Bytes of the file.
            replace: Whether an older file is replaced; else it stays.

        Raises:
            OutputError: It cannot be written.
        """

    @abstractmethod
    def save(self, name: str, save: Callable[[Path], object]) -> str:
        """SHA-256 of a file that `save` wrote, unless there was one; in hexadecimal digits.

        Args:
            name: Name of the file.
            save: Writes a file to a path.

        Raises:
            OutputError: It cannot be written.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder below, in order; empty if there is no such folder.

        Raises:
            OutputError: It cannot be read.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes a file, if it is there.

        Raises:
            OutputError: It cannot be removed.
        """


class LocalFolder(Folder):
    """Folder of a file system, which all workers reach under the same path."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path.absolute()
        self.location = str(self.path)

    def path_of(self, name: str) -> str:
        """Path of a name in the file system."""
        return str(self.path / name)

    def prepare(self) -> None:
        """Makes the folder and writes a file into it."""
        with self._errors("write into", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass

    def remove_leftovers(self) -> None:
        """Removes the unfinished files of killed processes.

        Raises:
            OutputError: A folder cannot be read, or a file cannot be removed.
        """
        with self._errors("clean up", self.path):
            pictures = self.path / "pictures"
            below = sorted(pictures.iterdir()) if pictures.is_dir() else []
            for folder in (self.path, self.path / "ledger", self.path / "plan", *below):
                if folder.is_dir():
                    remove_unfinished(folder)

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.path / name).exists()

    def read(self, name: str) -> bytes:
        """Bytes of a file."""
        with self._errors("read", self.path / name):
            return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes, *, replace: bool = True) -> None:
        """Writes a file."""
        path = self.path / name
        if not replace and path.exists():
            return
        with self._errors("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(data)

    def save(self, name: str, save: Callable[[Path], object]) -> str:
        """SHA-256 of a file that `save` wrote."""
        path = self.path / name
        with self._errors("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path)
        return sha256(self.read(name))

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder below, in order."""
        try:
            return sorted(f"{folder}/{each.name}" for each in (self.path / folder).iterdir() if each.name[0] != ".")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"cannot read {self.path / folder}: {error.strerror}") from error

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with self._errors("remove", self.path / name):
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def _errors(self, action: str, path: Path) -> Generator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OutputError(f"cannot {action} {path}: {error.strerror or error}") from error


class RemoteFolder(Folder):
    """Folder of an object store, whose objects appear as a whole."""

    def __init__(self, url: str) -> None:
        self.location = url.rstrip("/")
        self.system, self._path = file_system(self.location)

    def __reduce__(self) -> tuple[type[RemoteFolder], tuple[str]]:
        """State for pickling: connections belong to a process."""
        return RemoteFolder, (self.location,)

    def prepare(self) -> None:
        """Writes an object."""
        self.write(".styleserve", b"")

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name."""
        with self._errors("read", name):
            self.system.invalidate_cache()  # other workers write as well
            return bool(self.system.exists(self.path_of(name)))

    def read(self, name: str) -> bytes:
        """Bytes of an object."""
        with self._errors("read", name):
            return bytes(self.system.cat_file(self.path_of(name)))

    def write(self, name: str, data: bytes, *, replace: bool = True) -> None:
        """Writes an object; without `replace`, by a conditional put where the store has one."""
        with self._errors("write", name):
            self.system.makedirs(posixpath.dirname(self.path_of(name)), exist_ok=True)
            try:
                self.system.pipe_file(self.path_of(name), data, mode="overwrite" if replace else "create")
            except FileExistsError:
                return

    def save(self, name: str, save: Callable[[Path], object]) -> str:
        """SHA-256 of an object whose bytes `save` wrote into a temporary file."""
        with tempfile.TemporaryDirectory(prefix="styleserve-") as scratch:
            path = Path(scratch) / posixpath.basename(name)
            save(path)
            data = path.read_bytes()
        self.write(name, data, replace=False)
        return sha256(data)

    def names(self, folder: str) -> list[str]:
        """Names of the objects below a folder, in order."""
        with self._errors("read", folder):
            self.system.invalidate_cache()
            try:
                found: list[str] = self.system.ls(self.path_of(folder), detail=False)
            except FileNotFoundError:
                return []
            return sorted(f"{folder}/{posixpath.basename(each)}" for each in found)

    def remove(self, name: str) -> None:
        """Removes an object, if it is there."""
        with self._errors("remove", name):
            try:
                self.system.rm_file(self.path_of(name))
            except FileNotFoundError:
                return

    def path_of(self, name: str) -> str:
        """Path of a name in the file system."""
        return posixpath.join(self._path, name)

    @contextmanager
    def _errors(self, action: str, name: str) -> Generator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # each store has errors of its own
            raise OutputError(f"cannot {action} {self.location}/{name}: {reason(error)}") from error


def folder_at(location: str) -> Folder:
    """Folder at a location.

    Raises:
        StyleServeError: The package for this kind of URL is missing, or its settings cannot be used.
    """
    return RemoteFolder(location) if is_url(location) else LocalFolder(Path(location))


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
