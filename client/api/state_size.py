"""Size of the state of a run, and the pictures that are too large for one.

A run of such a picture, a print, continues from the picture alone: each call starts from the picture of the one before,
with L-BFGS begun anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from styleserve import contract

from ..inputs.controls import Controls
from ..inputs.picture_set import PictureSet

PRINT_STEPS: Final = 10
"""Most evaluations of a call of a print. The number is fixed, so that neither the speed of a server nor an interruption
changes the picture. docs/prints.md has its cost in loss."""

# Parts of a state: Gram matrices of each region; content, image and gradient (36) and ten pairs (60), or content, image
# and moments (48); a reference picture (12) and its mask (1).
_TARGETS_BYTES: Final = 2_500_000
_BYTES_PER_PIXEL: Final[dict[str, int]] = {"lbfgs": 96, "adam": 48}
_REFERENCE_BYTES_PER_PIXEL: Final = 13

# A model refuses states over the limit; this is a bit less, as the layers of a model change the size of its states.
_MOST_BYTES: Final = 0.9 * contract.MAX_STATE_BYTES


@dataclass(frozen=True)
class StateSize:
    """Facts that decide the size of a state, beside the pixels of the picture.

    Attributes:
        optimizer: "lbfgs" or "adam".
        regions: Number of regions, each with Gram matrices and a mask.
        has_reference: Whether the run has a reference picture.
    """

    optimizer: str
    regions: int = 1
    has_reference: bool = False

    @classmethod
    def of(cls, controls: Controls, pictures: PictureSet[Any]) -> StateSize:
        """The size of the states of a run."""
        return cls(controls.expected_optimizer, pictures.regions, pictures.reference is not None)

    def usual_bytes(self, pixels: int) -> int:
        """Estimate of the size of a state, in bytes, for the default layers.

        >>> StateSize("lbfgs").usual_bytes(256 * 256), StateSize("lbfgs", regions=2).usual_bytes(256 * 256)
        (8791456, 11422528)
        """
        masks = self.regions if self.regions > 1 else 0
        per_pixel = _BYTES_PER_PIXEL[self.optimizer] + masks + _REFERENCE_BYTES_PER_PIXEL * self.has_reference
        return _TARGETS_BYTES * self.regions + per_pixel * pixels

    def is_print(self, pixels: int) -> bool:
        """Whether a picture is too large for a state.

        >>> StateSize("lbfgs").is_print(2048 * 2048), StateSize("lbfgs").is_print(4096 * 4096)
        (False, True)
        """
        return self.usual_bytes(pixels) > _MOST_BYTES


def print_steps(remaining: int) -> int:
    """Evaluations of the next call of a print: the rest in equal parts, at most `PRINT_STEPS` each.

    >>> print_steps(25), print_steps(16), print_steps(8)
    (9, 8, 8)
    """
    return math.ceil(remaining / math.ceil(remaining / PRINT_STEPS))
