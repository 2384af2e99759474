"""Tiles of a large image: where they lie in the image and in the layers of the network, and the loop over them.

A tile is an inner part and a margin around it. The inner parts cover the image once. The margin is as wide as
`architecture.tile_margin`, so features of the inner part, and gradients by its pixels, are those of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import tensorflow as tf

from ..network.architecture import TILE_ALIGNMENT, poolings_before
from .statistics import Moments, moments, moments_gradient_function

_Carried = TypeVar("_Carried")


class Tile(NamedTuple):
    """A tile, by its rows and columns. All fields are `[2]` int32.

    All are multiples of `TILE_ALIGNMENT`, but for ends at the end of the image. So a pooling in the crop has the
    squares of the pooling in the whole image.

    Attributes:
        start: First pixel of the inner part.
        end: Pixel after the last one of the inner part.
        crop_start: First pixel of the inner part with its margin.
        crop_end: Pixel after the last one of the inner part with its margin.
    """

    start: tf.Tensor
    end: tf.Tensor
    crop_start: tf.Tensor
    crop_end: tf.Tensor

    @classmethod
    def specs(cls) -> Tile:
        """A `tf.TensorSpec` in place of each tensor."""
        return cls(*[tf.TensorSpec([2], tf.int32)] * len(cls._fields))

    def crop(self, whole: tf.Tensor, layer: str | None = None) -> tf.Tensor:
        """Part with the margin, of a tensor for the whole image.

        Args:
            whole: `[n, height, width, ...]`, positions of a layer.
            layer: Name of the layer; None for pixels.
        """
        stride = _stride(layer)
        return _part(whole, self.crop_start // stride, self.crop_end // stride)

    def inner(self, crop: tf.Tensor, layer: str | None = None) -> tf.Tensor:
        """Inner part of a tensor for the crop; the arguments are as in `crop`."""
        stride = _stride(layer)
        first = self.crop_start // stride
        return _part(crop, self.start // stride - first, self.end // stride - first)

    def part(self, whole: tf.Tensor) -> tf.Tensor:
        """Inner part of a tensor for the whole image, `[n, height, width, ...]`."""
        return _part(whole, self.start, self.end)

    def placed(self, whole: tf.Tensor, part: tf.Tensor, layer: str | None = None) -> tf.Tensor:
        """`whole`, `[n, height, width, channels]`, with `part` as its inner part.

        In the body of a loop it is written in place. In a function that the body calls it is copied for each tile, as
        the caller holds the tensor as well.
        """
        stride, size = _stride(layer), tf.shape(whole)
        return tf.raw_ops.TensorStridedSliceUpdate(
            input=whole,
            begin=tf.concat([[0], self.start // stride, [0]], axis=0),
            end=tf.concat([size[:1], self.end // stride, size[3:]], axis=0),
            strides=[1, 1, 1, 1],
            value=part,
        )


def _stride(layer: str | None) -> int:
    return 1 if layer is None else int(2 ** poolings_before(layer))


def _part(x: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    return x[:, start[0] : end[0], start[1] : end[1]]


def over_tiles(
    image: tf.Tensor,
    body: Callable[[Tile, _Carried], _Carried],
    initial: _Carried,
    specs: _Carried,
    *,
    margin: int,
    tile_pixels: int,
) -> _Carried:
    """The result of `body` for one tile after the other, each with the result for the tile before.

    Args:
        image: `[batch, height, width, 3]`.
        body: Function of a tile and the result so far, with a single call that is not inlined: with more, TensorFlow's
            inlining ties calls to the wrong loop.
        initial: Result before the first tile.
        specs: Structure of the result, with a `tf.TensorSpec` in place of each tensor.
        margin: Pixels around the inner part of a tile.
        tile_pixels: Most pixels of a tile with its margin, in all images of the batch together.
    """
    size = tf.shape(image)[1:3]
    inner, count = tile_grid(size, tile_pixels // tf.shape(image)[0], margin=margin)

    def step(i: tf.Tensor, carried: _Carried) -> tuple[tf.Tensor, _Carried]:
        place = tf.stack([i // count[1], i % count[1]])
        start = place * inner
        end = tf.where(place == count - 1, size, start + inner)
        tile = Tile(start, end, tf.maximum(start - margin, 0), tf.minimum(end + margin, size))
        return i + 1, body(tile, carried)

    def is_left(i: tf.Tensor, _: _Carried) -> tf.Tensor:
        return i < tf.reduce_prod(count)

    def shape(spec: tf.TensorSpec) -> tf.TensorShape:
        return spec.shape

    _, result = tf.while_loop(
        is_left,
        step,
        (tf.constant(0), initial),
        shape_invariants=(tf.TensorShape([]), tf.nest.map_structure(shape, specs)),
        parallel_iterations=1,  # the memory of one tile
    )
    return result


def tile_grid(size: tf.Tensor, pixels: tf.Tensor, *, margin: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width of the inner parts, a multiple of `TILE_ALIGNMENT`, and the number of tiles, both `[2]` int32.

    Tiles are square, or longer where the image is narrow, and about equal. The last ones also have the rest of the
    image, less than `TILE_ALIGNMENT` pixels. So no tile is empty in any layer.

    Args:
        size: Height and width of the image, `[2]` int32.
        pixels: Most pixels of a tile with its margin, int32 scalar. An inner part has `TILE_ALIGNMENT` pixels a side
            also where these are more.
        margin: Pixels around the inner part.
    """
    square = tf.cast(tf.sqrt(tf.cast(pixels, tf.float64)), tf.int32)
    across = tf.reverse(size, axis=[0])
    longest = tf.where(across > square, square, pixels // across)
    blocks = tf.maximum(size // TILE_ALIGNMENT, 1)
    most = tf.maximum((longest - 2 * margin + 1) // TILE_ALIGNMENT - 1, 1)
    # A tile over the whole side has no margin there.
    count = tf.where(size <= longest, 1, -(-blocks // most))
    inner = -(-blocks // count)
    return inner * TILE_ALIGNMENT, -(-blocks // inner)


def tile_moments(features: tf.Tensor, regions: tf.Tensor, tile: Tile, layer: str) -> Moments:
    """Part of the `moments` of an image that the inner positions of a tile have; the parts of all tiles add up.

    Args:
        features: Features of the crop, `[batch, height, width, channels]`.
        regions: Weights of the positions of the whole image, `[regions, height, width]` float32, as in `moments`.
        tile: The tile.
        layer: Name of the layer.
    """
    inner = tile.inner(features, layer)
    share = _share(inner, regions)
    own = moments(inner, tile.inner(tile.crop(regions, layer), layer))
    return Moments(share * own.gram, share * own.mean)


def tile_moments_gradient(
    features: tf.Tensor, regions: tf.Tensor, tile: Tile, layer: str, gradient: Moments, *, with_mean: bool
) -> tf.Tensor:
    """Gradient by the features of the whole crop, from that by the moments of the image.

    Args:
        features: As in `tile_moments`.
        regions: As in `tile_moments`.
        tile: The tile.
        layer: Name of the layer.
        gradient: As in `moments_gradient`.
        with_mean: As in `moments_gradient`.
    """
    share = _share(features, regions)
    function = moments_gradient_function(features.dtype.name, with_mean=with_mean)
    gradient = Moments(share * gradient.gram, share * gradient.mean)
    by_features = function(features, tile.crop(regions, layer), gradient)
    return tf.ensure_shape(by_features, features.shape)


def _share(part: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
    """Factor of the moments of a part of an image: without regions, which have weights, its share of the positions."""
    positions, whole = (tf.cast(tf.reduce_prod(tf.shape(x)[1:3]), regions.dtype) for x in (part, regions))
    return tf.where(tf.shape(regions)[0] == 0, positions / whole, tf.ones_like(whole))
