"""Choice of the layers of a model by the depth of its weights."""

from __future__ import annotations

from typing import Final, NamedTuple

from styleserve import contract
from styleserve.model import Weights

_PAINTER_IN_BLOCK3: Final = "block3_conv3"
"""Content layer of the painter's loss for weights that end at block3; the next layer leaves streaks on faces."""


class Layers(NamedTuple):
    """Layers of a model.

    Attributes:
        style: Style layers of both losses.
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
    """Layers of a model: those of the arguments, or the defaults as far as the weights have them.

    Args:
        weights: Weights of the network.
        style: Style layers; None for the defaults.
        content: Content layer of both losses; None for the defaults.
        trained: Whether the weights are trained; if not, both losses have the tutorial's content layer.

    Raises:
        ValueError: The weights have no layer, or none of the default style layers.
    """
    available = tuple(weights.layers)
    if not available:
        raise ValueError(f"{weights.source}: it has no layer of VGG-19")
    if style is None:
        style = tuple(layer for layer in contract.STYLE_LAYERS if layer in available)
        if not style:
            raise ValueError(f"{weights.source}: it has none of the style layers {', '.join(contract.STYLE_LAYERS)}")

    def content_layer(*defaults: str) -> str:
        return content or next((layer for layer in defaults if layer in available), available[-1])

    tutorial = content_layer(contract.CONTENT_LAYER)
    painter = content_layer(contract.PAINTER_CONTENT_LAYER, _PAINTER_IN_BLOCK3) if trained else tutorial
    return Layers(style, tutorial, painter, available[-1])
