"""Refusal of bad requests inside the graph, because TensorFlow Serving checks neither shapes nor values.

Each refusal names the input, what came and what is allowed, and comes before any memory is taken for the work. Servers
report it as INVALID_ARGUMENT with this text.
"""

from __future__ import annotations

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Control, Field, Limits


def check(tensor: tf.Tensor, condition: tf.Tensor, message: str | tf.Tensor, *data: tf.Tensor) -> tf.Tensor:
    """`tensor`, once `condition` was found to be true.

    Args:
        tensor: passed on.
        condition: bool scalar.
        message: of the refusal.
        *data: shown behind the message.

    Returns:
        An identity of `tensor` that nothing can use before the check was made.
    """
    # The bare op: tf.debugging.Assert wraps it in a conditional, which a server takes a while to prepare.
    with tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=[message, *data], summarize=8)]):
        return tf.identity(tensor)


def checked_batch(tensor: tf.Tensor, field: Field, limits: Limits) -> tf.Tensor:
    """`tensor`, once its shape was found to be the field's and its batch size to be within the limits."""
    # The very first op of each input: a wrong rank that reaches a convolution aborts the whole server process.
    tensor = tf.ensure_shape(tensor, field.shape)
    batch = tf.shape(tensor)[0]
    return check(
        tensor,
        (batch >= 1) & (batch <= limits.max_batch),
        f"{field.name} {contract.batch_rule(limits.max_batch)}",
        batch,
    )


def checked_image(image: tf.Tensor, field: Field, limits: Limits, min_side: int) -> tf.Tensor:
    """`image`, once its sizes were found to be within the limits and its values finite and in [0, 1].

    Args:
        image: `[batch, height, width, 3]` float32.
        field: the input it came in by.
        limits: of the model.
        min_side: fewest pixels the network can work on.
    """
    image = checked_batch(image, field, limits)
    image = checked_sides(image, tf.shape(image)[1:3], field.name, limits, min_side)
    return checked_pixels(checked_batch_pixels(image, field.name, limits), field.name)


def checked_batch_pixels(image: tf.Tensor, name: str, limits: Limits) -> tf.Tensor:
    """`image`, after a check of the pixels of all its examples, which are in memory at the same time."""
    most = int(limits.numbers()["max_batch_pixels"])
    sizes = tf.shape(image)[:3]
    pixels = tf.reduce_prod(tf.cast(sizes, tf.int64))
    return check(image, pixels <= most, f"{name} {contract.batch_pixels_rule(most)}", sizes)


def checked_pixels(image: tf.Tensor, name: str) -> tf.Tensor:
    """`image`, once its values were found to be finite and in [0, 1]."""
    low, high = tf.reduce_min(image), tf.reduce_max(image)
    finite = tf.reduce_all(tf.math.is_finite(image))
    return check(
        image,
        finite & (low >= 0.0) & (high <= 1.0),
        f"{name} must hold finite values in [0, 1]; got all finite, min, max:",
        finite,
        low,
        high,
    )


def checked_sides(
    tensor: tf.Tensor, sides: tf.Tensor, name: str | tf.Tensor, limits: Limits, min_side: int
) -> tf.Tensor:
    """`tensor`, once `sides` (height and width, int32) were found to be within the limits."""
    tensor = check(
        tensor,
        tf.reduce_all((sides >= min_side) & (sides <= limits.max_side)),
        _text(name, contract.sides_rule(min_side, limits.max_side)),
        sides,
    )
    if limits.max_pixels is None:  # follows from the sides
        return tensor
    pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    return check(tensor, pixels <= limits.max_pixels, _text(name, contract.pixels_rule(limits.max_pixels)), sides)


def checked_work(steps: tf.Tensor, image: tf.Tensor, batch: tf.Tensor, limits: Limits) -> tf.Tensor:
    """`steps`, once the work of the call was found to be within the limits.

    Args:
        steps: of the examples that are worked on together, int32.
        image: of them, `[..., height, width, 3]`.
        batch: examples of the whole call: where they are worked on one after another, each has its share.
        limits: of the model.
    """
    if limits.max_work is None:  # follows from the others
        return steps
    pixels, most, examples = (
        tf.cast(number, tf.float64) for number in (tf.reduce_prod(tf.shape(image)[-3:-1]), tf.reduce_max(steps), batch)
    )
    work = pixels * most * examples / 1e6
    return check(steps, work <= limits.max_work, _text(contract.STEPS.name, contract.work_rule(limits.max_work)), work)


def checked_partner(tensor: tf.Tensor, name: str, batch: tf.Tensor, partner: str) -> tf.Tensor:
    """`tensor`, once its batch size was found to be 1 or that of the partner."""
    size = tf.shape(tensor)[0]
    return check(
        tensor,
        (size == 1) | (size == batch),
        f"{name} {contract.partner_rule(partner)}",
        size,
        batch,
    )


def checked_control(value: tf.Tensor, field: Field, control: Control, limits: Limits, batch: tf.Tensor) -> tf.Tensor:
    """Values of a control, `[batch]` or `[batch, values]`, after a check of batch size and range (NaN is in none)."""
    value = checked_partner(tf.ensure_shape(value, field.shape), field.name, batch, contract.THE_BATCH)
    if control.choices:
        allowed = tf.reduce_any(value[..., None] == tf.constant(control.choices), axis=-1)
        rule = contract.choice_rule(control.choices)
    else:
        low = tf.cast(control.minimum, value.dtype)
        high = tf.cast(control.limit(limits), value.dtype)
        allowed = (value >= low) & (value <= high)
        rule = contract.range_rule(control.minimum, control.limit(limits))
    value = check(value, tf.reduce_all(allowed), f"{field.name} {rule}", value)
    return tf.broadcast_to(value, tf.concat([[batch], tf.shape(value)[1:]], axis=0))


def checked_per(tensor: tf.Tensor, name: str, per: str, count: tf.Tensor) -> tf.Tensor:
    """`[batch, 1 or count]` as `[batch, count]`: one value for all styles or layers, or one for each."""
    size = tf.shape(tensor)[1]
    tensor = check(tensor, (size == 1) | (size == count), f"{name} {contract.per_rule(per)}", size, count)
    return tf.broadcast_to(tensor, [tf.shape(tensor)[0], count])


def _text(name: str | tf.Tensor, rule: str) -> str | tf.Tensor:
    return f"{name} {rule}" if isinstance(name, str) else tf.strings.join([name, rule], separator=" ")
