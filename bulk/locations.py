"""Locations of pictures and lists: paths, and URLs that fsspec opens, such as s3://, gs:// or https://."""

from __future__ import annotations

import io
import os
import posixpath
import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import fsspec

from styleserve.client.errors import ImageError, StyleServeError
from styleserve.client.images.files import MAX_FILE_BYTES, read_file

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def is_url(location: str) -> bool:
    """Whether a location is a URL.

    >>> is_url("s3://pictures/lake.jpg"), is_url("pictures/lake.jpg")
    (True, False)
    """
    return _SCHEME.match(location) is not None


def joined(folder: str, name: str) -> str:
    """Location of a name in a folder; a URL or an absolute path stays.

    >>> joined("s3://jobs", "styles/oil.jpg"), joined("/jobs", "s3://styles/oil.jpg")
    ('s3://jobs/styles/oil.jpg', 's3://styles/oil.jpg')
    """
    if is_url(name):
        return name
    return posixpath.join(folder, name) if is_url(folder) else str(Path(folder) / name)


def parent(location: str) -> str:
    """Folder of a location, absolute if it is a path.

    >>> parent("s3://jobs/today/list.csv")
    's3://jobs/today'
    """
    return location.rpartition("/")[0] if is_url(location) else str(Path(location).absolute().parent)


def read_picture(location: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Bytes of the file of a picture.

    Raises:
        ImageError: The file is missing, cannot be read, or is too large.
    """
    if not is_url(location):
        return read_file(Path(location), max_bytes=max_bytes)
    try:
        system, path = file_system(location)
        with system.open(path, "rb") as file:
            data: bytes = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {location}", hint="Check the address.") from error
    except Exception as error:  # each file system has errors of its own
        raise ImageError(f"{location} cannot be read: {reason(error)}", hint="Check address and access.") from error
    if len(data) > max_bytes:
        raise ImageError(f"{location} has more than the {max_bytes:,} bytes allowed", hint="Give a smaller picture.")
    return data


@contextmanager
def opened(location: str) -> Generator[IO[bytes]]:
    """File at a location, open for reading; that of a URL is copied into a temporary file first.

    Many web servers send whole files only, and none waits while rows are read one by one.

    Raises:
        OSError: The file cannot be read. File systems of object stores may raise other errors.
        StyleServeError: The package for this kind of URL is missing.
    """
    if not is_url(location):
        with Path(location).open("rb") as file:
            yield file
        return
    system, path = file_system(location)
    with tempfile.TemporaryDirectory(prefix="styleserve-") as scratch:
        copy = Path(scratch) / "copy"
        system.get_file(path, str(copy))
        with copy.open("rb") as file:
            yield file


def identity(location: str) -> str:
    """Size and time of change of a local file, which differ once it is replaced; empty for a URL or a missing file."""
    if is_url(location):
        return ""
    try:
        status = os.stat(location)  # noqa: PTH116 - a Path for each of a million pictures costs more than the call
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def lines_of(location: str) -> Iterator[str]:
    """Lines of a text file in UTF-8, with their ends.

    Raises:
        OSError: The file cannot be read. File systems of object stores may raise other errors.
        UnicodeDecodeError: It is not in UTF-8.
    """
    # Without `newline`, line breaks in quoted cells would change. Spreadsheets put a byte order mark first.
    with opened(location) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines:
        yield from lines


def file_system(url: str) -> tuple[Any, str]:
    """File system of a URL, and its path in it.

    Raises:
        StyleServeError: The package for this kind of URL is missing, or its settings cannot be used.
    """
    scheme = url.partition("://")[0].lower()
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        how = f"pip install {package}" if package else f"Install the package that reads {scheme}://."
        raise StyleServeError(f"{url} needs a package that is not installed: {error}", hint=how) from error
    except Exception as error:
        raise StyleServeError(f"{url} cannot be used: {reason(error)}", hint="Check address and access.") from error
    return system, path


def reason(error: Exception) -> str:
    """Text of an error; its name if it has none."""
    return str(error) or type(error).__name__
