"""Function calls that TensorFlow does not inline: they keep graphs small and let a server cancel a run.

TensorFlow checks for cancellation and for the deadline at the head of each loop iteration and before each function
call, and nowhere else. One iteration here is a whole pass through the network and back, over a second at 512 pixels on
a CPU. So every convolution is followed by a call, `cancellation_point`, in the forward and in the backward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def noinline(function: Callable[..., Any], input_signature: list[Any]) -> Callable[..., Any]:
    """`function` as a graph function that stays a call in every graph that uses it, traced at the first call."""

    def of_tensors(*tensors: Any) -> Any:  # noqa: ANN401 - structures of tensors
        return function(*tensors)

    of_tensors.__name__ = getattr(function, "__name__", "of_tensors").lstrip("_")  # readable names in the graph
    graph = tf.function(
        of_tensors,
        input_signature=input_signature,
        autograph=False,
        experimental_attributes={"_noinline": True},
    )

    # A tf.function is traced again while a model is saved: two seconds of an export.
    @functools.cache
    def traced() -> Callable[..., Any]:
        return graph.get_concrete_function()

    def call(*tensors: Any) -> Any:  # noqa: ANN401 - structures of tensors
        return traced()(*tensors)

    return call


# One function for each dtype, for any shape, keeps the graph small.
_IDENTITY = {dtype: noinline(tf.identity, [tf.TensorSpec(None, dtype)]) for dtype in ("float32", "bfloat16", "float64")}


@tf.custom_gradient
def cancellation_point(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """`x` behind a function call, where TensorFlow checks for cancellation; its gradient likewise.

    Args:
        x: Any shape, float32, bfloat16 or float64.
    """

    def call(value: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(_IDENTITY[x.dtype.name](value), x.shape)

    return call(x), call
