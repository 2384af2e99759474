"""Sizes of prints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from styleserve.client import ControlError, print_max_side
from styleserve.client.images.resize import size_within
from styleserve.client.inputs.print_size import PrintBox, checked_dpi

sides = st.integers(2, 30_000)


@given(
    size=st.tuples(sides, sides), box=st.tuples(st.integers(30, 3000), st.integers(30, 3000)), dpi=st.integers(20, 600)
)
def test_the_result_fills_the_box_and_one_pixel_more_does_not_fit(
    size: tuple[int, int], box: tuple[int, int], dpi: int
) -> None:
    longest, shortest = sorted((round(side / 25.4 * dpi) for side in box), reverse=True)

    def fits(side: int) -> bool:
        found = size_within(size, side)
        return max(found) <= longest and min(found) <= shortest

    side = print_max_side(size, f"{box[0]}x{box[1]}mm", dpi=dpi)
    assert fits(side)
    assert not fits(side + 1)


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((7087, 4724), "60x40cm", (7087, 4724)),
        ((4724, 7087), "60x40cm", (4724, 7087)),  # turned
        ((4724, 7087), "40x60cm", (4724, 7087)),
        ((4000, 3000), "600 x 400 mm", (6299, 4724)),
        ((9000, 1000), "60x40cm", (7087, 787)),
        ((500, 500), "11.5x8in", (2400, 2400)),
        ((3000, 4000), "16IN", (3600, 4800)),
        ((400, 300), "2.54cm", (300, 225)),
    ],
)
def test_boxes(size: tuple[int, int], box: str, expected: tuple[int, int]) -> None:
    assert size_within(size, print_max_side(size, box, dpi=300)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "60",
        "60x40",
        "60x40x20cm",
        "60xcm",
        "x40cm",
        "-60cm",
        "60x40m",
        "0x40cm",
        "1e3cm",
        "60,5cm",
        "\u0663cm",
        "9" * 400 + "cm",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ControlError, match="must be a print size in cm, mm, in, with sides over 0") as caught:
        PrintBox.parse(text)
    assert "60x40cm" in caught.value.hint


@pytest.mark.parametrize("dpi", [0, -1, 10_001, 299.5, "300", True, None, float("nan")])
def test_other_resolutions_are_refused(dpi: Any) -> None:
    with pytest.raises(ControlError, match="it must be a whole number from 1 to 10000"):
        print_max_side((600, 400), "60cm", dpi=dpi)


def test_resolutions_of_numpy_are_taken() -> None:
    assert checked_dpi(np.uint16(300)) == 300


def test_prints_that_are_too_small_for_a_model_are_refused() -> None:
    assert print_max_side((600, 400), "16x16in", dpi=1) == 16
    for box in ("15in", "99x0.0001in"):
        with pytest.raises(ControlError, match="at 1 dpi; at least 16 are needed"):
            print_max_side((600, 400), box, dpi=1)
