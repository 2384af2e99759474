"""The layers of VGG-19, in one table (Simonyan and Zisserman, 2014, https://arxiv.org/abs/1409.1556)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple


class ConvLayer(NamedTuple):
    """A 3x3 convolution with a rectifier.

    Attributes:
        name: Name of the layer, as in Keras.
        in_channels: Channels of its input.
        out_channels: Channels of its features.
        pool: Whether a 2x2 max-pooling comes before it.
    """

    name: str
    in_channels: int
    out_channels: int
    pool: bool

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """Shape of the kernel: height, width, channels in, channels out."""
        return (3, 3, self.in_channels, self.out_channels)


def _conv_layers() -> tuple[ConvLayer, ...]:
    layers: list[ConvLayer] = []
    channels = 3
    # Column E of table 1 of the paper: (channels, convolutions) of each block.
    for block, (width, depth) in enumerate(((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)), start=1):
        for conv in range(1, depth + 1):
            layers.append(ConvLayer(f"block{block}_conv{conv}", channels, width, block > 1 and conv == 1))
            channels = width
    return tuple(layers)


CONV_LAYERS: Final = _conv_layers()
"""All sixteen convolutions, in network order."""

IMAGENET_BGR_MEANS: Final = (103.939, 116.779, 123.68)
"""Channel means to subtract from an image for the published weights (Keras Applications, mode "caffe")."""


def in_network_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of the layers, each once, in network order.

    >>> in_network_order(["block2_conv1", "block1_conv2", "block2_conv1"])
    ('block1_conv2', 'block2_conv1')
    """
    named = set(names)
    return tuple(layer.name for layer in CONV_LAYERS if layer.name in named)


def channels_of(layers: Sequence[str]) -> list[int]:
    """Number of channels of each layer.

    >>> channels_of(["block1_conv1", "block5_conv1"])
    [64, 512]
    """
    channels = {layer.name: layer.out_channels for layer in CONV_LAYERS}
    return [channels[name] for name in layers]


def layers_up_to(layers: Sequence[str]) -> tuple[ConvLayer, ...]:
    """The convolutions from the first one to the deepest of `layers`.

    Args:
        layers: Names of layers, in any order.

    Raises:
        ValueError: `layers` is empty, or a name is not a convolution of VGG-19.

    >>> [layer.name for layer in layers_up_to(["block2_conv1"])]
    ['block1_conv1', 'block1_conv2', 'block2_conv1']
    """
    known = [layer.name for layer in CONV_LAYERS]
    unknown = [name for name in dict.fromkeys(layers) if name not in known]
    if unknown or not layers:
        raise ValueError(f"no such layer of VGG-19: {', '.join(unknown) or '(none named)'}; it has {', '.join(known)}")
    return CONV_LAYERS[: max(known.index(name) for name in layers) + 1]


def min_side(layers: Sequence[str]) -> int:
    """Shortest side of an image, in pixels, for which no layer up to the deepest of `layers` is empty.

    >>> min_side(["block5_conv1"])
    16
    """
    return int(2 ** sum(layer.pool for layer in layers_up_to(layers)))


def poolings_before(layer: str) -> int:
    """Number of poolings between the image and a layer; each halves height and width.

    >>> poolings_before("block3_conv2")
    2
    """
    return sum(each.pool for each in layers_up_to([layer]))


def feature_bytes(layer: str) -> int:
    """Bytes of the features of a layer in float32, for each pixel of the image.

    >>> feature_bytes("block1_conv1"), feature_bytes("block4_conv2")
    (256, 32)
    """
    return 4 * layers_up_to([layer])[-1].out_channels // 4 ** poolings_before(layer)


def receptive_field(layer: str) -> int:
    """Side of the square of pixels that a feature of a layer depends on.

    >>> [receptive_field(f"block{block}_conv1") for block in range(1, 6)]
    [3, 10, 24, 68, 156]
    """
    field, stride = 1, 1
    for each in layers_up_to([layer]):
        if each.pool:
            field += stride
            stride *= 2
        field += 2 * stride
    return field


TILE_ALIGNMENT: Final = 16
"""Pixels to which tiles are aligned: the stride of the deepest layers, so that the poolings of a tile are those of the
whole image."""


def tile_margin(layers: Sequence[str]) -> int:
    """Pixels around a tile that make the gradient inside it exact, a multiple of `TILE_ALIGNMENT`.

    The gradient of a pixel depends on the features in reach of the pixel, and these on all pixels in their own reach:
    together one receptive field less one pixel to each side.

    >>> tile_margin(["block1_conv1"]), tile_margin(["block4_conv2"]), tile_margin(["block5_conv1"])
    (16, 96, 160)
    >>> tile_margin(["block5_conv2"])
    192
    """
    reach = receptive_field(layers_up_to(layers)[-1].name) - 1
    return -(-reach // TILE_ALIGNMENT) * TILE_ALIGNMENT
