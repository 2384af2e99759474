"""Atomic writes: at every moment, the name of a file leads to all of the old file or to all of the new one."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

_UNFINISHED: Final = re.compile(r"\..+\.[0-9a-f]{8}\.part")


@contextmanager
def atomic_write(path: Path, *, mode: int | None = None) -> Generator[IO[bytes]]:
    """Binary file that replaces the one at `path` when the block ends; if the block raises, the old file stays.

    Args:
        path: Path of the file, in a folder that exists. A symbolic link is replaced, not followed.
        mode: Permissions of the file; None for those that the umask leaves.

    Raises:
        OSError: The folder cannot be written to, or the disk is full.
    """
    # The name is short: one made of the file's own could be longer than the file system allows.
    unfinished = path.with_name(f".styleserve.{secrets.token_hex(4)}.part")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            unfinished.chmod(mode)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Removes the files that killed processes left unfinished; no other process may be writing into the folder.

    Raises:
        OSError: The folder cannot be read, or a file cannot be removed.
    """
    for path in folder.iterdir():
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)
