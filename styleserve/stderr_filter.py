"""Filter for lines that libraries in C++ write to stderr, past Python."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_lines(dropped: re.Pattern[bytes]) -> Generator[None]:
    """Holds back what the process writes to stderr during the block, and writes it then without the dropped lines.

    Not for use in a library: the filter changes the whole process.

    Args:
        dropped: Pattern of the beginning of a line that is dropped.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # the process has no stderr
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not dropped.match(line)))
