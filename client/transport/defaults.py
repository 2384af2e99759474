"""What holds where a caller says nothing: the server's address, and how long a call may take."""

from __future__ import annotations

from typing import Final

from styleserve import contract

DEFAULT_SERVER: Final = f"127.0.0.1:{contract.DEFAULT_PORT}"

SECONDS_PER_PIXEL_AND_STEP: Final = 6e-6
"""What a step, one evaluation of the network, costs on 2 cores of a CPU in bfloat16: 1.6 s for 512 x 512 pixels. In
float32 without a matrix unit it is twice that; what the optimiser adds, L-BFGS or Adam, does not show."""
PATIENCE: Final = 15
"""How many times slower than that a server may be, or how many requests may come before."""
BASE_TIMEOUT_S: Final = 60.0
"""For everything that does not grow with the steps: connecting, sending, decoding, tracing."""
ADMIN_TIMEOUT_S: Final = 10.0
"""For questions that a server answers without work."""


def default_timeout_s(pixels: int, steps: int) -> float:
    """Deadline of a call that works on so many pixels for so many steps, with either optimiser.

    >>> round(default_timeout_s(512 * 512, 100))
    2419
    """
    return BASE_TIMEOUT_S + PATIENCE * SECONDS_PER_PIXEL_AND_STEP * pixels * steps
