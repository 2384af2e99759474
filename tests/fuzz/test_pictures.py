"""Reading of hostile pictures: each file gives a Picture or an ImageError, within a bound of memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.memory import own_peak_mb
from styleserve.client import Picture, load_picture
from styleserve.client.errors import ImageError

from .files import READ, SIDES, good_file, hostile_files, resized

ROOT = Path(__file__).parents[2]
CASES = 1500
"""About five seconds on two processors."""


MAX_PIXELS = 4_000_000
"""Low limit, so that a file that claims the largest size takes little time."""


def load_or_refuse(data: bytes, *, reduce: bool = True) -> Picture | None:
    """Picture in a file, checked; None if the file is refused."""
    try:
        picture = load_picture(data, max_pixels=MAX_PIXELS, reduce=reduce)
    except ImageError:
        return None
    width, height = picture.image.size
    assert picture.image.mode == "RGB"
    assert min(width, height) >= 2
    assert width * height <= MAX_PIXELS
    # The file that is sent has the same pixels. JPEG and WebP decoders differ on damaged files: sizes only.
    again = load_picture(picture.encoded)
    assert again.image.size == picture.image.size
    if picture.encoded.startswith(b"\x89PNG"):
        assert np.array_equal(np.asarray(again.image), np.asarray(picture.image))
    return picture


@pytest.mark.parametrize("kind", READ)
def test_good_files_are_read(kind: str) -> None:
    data = good_file(kind)
    if not data:
        pytest.skip(f"this build of Pillow does not write {kind}")
    picture = load_or_refuse(data)
    assert picture is not None
    assert sorted(picture.image.size) == sorted(SIDES)


@settings(max_examples=CASES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(hostile_files(READ))
def test_hostile_files_are_read_or_refused(data: bytes) -> None:
    load_or_refuse(data)


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(
    st.sampled_from([kind for kind in READ if good_file(kind)]), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)
)
def load_claimed_sizes(kind: str, width: int, height: int) -> None:
    data = resized(good_file(kind), width, height)
    reset_peak()
    before = own_peak_mb()
    load_or_refuse(data, reduce=False)
    # Pillow holds RGB in 4 bytes; a GIF with a transparent colour, laid on white, stands there five times at once.
    assert own_peak_mb() < before + 6 * 4 * MAX_PIXELS / 1e6


def measure_a_peak() -> None:
    reset_peak()
    before = own_peak_mb()
    assert bytearray(200_000_000).count(1) == 0
    assert own_peak_mb() > before + 150


def reset_peak() -> None:
    """Resets the peak of memory of this process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        sys.exit(f"skip: this system cannot reset the peak of memory: {error}")


@pytest.mark.parametrize("part", [measure_a_peak, load_claimed_sizes])
def test_sizes_that_are_only_claimed_take_no_memory(part: Callable[[], None]) -> None:
    """In a process of its own, so that other tests do not add to its peak."""
    code = f"from tests.fuzz.test_pictures import {part.__name__}; {part.__name__}()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.stderr.startswith("skip: "):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr  # libtiff reports damage there
