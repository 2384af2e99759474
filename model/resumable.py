"""Runs in chunks: each call takes the state that the last one gave, and gives the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Field, Limits

from .architecture import layers_up_to
from .checks import check, checked_batch, checked_pixels, checked_sides, checked_values, checked_work
from .lbfgs import HISTORY
from .losses import Targets
from .optimisers import Optimiser
from .pictures import encode_png
from .state import FINGERPRINT_BYTES, Part, Sizes, checked_sizes, pack, unpack

_STATE_FORMAT = 2
"""Raised when the bytes of a state change their meaning."""


def fingerprint(optimiser: str, facts: Mapping[str, Any]) -> bytes:
    """What tells states of one optimiser of one model from all others.

    Args:
        optimiser: its name.
        facts: about the model, of all that decides where a run goes on to; as JSON takes them.
    """
    text = json.dumps({"format": _STATE_FORMAT, "optimiser": optimiser, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[:FINGERPRINT_BYTES]


class Resumable(NamedTuple):
    """What the signatures of resumable runs are made with.

    Attributes:
        optimiser: that goes on with a run.
        targets: of content and style image.
        decode: from a file, the longest side and the input's name to an image.
        fingerprint: see `fingerprint`.
        style_layers: of the model.
        content_layer: of the model.
        limits: of the model.
        min_side: fewest pixels the network can work on.
    """

    optimiser: Optimiser[Any]
    targets: Callable[[tf.Tensor, tf.Tensor], Targets]
    decode: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    fingerprint: bytes
    style_layers: tuple[str, ...]
    content_layer: str
    limits: Limits
    min_side: int

    def batch(self, inputs: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Pictures and states, each `[batch or 1, ...]`, once their batch sizes were found to agree; and that size."""
        fields = (contract.CONTENT_IMAGE, contract.STYLE_IMAGE, contract.CONTENT_BYTES, contract.STYLE_BYTES)
        own = {field.name: checked_batch(inputs[field.name], field, self.limits) for field in (*fields, contract.STATE)}
        sizes = tf.stack([tf.shape(tensor)[0] for tensor in own.values()])
        batch = tf.reduce_max(sizes)
        message = f"{', '.join(own)} must have batch size 1 or that of the others; got"
        agreed = tf.reduce_all((sizes == 1) | (sizes == batch))
        return {name: check(tensor, agreed, message, sizes) for name, tensor in own.items()}, batch

    def chunk(
        self, i: tf.Tensor, given: Mapping[str, tf.Tensor], controls: dict[str, tf.Tensor], batch: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The state of example `i` after some more steps, a string scalar, and their losses `[steps, 4]`.

        Args:
            i: int32 scalar.
            given: see `batch`.
            controls: `[1]` each.
            batch: examples of the call.
        """
        own = {name: tensor[tf.minimum(i, tf.shape(tensor)[0] - 1)] for name, tensor in given.items()}
        max_side = controls.pop(contract.MAX_SIDE.name)[0]
        state = own[contract.STATE.name]
        has_files = [tf.strings.length(own[field.name]) > 0 for field in (contract.CONTENT_BYTES, contract.STYLE_BYTES)]
        has_images = [tf.size(own[field.name]) > 0 for field in (contract.CONTENT_IMAGE, contract.STYLE_IMAGE)]
        ways = [tf.strings.length(state) > 0, tf.reduce_any(has_files), tf.reduce_any(has_images)]
        state = check(
            state,
            tf.reduce_sum(tf.cast(tf.stack(ways), tf.int32)) == 1,
            "give either state, or content_bytes and style_bytes, or content_image and style_image; got in this order:",
            tf.stack(ways),
        )
        # Asked of the checked state: nothing begins before the check was made.
        targets, run = tf.cond(
            tf.strings.length(state) > 0,
            lambda: self._resume(state),
            lambda: self._begin(own, has_images[0], max_side),
        )
        steps = checked_work(controls[contract.STEPS.name], self.optimiser.image(run), batch, self.limits)
        run, losses = self.optimiser.run(targets, run, {**controls, contract.STEPS.name: steps})
        sizes, tensors = self.optimiser.pack(run)
        return pack(self.fingerprint, sizes, [*tf.nest.flatten(targets), *tensors]), losses[0]

    def picture(self, state: tf.Tensor) -> tf.Tensor:
        """The PNG file of a state that `chunk` gave; string scalars."""
        _, _, (image, *_) = self._unpacked(state)
        return encode_png(image[0])

    def _begin(self, own: Mapping[str, tf.Tensor], as_images: tf.Tensor, max_side: tf.Tensor) -> tuple[Targets, Any]:
        def image(picture: Field, file: Field) -> tf.Tensor:
            return tf.cond(
                as_images,
                lambda: checked_values(own[picture.name][None], picture, self.limits, self.min_side),
                lambda: self.decode(own[file.name], max_side, tf.constant(file.name)),
            )

        content = image(contract.CONTENT_IMAGE, contract.CONTENT_BYTES)
        style = image(contract.STYLE_IMAGE, contract.STYLE_BYTES)
        return self.targets(content, style), self.optimiser.init(content)

    def _resume(self, state: tf.Tensor) -> tuple[Targets, Any]:
        sizes, targets, (image, *others) = self._unpacked(state)
        image = checked_pixels(image, "the image in state")
        return targets, self.optimiser.unpack(sizes, [image, *others])

    def _unpacked(self, state: tf.Tensor) -> tuple[Sizes, Targets, list[tf.Tensor]]:
        """The sizes, the targets, and what the optimiser packed."""
        sizes = checked_sizes(state, self.fingerprint)
        sides = tf.stack([sizes.height, sizes.width])
        state = checked_sides(state, sides, "the image in state", self.limits, self.min_side)
        counts_fit = (sizes.updates >= 0) & (sizes.pairs >= 0) & (sizes.pairs <= HISTORY)
        state = check(state, counts_fit, "state is damaged: updates, pairs:", sizes.updates, sizes.pairs)
        targets = self._target_parts(sizes)
        parts = tf.nest.flatten(targets)
        tensors = unpack(state, [*parts, *self.optimiser.parts(sizes)])
        return sizes, tf.nest.pack_sequence_as(targets, tensors[: len(parts)]), tensors[len(parts) :]

    def _target_parts(self, sizes: Sizes) -> Any:  # noqa: ANN401 - `Targets` with parts for tensors
        scale = Part(tf.float32, (1,))
        content = layers_up_to([self.content_layer])
        shrunk = 2 ** sum(layer.pool for layer in content)
        channels = [layers_up_to([name])[-1].out_channels for name in self.style_layers]
        return Targets(
            content=Part(tf.float32, (1, sizes.height // shrunk, sizes.width // shrunk, content[-1].out_channels)),
            content_scale=scale,
            grams=tuple(Part(tf.float32, (1, size, size)) for size in channels),
            gram_scales=(scale,) * len(channels),
        )
