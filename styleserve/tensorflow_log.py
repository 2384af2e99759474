"""Keeps TensorFlow's notes for its developers off the terminal of our commands. Warnings and errors stay.

For processes that are ours alone: not for a library.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Final

_LEVEL: Final = "TF_CPP_MIN_LOG_LEVEL"

_NOTES: Final = re.compile(rb"I\d{4} |WARNING: All log messages before absl::InitializeLog\(\)")


def quieten_tensorflow() -> None:
    """Turns off TensorFlow's greeting, and its complaint about CUDA where there is no NVIDIA device.

    TensorFlow reads the variable once, when it is imported, which the commands that need it do later.
    """
    os.environ.setdefault(_LEVEL, "2" if Path("/dev/nvidiactl").exists() else "3")


def drop_notes_of_the_first_session() -> None:
    """Runs a first, empty session, and drops the notes that TensorFlow writes to stderr in the first one alone.

    They are written through absl, which takes no notice of `TF_CPP_MIN_LOG_LEVEL`: that MLIR's passes are off, and that
    absl is not initialised. All else that comes to stderr meanwhile is written there afterwards.
    """
    if os.environ.get(_LEVEL, "0") == "0":  # the user asked for all notes
        return
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    try:
        stderr = os.dup(2)
    except OSError:  # the process was started without one
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            # Without a GPU, of which a session would take all the memory.
            config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
            with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
                session.run(tf.constant(0))
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _NOTES.match(line)))
