"""Lock on an open file, so that one run at a time uses a folder."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import OutputError


def exclusive_lock() -> Callable[[int], None]:
    """Function that locks an open file until it is closed or the process ends; `BlockingIOError` if it is locked.

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
    return lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
