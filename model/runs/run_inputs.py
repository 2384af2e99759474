"""Inputs of a run: pictures, masks, styles and start image, decoded and checked, from the files of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Control, Field, Limits

from ..checks import check
from ..loss.canvas import Canvas
from ..noinline import noinline
from .colours import luma, matched_to
from .pictures import decode


def choice_index(inputs: Mapping[str, tf.Tensor], control: Control) -> tf.Tensor:
    """Index of the choice of an example in `control.choices`, int32 scalar; `inputs` are its inputs by name."""
    return tf.argmax(inputs[control.name] == tf.constant(control.choices), output_type=tf.int32)


StyleMoments = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Function of a style picture, `[1, height, width, 3]` float32 in [0, 1], and its mask, `[0 or 1, height, width]`
uint8, that returns the moments, `[1, numbers]` float32."""


class RunInputs:
    """Reads the files of one example.

    Args:
        style_moments: One function for each of `contract.LOSS.choices`.
        limits: Limits of the model.
        min_side: Shortest side that the network can process, in pixels.
    """

    def __init__(
        self,
        style_moments: Sequence[StyleMoments],
        limits: Limits,
        min_side: int,
    ) -> None:
        self._style_moments = style_moments
        text, number, sides = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.float32), tf.TensorSpec([2], tf.int32)
        self._decode: Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] = noinline(
            partial(decode, limits=limits, min_side=min_side), [text, number, sides, text]
        )
        # A loop body holds a single call: with more, TensorFlow's inlining ties calls to the wrong loop.
        image = tf.TensorSpec([1, None, None, 3], tf.float32)
        self._region = noinline(self._region_of, [text, sides])
        self._style = noinline(self._style_of, [text, text, number, text, tf.TensorSpec([], tf.int32), image])

    def canvas(self, inputs: Mapping[str, tf.Tensor]) -> tuple[Canvas, tf.Tensor]:
        """Canvas and start image of a run.

        Args:
            inputs: Inputs of the example by name, checked except for the files: scalars, and `[styles]`.

        Returns:
            The canvas, and the start image, `[1, height, width, 3]` float32 in [0, 1].
        """
        longest = tf.cast(inputs[contract.MAX_SIDE.name], tf.float32)
        content = self._scaled(inputs[contract.CONTENT_BYTES.name], contract.CONTENT_BYTES, longest)
        sides = tf.shape(content)[1:3]
        regions = self._regions(inputs[contract.CONTENT_REGION_BYTES.name], sides)
        reference, reference_weight = self._reference(inputs, sides)
        canvas = Canvas(
            content=content,
            regions=regions,
            blend=inputs[contract.STYLE_BLEND.name][: tf.shape(regions)[0]],
            reference=reference,
            reference_weight=reference_weight,
            styles=self._styles(inputs, content, blended=tf.shape(regions)[0] == 0),
        )
        return canvas, self._start(inputs, content)

    def _scaled(self, file: tf.Tensor, field: Field, longest: tf.Tensor) -> tf.Tensor:
        """A picture scaled to a longest side, `[1, height, width, 3]` float32 in [0, 1]."""
        return self._decode(file, longest, tf.zeros([2], tf.int32), tf.constant(field.name))

    def _stretched(self, file: tf.Tensor, field: Field, sides: tf.Tensor) -> tf.Tensor:
        """A picture stretched to height and width, `[1, height, width, 3]` float32 in [0, 1]."""
        return self._decode(file, tf.constant(0.0), sides, tf.constant(field.name))

    def _mask(self, file: tf.Tensor, field: Field, sides: tf.Tensor) -> tf.Tensor:
        """A mask, `[height, width]` uint8: the luma of a picture, stretched to height and width."""
        picture = self._stretched(file, field, sides)
        mask = tf.cast(tf.round(luma(picture[0])[..., 0] * 255.0), tf.uint8)
        mean = tf.reduce_mean(tf.cast(mask, tf.float32)) / 255.0
        return check(mask, tf.reduce_any(mask > 0), f"{field.name} {contract.MASK_RULE}", mean)

    def _regions(self, files: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
        """Masks of all styles, `[styles, height, width]` uint8, or `[0, height, width]` if no style has one."""

        def one(i: tf.Tensor) -> tf.Tensor:
            return self._region(files[i], sides)

        styles = tf.shape(files)[0]
        spec = tf.TensorSpec([None, None], tf.uint8)
        regions = tf.map_fn(one, tf.range(styles), fn_output_signature=spec, parallel_iterations=1)
        # No condition around the loop: TensorFlow's inlining also ties calls to the wrong loop inside a condition.
        return regions[: tf.where(tf.reduce_any(tf.strings.length(files) > 0), styles, 0)]

    def _region_of(self, file: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
        """Mask of one style, `[height, width]` uint8; 255 everywhere without a file."""
        return tf.cond(
            tf.strings.length(file) > 0,
            lambda: self._mask(file, contract.CONTENT_REGION_BYTES, sides),
            lambda: tf.fill(sides, tf.constant(255, tf.uint8)),
        )

    def _reference(self, inputs: Mapping[str, tf.Tensor], sides: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Target pixels and their weights, as in `Canvas`."""
        file, weight = inputs[contract.REFERENCE_BYTES.name], inputs[contract.REFERENCE_WEIGHT_BYTES.name]
        file = check(
            file,
            (tf.strings.length(file) > 0) | (tf.strings.length(weight) == 0),
            f"{contract.REFERENCE_WEIGHT_BYTES.name} needs a picture in {contract.REFERENCE_BYTES.name}",
        )

        def none() -> tuple[tf.Tensor, tf.Tensor]:
            empty = tf.concat([[0], sides], axis=0)
            return tf.zeros(tf.concat([empty, [3]], axis=0)), tf.zeros(empty, tf.uint8)

        def decoded() -> tuple[tf.Tensor, tf.Tensor]:
            everywhere = tf.fill(sides, tf.constant(255, tf.uint8))
            mask = tf.cond(
                tf.strings.length(weight) > 0,
                lambda: self._mask(weight, contract.REFERENCE_WEIGHT_BYTES, sides),
                lambda: everywhere,
            )
            return self._stretched(file, contract.REFERENCE_BYTES, sides), mask[None]

        return tf.cond(tf.strings.length(file) > 0, decoded, none)

    def _styles(self, inputs: Mapping[str, tf.Tensor], content: tf.Tensor, *, blended: tf.Tensor) -> tf.Tensor:
        """Moments of each style, `[styles, numbers]` float32, or of their blend, `[1, numbers]` float32.

        The blend is the mean of the moments, weighted by share.
        """
        files, masks = inputs[contract.STYLE_BYTES.name], inputs[contract.STYLE_REGION_BYTES.name]
        shares = inputs[contract.STYLE_BLEND.name]
        colors = inputs[contract.COLORS.name]
        sides = tf.cast(inputs[contract.MAX_SIDE.name], tf.float32) * inputs[contract.STYLE_SCALE.name]
        loss = choice_index(inputs, contract.LOSS)

        def one(i: tf.Tensor) -> tf.Tensor:
            return self._style(files[i], masks[i], sides[i], colors, loss, content)

        each = tf.map_fn(
            one,
            tf.range(tf.shape(files)[0]),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
            parallel_iterations=1,
        )
        return tf.cond(blended, lambda: tf.tensordot(shares, each, axes=1)[None], lambda: each)

    def _style_of(
        self,
        file: tf.Tensor,
        mask: tf.Tensor,
        longest: tf.Tensor,
        colors: tf.Tensor,
        loss: tf.Tensor,
        content: tf.Tensor,
    ) -> tf.Tensor:
        """Moments of one style, `[numbers]` float32."""
        style = self._scaled(file, contract.STYLE_BYTES, longest)
        style = tf.cond(colors == "matched", lambda: matched_to(style, content), lambda: style)
        sides = tf.shape(style)[1:3]
        region = tf.cond(
            tf.strings.length(mask) > 0,
            lambda: self._mask(mask, contract.STYLE_REGION_BYTES, sides)[None],
            lambda: tf.zeros(tf.concat([[0], sides], axis=0), tf.uint8),
        )
        return tf.switch_case(loss, [partial(each, style, region) for each in self._style_moments])[0]

    def _start(self, inputs: Mapping[str, tf.Tensor], content: tf.Tensor) -> tf.Tensor:
        """Start image, `[1, height, width, 3]` float32 in [0, 1]: start picture or content, mixed with noise."""
        file, share = inputs[contract.START_BYTES.name], inputs[contract.START_NOISE.name]
        size = tf.shape(content)

        start = tf.cond(
            tf.strings.length(file) > 0,
            lambda: self._stretched(file, contract.START_BYTES, size[1:3]),
            lambda: content,
        )

        def noisy() -> tf.Tensor:
            # Philox is the same on every device: equal seeds give equal noise.
            seed = tf.stack([inputs[contract.SEED.name], 0])
            noise = tf.random.stateless_uniform(size, seed, alg=tf.random.Algorithm.PHILOX)
            return start + share * (noise - start)

        return tf.cond(share > 0.0, noisy, lambda: start)
