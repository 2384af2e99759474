"""How a process of ours keeps its memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from styleserve.memory import keep_freed_memory
{call}
for _ in range(3):
    bytearray(50_000_000)  # freed at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    bytearray(50_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_a_block_that_was_freed_is_used_again() -> None:
    assert faults("keep_freed_memory()") < 10
    assert faults("") > 100, "there is nothing to be told any more"
