"""What a run begins with: decoded and checked pictures, masks, styles and start, from the files of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Field, Limits

from .canvas import Canvas
from .checks import check
from .colours import luma, matched_to
from .interruptible import uninlined
from .pictures import decode

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
        given = tf.strings.length(files) > 0
        everywhere = tf.fill(sides, tf.constant(255, tf.uint8))

        def one(i: tf.Tensor) -> tf.Tensor:
            name = contract.CONTENT_REGION_BYTES.name
            return tf.cond(given[i], lambda: self._mask(files[i], sides, name), lambda: everywhere)

        def all_of_them() -> tf.Tensor:
            spec = tf.TensorSpec([None, None], tf.uint8)
            return tf.map_fn(one, tf.range(tf.shape(files)[0]), fn_output_signature=spec, parallel_iterations=1)

        def none() -> tf.Tensor:
            return tf.zeros(tf.concat([[0], sides], axis=0), tf.uint8)

        return tf.cond(tf.reduce_any(given), all_of_them, none)

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

        def one(i: tf.Tensor) -> tf.Tensor:
            longest = tf.cast(own[contract.MAX_SIDE.name], tf.float32) * own[contract.STYLE_SCALE.name][i]
            none = tf.zeros([2], tf.int32)
            style = self._decode(files[i], longest, none, tf.constant(contract.STYLE_BYTES.name))
            style = tf.cond(own[contract.COLORS.name] == "matched", lambda: matched_to(style, content), lambda: style)
            sides, name = tf.shape(style)[1:3], contract.STYLE_REGION_BYTES.name
            region = tf.cond(
                tf.strings.length(masks[i]) > 0,
                lambda: self._mask(masks[i], sides, name)[None],
                lambda: tf.zeros(tf.concat([[0], sides], axis=0), tf.uint8),
            )
            loss = tf.argmax(own[contract.LOSS.name] == tf.constant(contract.LOSS.choices), output_type=tf.int32)
            return tf.switch_case(loss, [partial(each, style, region) for each in self._style_moments])[0]

        each = tf.map_fn(
            one,
            tf.range(tf.shape(files)[0]),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
            parallel_iterations=1,
        )
        return tf.cond(blended, lambda: tf.tensordot(shares, each, axes=1)[None], lambda: each)

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
