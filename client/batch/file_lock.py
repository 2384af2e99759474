"""Lock on an open file, so that one run at a time uses a folder."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import OutputError


def folder_lock(folder: str | os.PathLike[str]) -> Callable[[int], None]:
    """Function that locks an open file in a folder, until it is closed or the process ends.

    It raises `OutputError` if another run holds the lock, and `OSError` if the file cannot be locked.

    Raises:
        OutputError: The system has no such lock.
    """
    try:
        import fcntl  # noqa: PLC0415 - Windows has none, and single calls need none
    except ImportError as error:
        raise OutputError(
            "a run over many jobs locks its folder with a POSIX lock, which this system does not have",
            hint="Run it on Linux or macOS, or in WSL. Single pictures need no lock: styleserve stylize.",
        ) from error

    def lock(file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another run uses {os.fspath(folder)}", hint="Wait for it or stop it, or name another folder."
            ) from error

    return lock
