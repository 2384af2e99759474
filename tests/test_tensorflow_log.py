"""Terminal output of commands that need TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIRST_SESSIONS = """
import os
from styleserve.tensorflow_log import drop_notes_of_the_first_session, quieten_tensorflow
quieten_tensorflow()
import tensorflow as tf
run = tf.compat.v1.Session.run
def run_and_fail(*args):
    os.write(2, b"E0000 an error\\nW0000 a warning\\nI0000 a note\\nsomething else\\n")
    return run(*args)
tf.compat.v1.Session.run = run_and_fail
drop_notes_of_the_first_session()
tf.compat.v1.Session.run = run
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    assert session.run(tf.constant(7)) == 7
os.write(2, b"the end\\n")
"""


def stderr_of(level: str | None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    command = [sys.executable, "-c", FIRST_SESSIONS]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return ran.stderr.splitlines()


def test_notes_of_the_first_session_are_dropped_and_all_else_stays() -> None:
    assert stderr_of(None) == ["E0000 an error", "W0000 a warning", "something else", "the end"]


def test_notes_stay_where_they_are_wanted() -> None:
    """And TensorFlow still writes them, so that there is something to drop."""
    lines = stderr_of("0")
    assert any("MLIR V1 optimization pass is not enabled" in line for line in lines)
    assert lines[-1] == "the end"
