"""How a process of ours keeps its memory."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDS_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
FAULTS = """
import resource
from styleserve.memory import keep_freed_memory
{call}
def take():
    for _ in range(10):
        bytearray(50_000_000)  # freed at once
    [bytearray(600_000_000), bytearray(600_000_000)]
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def printed(code: str, call: str, **environment: str) -> str:
    """Output of a new process that makes this call first, or has this in its environment."""
    command, env = [sys.executable, "-c", code.format(call=call)], os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


def faults(call: str = "", **environment: str) -> int:
    return int(printed(FAULTS, call, **environment))


def of_the_guide() -> dict[str, str]:
    page = (ROOT / "docs" / "deploy" / "sizing.md").read_text()
    settings = dict(re.findall(r"^(MALLOC_\w+)=(\d+)$", page, re.MULTILINE))
    assert len(settings) == 4
    return settings


@NEEDS_GLIBC
def test_a_block_that_was_freed_is_used_again() -> None:
    assert faults("keep_freed_memory()") < 10
    assert faults() > 100, "glibc needs no setting any more"


@NEEDS_GLIBC
def test_the_environment_of_the_guide_does_the_same() -> None:
    """TensorFlow Serving takes the settings from its environment."""
    assert faults(**of_the_guide()) < 10


TRIMMED = """
import ctypes
from styleserve.memory import keep_freed_memory
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes, libc.sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_void_p], [ctypes.c_ssize_t]
empty = libc.sbrk(0)
blocks = [libc.malloc(2**30) for _ in range(3)]  # of which no page is touched
full = libc.sbrk(0)
for block in reversed(blocks):
    libc.free(block)
print(full - empty, libc.sbrk(0) - empty)
"""


def heap_full_and_freed(call: str = "", **environment: str) -> tuple[int, int]:
    full, freed = map(int, printed(TRIMMED, call, **environment).split())
    return full, freed


@NEEDS_GLIBC
def test_however_much_is_freed_is_kept() -> None:
    for full, freed in (heap_full_and_freed("keep_freed_memory()"), heap_full_and_freed(**of_the_guide())):
        assert full >= 3 * 2**30
        assert freed == full
    assert heap_full_and_freed()[0] < 2**30, "such blocks come from the heap by default"


HEAPS = """
import ctypes, threading
from styleserve.memory import keep_freed_memory
{call}
barrier = threading.Barrier(8)
def take():
    taken = bytearray(100_000)
    barrier.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def heaps(call: str) -> int:
    return printed(HEAPS, call).count("<heap")


@NEEDS_GLIBC
def test_threads_share_one_heap() -> None:
    assert heaps("keep_freed_memory()") == 1
    assert heaps("") > 1, "glibc needs no setting any more"


@NEEDS_GLIBC
def test_freed_memory_is_given_back() -> None:
    """Pieces too small to be handed back one by one, with one at the end that is in the way."""
    code = (
        "from benchmarks.memory import resident_mb; from styleserve.memory import give_back_freed_memory;"
        "import os; pid = os.getpid(); pieces = [bytes(1000) for _ in range(200_000)]; full = resident_mb(pid);"
        "del pieces[:-1]; give_back_freed_memory(); print(full, resident_mb(pid))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    full, after = map(float, done.stdout.split())
    assert after < full - 150


CLAIMING = """
import tensorflow as tf
from benchmarks.memory import own_peak_mb
{call}
claiming = tf.make_tensor_proto([0.5], shape=[1, 8000, 4000, 3]).SerializeToString()
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    data = tf.compat.v1.placeholder(tf.string, [])
    shape = tf.shape(tf.io.parse_tensor(data, tf.float32))
    session.run(shape, {{data: tf.make_tensor_proto([0.5]).SerializeToString()}})
    before = own_peak_mb()
    try:
        session.run(shape, {{data: claiming}})
        print("taken", end=" ")
    except tf.errors.InvalidArgumentError:
        print("refused", end=" ")
    print(len(claiming), round(own_peak_mb() - before))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorFlow has oneDNN's allocator on x86-64")
@pytest.mark.parametrize(("limit", "said"), [(2**28, "refused"), (2**32, "taken")])
def test_a_tensor_that_claims_more_than_a_deployment_allows_is_refused(limit: int, said: str) -> None:
    """TensorFlow waits ten seconds for memory. As in `styleserve.serving.deploy.rendering`, for TensorFlow Serving.

    Without AVX512_VNNI or newer, TensorFlow uses oneDNN and its allocator only with this variable.
    """
    pytest.importorskip("tensorflow")
    printed_text = printed(CLAIMING, "", TF_MKL_ALLOC_MAX_BYTES=str(limit), TF_ENABLE_ONEDNN_OPTS="1")
    outcome, request_bytes, taken_mb = printed_text.split()
    assert outcome == said
    assert int(request_bytes) < 64
    assert (int(taken_mb) < 50) == (said == "refused")
