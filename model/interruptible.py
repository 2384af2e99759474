"""Points at which a server can stop the loop.

TensorFlow looks for a cancelled step, or one past its deadline, at the head of each loop iteration and whenever it is
about to call a function, and nowhere else. An iteration here is a whole pass through the network and back: over a
second at 512 pixels on a CPU, all of it computed for nobody. So a call of a function that does nothing stands behind
every convolution, on the way there and on the way back. Of large images, the convolutions are calls themselves
(`bands`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def uninlined(function: Callable[..., Any], input_signature: list[Any]) -> Callable[..., Any]:
    """`function` as a graph that stays a call of its own in every graph that uses it; it is built at the first call."""

    def of_tensors(*tensors: Any) -> Any:  # noqa: ANN401 - structures of tensors
        return function(*tensors)

    of_tensors.__name__ = getattr(function, "__name__", "of_tensors").lstrip("_")  # for who reads the graph
    graph = tf.function(
        of_tensors,
        input_signature=input_signature,
        autograph=False,
        experimental_attributes={"_noinline": True},
    )

    # Once: a tf.function is built again while a model is saved, which takes an export two seconds.
    @functools.cache
    def built() -> Callable[..., Any]:
        return graph.get_concrete_function()

    def call(*tensors: Any) -> Any:  # noqa: ANN401 - structures of tensors
        return built()(*tensors)

    return call


# For any shape: one function a dtype keeps the graph small.
_PASS_ON = {dtype: uninlined(tf.identity, [tf.TensorSpec(None, dtype)]) for dtype in ("float32", "bfloat16")}


@tf.custom_gradient
def interruptible(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """`x`, float32 or bfloat16 of any shape, unless the step was cancelled; so for its gradient, too."""

    def call(value: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(_PASS_ON[x.dtype.name](value), x.shape)

    return call(x), call
