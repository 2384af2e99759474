"""Choice of the layers of a model, by how far its weights reach."""

from __future__ import annotations

from typing import Final, NamedTuple

from styleserve import contract
from styleserve.model import Weights

_PAINTER_IN_BLOCK3: Final = "block3_conv3"
"""Content layer of the painter's loss for weights that end at block3: the one after it leaves faces streaked."""


class Layers(NamedTuple):
    """Layers of a model.

    Attributes:
        style: Style layers, of both losses.
        content: Content layer of the tutorial's loss.
        painter_content: Content layer of the painter's loss.
        deepest: Last layer that the weights have.
    """

    style: tuple[str, ...]
    content: str
    painter_content: str
    deepest: str

    def __str__(self) -> str:
        contents = self.content if self.content == self.painter_content else f"{self.content} (tutorial)"
        if self.content != self.painter_content:
            contents += f" and {self.painter_content} (painter)"
        return f"style {', '.join(self.style)}; content {contents}; the weights reach to {self.deepest}"


def choose_layers(weights: Weights, style: tuple[str, ...] | None, content: str | None, *, trained: bool) -> Layers:
    """The layers that were named, and for the others the usual ones, as far as the weights have them.

    Args:
        weights: Weights of the network.
        style: Style layers that were named.
        content: Content layer that was named, for both losses.
        trained: Whether the weights are trained; with others both losses have one content layer.

    Raises:
        ValueError: The weights have no layer at all, or none of the usual style layers.
    """
    there = tuple(weights.layers)
    if not there:
        raise ValueError(f"{weights.source}: it has no layer of VGG-19")
    if style is None:
        style = tuple(layer for layer in contract.STYLE_LAYERS if layer in there)
        if not style:
            raise ValueError(f"{weights.source}: it has none of the style layers {', '.join(contract.STYLE_LAYERS)}")

    def usual(*layers: str) -> str:
        return content or next((layer for layer in layers if layer in there), there[-1])

    tutorial = usual(contract.CONTENT_LAYER)
    painter = usual(contract.PAINTER_CONTENT_LAYER, _PAINTER_IN_BLOCK3) if trained else tutorial
    return Layers(style, tutorial, painter, there[-1])
