"""Functions that stay calls of their own in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def uninlined(function: Callable[..., Any], input_signature: list[Any]) -> Callable[..., Any]:
    """`function` as a `tf.function` that stays a call of its own in every graph that uses it."""
    return tf.function(
        function,
        input_signature=input_signature,
        autograph=False,
        experimental_attributes={"_noinline": True},
    )
