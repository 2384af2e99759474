"""Filters TensorFlow's informational log lines from the output of the commands; warnings and errors stay.

Not for use in a library: the filter changes the whole process.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from .stderr_filter import without_lines

_LEVEL: Final = "TF_CPP_MIN_LOG_LEVEL"

_NOTES: Final = re.compile(rb"I\d{4} |WARNING: All log messages before absl::InitializeLog\(\)")


def quieten_tensorflow() -> None:
    """Turns off TensorFlow's informational lines, and its errors about CUDA on a machine without an NVIDIA device.

    Must run before TensorFlow is imported, because TensorFlow reads the variable once.
    """
    os.environ.setdefault(_LEVEL, "2" if Path("/dev/nvidiactl").exists() else "3")


def drop_notes_of_the_first_session() -> None:
    """Runs an empty session and drops the informational lines that the first session of a process writes to stderr.

    absl writes them and ignores `TF_CPP_MIN_LOG_LEVEL`: MLIR's passes are off, absl is not initialised. Other lines are
    held back while the session runs, and then written.
    """
    if os.environ.get(_LEVEL, "0") == "0":  # the user wants all lines
        return
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    with without_lines(_NOTES):
        # Without GPU, because a session would take all of its memory.
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
            session.run(tf.constant(0))
