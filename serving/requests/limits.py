"""Limits of a model, and the size of its requests that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_STATE_BYTES_PER_PIXEL: Final = 120
"""Bytes of a state of L-BFGS for each pixel, rounded up: run 96, reference 13, a byte for each of 8 regions."""
_STYLE_BYTES: Final = 2**22
"""Bytes of a state for each style, rounded up: its Gram matrices and means take 2.4 MB."""


@dataclass(frozen=True)
class ModelLimits:
    """Limits of a model, from its signature `limits`.

    Attributes:
        contract_version: Version of the wire contract.
        min_side: Shortest side of a processed image, in pixels.
        max_side: Longest side.
        max_pixels: Most pixels of a processed image.
        max_batch_pixels: Most pixels of all images of one call.
        max_steps: Most steps of one call.
        max_batch: Most examples of one call.
        max_styles: Most styles of an example.
        max_work: Most megapixel-steps of one call.
        max_encoded_pixels: Most pixels of a file.
        max_encoded_bytes: Most bytes of a file.
        style_layers: Number of style layers.
    """

    contract_version: int
    min_side: int
    max_side: int
    max_pixels: int
    max_batch_pixels: int
    max_steps: int
    max_batch: int
    max_styles: int
    max_work: float
    max_encoded_pixels: int
    max_encoded_bytes: int
    style_layers: int

    @property
    def request_bytes(self) -> int:
        """Bytes of the largest usual request: two full batches of images, or one state."""
        images = 2 * self.max_batch * self.max_pixels * 3 * 4
        state = self.max_pixels * _STATE_BYTES_PER_PIXEL + self.max_styles * _STYLE_BYTES
        return max(images, state)
