"""What a run begins with: decoded and checked pictures, masks, styles and start, from the files of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Control, Field, Limits

from .canvas import Canvas
from .checks import check
from .colours import luma, matched_to
from .interruptible import uninlined
from .pictures import decode


def chosen(own: Mapping[str, tf.Tensor], control: Control) -> tf.Tensor:
    """Number of the choice of an example, int32 scalar; `own` are its inputs by name."""
    return tf.argmax(own[control.name] == tf.constant(control.choices), output_type=tf.int32)


StyleMoments = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From a style picture `[1, height, width, 3]` and its mask `[0 or 1, height, width]` uint8 to its moments,
`[1, numbers]`."""


class RunInputs:
    """Reads the files of one example.

    Args:
        style_moments: One for each of `contract.LOSS.choices`.
        limits: Of the model.
        min_side: Fewest pixels the network can work on.
    """

    def __init__(
        self,
        style_moments: Sequence[StyleMoments],
        limits: Limits,
        min_side: int,
    ) -> None:
        self._style_moments = style_moments
        text, number, sides = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.float32), tf.TensorSpec([2], tf.int32)
        self._decode: Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] = uninlined(
            partial(decode, limits=limits, min_side=min_side), [text, number, sides, text]
        )
        # All that a loop does is a call of one function: of more, TensorFlow's inlining ties calls to the wrong loop.
        image = tf.TensorSpec([1, None, None, 3], tf.float32)
        self._region = uninlined(self._region_of, [text, sides])
        self._style = uninlined(self._style_of, [text, text, number, text, tf.TensorSpec([], tf.int32), image])

    def canvas(self, own: Mapping[str, tf.Tensor]) -> tuple[Canvas, tf.Tensor]:
        """Canvas and start of a run.

        Args:
            own: Inputs of the example by name, checked but for the files: scalars, and `[styles]`.

        Returns:
            The canvas, and the start, `[1, height, width, 3]` float32 in [0, 1].
        """
        content = self._picture(own, contract.CONTENT_BYTES, longest=own[contract.MAX_SIDE.name])
        sides = tf.shape(content)[1:3]
        regions = self._regions(own[contract.CONTENT_REGION_BYTES.name], sides)
        reference, reference_weight = self._reference(own, sides)
        canvas = Canvas(
            content=content,
            regions=regions,
            blend=own[contract.STYLE_BLEND.name][: tf.shape(regions)[0]],
            reference=reference,
            reference_weight=reference_weight,
            styles=self._styles(own, content, blended=tf.shape(regions)[0] == 0),
        )
        return canvas, self._start(own, content)

    def _picture(
        self,
        own: Mapping[str, tf.Tensor],
        field: Field,
        *,
        longest: tf.Tensor | None = None,
        size: tf.Tensor | None = None,
    ) -> tf.Tensor:
        side = tf.constant(0.0) if longest is None else tf.cast(longest, tf.float32)
        sides = tf.zeros([2], tf.int32) if size is None else size
        return self._decode(own[field.name], side, sides, tf.constant(field.name))

    def _mask(self, file: tf.Tensor, sides: tf.Tensor, name: str) -> tf.Tensor:
        """A mask, `[height, width]` uint8: the luma of the picture, stretched to the size."""
        picture = self._decode(file, tf.constant(0.0), sides, tf.constant(name))
        mask = tf.cast(tf.round(luma(picture[0])[..., 0] * 255.0), tf.uint8)
        mean = tf.reduce_mean(tf.cast(mask, tf.float32)) / 255.0
        return check(mask, tf.reduce_any(mask > 0), f"{name} {contract.MASK_RULE}", mean)

    def _regions(self, files: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
        """Masks of all styles, `[styles, height, width]` uint8; none where no style has one."""

        def one(i: tf.Tensor) -> tf.Tensor:
            return self._region(files[i], sides)

        styles = tf.shape(files)[0]
        spec = tf.TensorSpec([None, None], tf.uint8)
        regions = tf.map_fn(one, tf.range(styles), fn_output_signature=spec, parallel_iterations=1)
        # Not a condition around the loop: of loops inside conditions, too, TensorFlow's inlining loses count.
        return regions[: tf.where(tf.reduce_any(tf.strings.length(files) > 0), styles, 0)]

    def _region_of(self, file: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
        """The mask of one style, which without a file is everywhere."""
        name = contract.CONTENT_REGION_BYTES.name
        return tf.cond(
            tf.strings.length(file) > 0,
            lambda: self._mask(file, sides, name),
            lambda: tf.fill(sides, tf.constant(255, tf.uint8)),
        )

    def _reference(self, own: Mapping[str, tf.Tensor], sides: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        file, weight = own[contract.REFERENCE_BYTES.name], own[contract.REFERENCE_WEIGHT_BYTES.name]
        file = check(
            file,
            (tf.strings.length(file) > 0) | (tf.strings.length(weight) == 0),
            f"{contract.REFERENCE_WEIGHT_BYTES.name} needs a picture in {contract.REFERENCE_BYTES.name}",
        )

        def none() -> tuple[tf.Tensor, tf.Tensor]:
            empty = tf.concat([[0], sides], axis=0)
            return tf.zeros(tf.concat([empty, [3]], axis=0)), tf.zeros(empty, tf.uint8)

        def given() -> tuple[tf.Tensor, tf.Tensor]:
            everywhere = tf.fill(sides, tf.constant(255, tf.uint8))
            name = contract.REFERENCE_WEIGHT_BYTES.name
            mask = tf.cond(tf.strings.length(weight) > 0, lambda: self._mask(weight, sides, name), lambda: everywhere)
            picture = self._decode(file, tf.constant(0.0), sides, tf.constant(contract.REFERENCE_BYTES.name))
            return picture, mask[None]

        return tf.cond(tf.strings.length(file) > 0, given, none)

    def _styles(self, own: Mapping[str, tf.Tensor], content: tf.Tensor, *, blended: tf.Tensor) -> tf.Tensor:
        """Moments of each style, `[styles, numbers]`, or of their blend, `[1, numbers]`.

        A blend is the mean of the Gram matrices and of the means, by share.
        """
        files, masks = own[contract.STYLE_BYTES.name], own[contract.STYLE_REGION_BYTES.name]
        shares = own[contract.STYLE_BLEND.name]

        colors = own[contract.COLORS.name]
        sides = tf.cast(own[contract.MAX_SIDE.name], tf.float32) * own[contract.STYLE_SCALE.name]
        loss = chosen(own, contract.LOSS)

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
        """Moments of one style, `[numbers]`."""
        style = self._decode(file, longest, tf.zeros([2], tf.int32), tf.constant(contract.STYLE_BYTES.name))
        style = tf.cond(colors == "matched", lambda: matched_to(style, content), lambda: style)
        sides, name = tf.shape(style)[1:3], contract.STYLE_REGION_BYTES.name
        region = tf.cond(
            tf.strings.length(mask) > 0,
            lambda: self._mask(mask, sides, name)[None],
            lambda: tf.zeros(tf.concat([[0], sides], axis=0), tf.uint8),
        )
        return tf.switch_case(loss, [partial(each, style, region) for each in self._style_moments])[0]

    def _start(self, own: Mapping[str, tf.Tensor], content: tf.Tensor) -> tf.Tensor:
        file, share = own[contract.START_BYTES.name], own[contract.START_NOISE.name]
        size = tf.shape(content)

        def given() -> tf.Tensor:
            return self._picture(own, contract.START_BYTES, size=size[1:3])

        start = tf.cond(tf.strings.length(file) > 0, given, lambda: content)

        def noisy() -> tf.Tensor:
            # Philox on every device: equal seeds give equal noise.
            seed = tf.stack([own[contract.SEED.name], 0])
            noise = tf.random.stateless_uniform(size, seed, alg=tf.random.Algorithm.PHILOX)
            return start + share * (noise - start)

        return tf.cond(share > 0.0, noisy, lambda: start)
