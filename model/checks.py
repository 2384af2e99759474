"""Refusal of bad requests inside the graph, because TensorFlow Serving checks neither shapes nor values.

Each refusal names the input, what came and what is allowed, and comes before any memory is taken for the work. Servers
report it as INVALID_ARGUMENT with this text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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


def checked_batches(
    inputs: Mapping[str, tf.Tensor], fields: Iterable[Field], limits: Limits
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Inputs of the same examples by name, `[batch, ...]` each, after a check of their shapes; and the batch size.

    Args:
        inputs: By name, `[1 or batch, ...]`.
        fields: Those to take.
        limits: Of the model.
    """
    given = {field.name: tf.ensure_shape(inputs[field.name], field.shape) for field in fields}
    sizes = tf.stack([_sizes(tensor)[0] for tensor in given.values()])
    rule = contract.batch_rule(limits.max_batch)
    sizes = _check_each(sizes, (sizes >= 1) & (sizes <= limits.max_batch), [f"{name} {rule}" for name in given], sizes)
    batch = tf.reduce_max(sizes)
    agreed = tf.reduce_all((sizes == 1) | (sizes == batch))
    message = f"{', '.join(given)} must have batch size 1 or that of the others; got"
    batch = check(batch, agreed, message, sizes)
    return {name: _repeated(tensor, batch) for name, tensor in given.items()}, batch


def checked_controls(
    inputs: Mapping[str, tf.Tensor], fields: Iterable[Field], limits: Limits, batch: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Values of controls by name, `[batch]` or `[batch, values]`, after checks of batch sizes and ranges.

    NaN is in no range. Single numbers of one dtype are checked together: a server takes long to prepare a check.

    Args:
        inputs: By name.
        fields: Inputs; those that are no controls are passed over.
        limits: Of the model.
        batch: Examples of the call.
    """
    controls = [(field, field.control) for field in fields if field.control is not None]
    given = {field.name: tf.ensure_shape(inputs[field.name], field.shape) for field, _ in controls}
    sizes = tf.stack([_sizes(value)[0] for value in given.values()])
    rules = [f"{name} {contract.partner_rule(contract.THE_BATCH)}" for name in given]
    batch = _check_each(batch, (sizes == 1) | (sizes == batch), rules, sizes, batch)

    values: dict[str, tf.Tensor] = {}
    numbers: dict[str, list[tuple[Field, Control]]] = {}
    for field, control in controls:
        if control.choices or control.per:
            values[field.name] = _checked_values(_repeated(given[field.name], batch), field, control, limits)
        else:
            numbers.setdefault(control.dtype, []).append((field, control))
    for dtype, both in numbers.items():
        stacked = tf.stack([_repeated(given[field.name], batch) for field, _ in both])
        ranges = [(control.minimum, control.limit(limits)) for _, control in both]
        low, high = (tf.constant([[own[i]] for own in ranges], dtype) for i in range(2))
        allowed = tf.reduce_all((stacked >= low) & (stacked <= high), axis=1)
        rules = [f"{field.name} {contract.range_rule(*own)}" for (field, _), own in zip(both, ranges, strict=True)]
        stacked = _check_each(stacked, allowed, rules, stacked)
        names = [field.name for field, _ in both]
        values |= dict(zip(names, tf.unstack(stacked, len(names)), strict=True))
    return values


def _checked_values(value: tf.Tensor, field: Field, control: Control, limits: Limits) -> tf.Tensor:
    """`value`, after a check that all of it is among the choices, or in the range, of the control."""
    if control.choices:
        allowed = tf.reduce_any(value[..., None] == tf.constant(control.choices), axis=-1)
        rule = contract.choice_rule(control.choices)
    else:
        low, high = control.minimum, control.limit(limits)
        allowed = (value >= tf.cast(low, value.dtype)) & (value <= tf.cast(high, value.dtype))
        rule = contract.range_rule(low, high)
    return check(value, tf.reduce_all(allowed), f"{field.name} {rule}", value)


def checked_per(tensor: tf.Tensor, name: str, per: str, count: tf.Tensor) -> tf.Tensor:
    """`[batch, 1 or count]` as `[batch, count]`: one value for all styles or layers, or one for each."""
    batch, size = _sizes(tensor)
    tensor = check(tensor, (size == 1) | (size == count), f"{name} {contract.per_rule(per)}", size, count)
    return tf.broadcast_to(tensor, tf.stack([batch, count]))


def _check_each(
    tensor: tf.Tensor, conditions: tf.Tensor, messages: Sequence[str], numbers: tf.Tensor, *data: tf.Tensor
) -> tf.Tensor:
    """`check` of several conditions; the message, and the one of `numbers`, are those of the first that is false."""
    wrong = tf.argmin(tf.cast(conditions, tf.int32))
    message = tf.gather(tf.constant(messages), wrong)
    return check(tensor, tf.reduce_all(conditions), message, tf.gather(numbers, wrong), *data)


def _sizes(tensor: tf.Tensor) -> list[tf.Tensor]:
    """Sizes of a tensor of known rank, int32 scalars: two operations, where each slice of a shape would be four."""
    return tf.unstack(tf.shape(tensor), len(tensor.shape))


def _repeated(tensor: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """`[1 or batch, ...]` as `[batch, ...]`."""
    return tf.broadcast_to(tensor, tf.stack([batch, *_sizes(tensor)[1:]]))


def _text(name: str | tf.Tensor, rule: str) -> str | tf.Tensor:
    return f"{name} {rule}" if isinstance(name, str) else tf.strings.join([name, rule], separator=" ")
