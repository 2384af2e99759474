"""Input checks inside the graph: TensorFlow Serving checks neither shapes nor values.

Each check runs before the work takes memory. Its message names the input, the allowed values and the value that came;
servers report it as INVALID_ARGUMENT.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

from styleserve import contract
from styleserve.contract import Control, Field, Limits


def check(tensor: tf.Tensor, condition: tf.Tensor, message: str | tf.Tensor, *data: tf.Tensor) -> tf.Tensor:
    """`tensor`, which depends on a check of `condition`.

    Args:
        tensor: Any tensor; every use of the result waits for the check.
        condition: Bool scalar.
        message: Start of the error message.
        *data: Values to show after the message.
    """
    # The bare op, because tf.debugging.Assert adds a conditional, which slows down a server's start.
    with tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=[message, *data], summarize=8)]):
        return tf.identity(tensor)


def checked_batch(tensor: tf.Tensor, field: Field, limits: Limits) -> tf.Tensor:
    """`tensor`, after a check of its shape against the field and of its batch size against the limits."""
    # First op of each input, because a wrong rank that reaches a convolution aborts the whole server process.
    tensor = tf.ensure_shape(tensor, field.shape)
    batch = tf.shape(tensor)[0]
    return check(
        tensor,
        (batch >= 1) & (batch <= limits.max_batch),
        f"{field.name} {contract.batch_rule(limits.max_batch)}",
        batch,
    )


def checked_image(image: tf.Tensor, field: Field, limits: Limits, min_side: int) -> tf.Tensor:
    """`image`, after checks of its sizes against the limits and of its values: finite and in [0, 1].

    Args:
        image: `[batch, height, width, 3]` float32.
        field: Input of the signature.
        limits: Limits of the model.
        min_side: Shortest side that the network can process, in pixels.
    """
    image = checked_batch(image, field, limits)
    image = checked_sides(image, tf.shape(image)[1:3], field.name, limits, min_side)
    image = checked_batch_pixels(image, field.name, int(limits.numbers()["max_batch_pixels"]))
    return checked_pixels(image, field.name)


def checked_batch_pixels(image: tf.Tensor, name: str, most: int) -> tf.Tensor:
    """`image`, after a check of the total pixels of its examples, which are in memory at the same time."""
    sizes = tf.shape(image)[:3]
    pixels = tf.reduce_prod(tf.cast(sizes, tf.int64))
    return check(image, pixels <= most, f"{name} {contract.batch_pixels_rule(most)}", sizes)


def checked_pixels(image: tf.Tensor, name: str) -> tf.Tensor:
    """`image`, float32 of any shape, after a check that its values are finite and in [0, 1]."""
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
    """`tensor`, after a check of `sides`, height and width, `[2]` int32, against the limits."""
    tensor = check(
        tensor,
        tf.reduce_all((sides >= min_side) & (sides <= limits.max_side)),
        _text(name, contract.sides_rule(min_side, limits.max_side)),
        sides,
    )
    if limits.max_pixels is None:  # implied by the check of the sides
        return tensor
    pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    return check(tensor, pixels <= limits.max_pixels, _text(name, contract.pixels_rule(limits.max_pixels)), sides)


def checked_work(steps: tf.Tensor, image: tf.Tensor, batch: tf.Tensor, limits: Limits) -> tf.Tensor:
    """`steps`, after a check of pixels x steps x examples against the limits.

    Args:
        steps: Steps of the examples that run together, `[examples]` int32.
        image: Their images, `[..., height, width, 3]`.
        batch: Examples of the whole call, int32 scalar; also those that run one after another.
        limits: Limits of the model.
    """
    if limits.max_work is None:  # implied by the other limits
        return steps
    pixels, most, examples = (
        tf.cast(number, tf.float64) for number in (tf.reduce_prod(tf.shape(image)[-3:-1]), tf.reduce_max(steps), batch)
    )
    work = pixels * most * examples / 1e6
    return check(steps, work <= limits.max_work, _text(contract.STEPS.name, contract.work_rule(limits.max_work)), work)


def checked_partner(tensor: tf.Tensor, name: str, batch: tf.Tensor, partner: str) -> tf.Tensor:
    """`tensor`, after a check that its batch size is 1 or `batch`, the batch size of the input named `partner`."""
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
    """Inputs `[batch, ...]` by name, after a check of their shapes, and the batch size, int32 scalar.

    Args:
        inputs: Inputs by name, `[1 or batch, ...]`.
        fields: Inputs to check and to return.
        limits: Limits of the model.
    """
    tensors = {field.name: tf.ensure_shape(inputs[field.name], field.shape) for field in fields}
    sizes = tf.stack([_sizes(tensor)[0] for tensor in tensors.values()])
    rule = contract.batch_rule(limits.max_batch)
    messages = [f"{name} {rule}" for name in tensors]
    sizes = _check_each(sizes, (sizes >= 1) & (sizes <= limits.max_batch), messages, sizes)
    batch = tf.reduce_max(sizes)
    agreed = tf.reduce_all((sizes == 1) | (sizes == batch))
    batch = check(batch, agreed, f"{', '.join(tensors)} {contract.SAME_BATCH_RULE}", sizes)
    return {name: _broadcast(tensor, batch) for name, tensor in tensors.items()}, batch


def checked_controls(
    inputs: Mapping[str, tf.Tensor], fields: Iterable[Field], limits: Limits, batch: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Values of controls by name, `[batch]` or `[batch, values]`, after checks of batch sizes and ranges.

    NaN is in no range. Numbers of one dtype share one check, because each check slows down a server's start.

    Args:
        inputs: Inputs by name.
        fields: Fields of the signature; those without a control are ignored.
        limits: Limits of the model.
        batch: Examples of the call, int32 scalar.
    """
    controls = [(field, field.control) for field in fields if field.control is not None]
    tensors = {field.name: tf.ensure_shape(inputs[field.name], field.shape) for field, _ in controls}
    sizes = tf.stack([_sizes(value)[0] for value in tensors.values()])
    messages = [f"{name} {contract.partner_rule(contract.THE_BATCH)}" for name in tensors]
    batch = _check_each(batch, (sizes == 1) | (sizes == batch), messages, sizes, batch)

    values: dict[str, tf.Tensor] = {}
    numbers: dict[str, list[tuple[Field, Control]]] = {}
    for field, control in controls:
        if control.choices or control.per:
            values[field.name] = _checked_values(_broadcast(tensors[field.name], batch), field, control, limits)
        else:
            numbers.setdefault(control.dtype, []).append((field, control))
    for dtype, group in numbers.items():
        names = [field.name for field, _ in group]
        stacked = tf.stack([_broadcast(tensors[name], batch) for name in names])
        ranges = [(control.minimum, control.limit(limits)) for _, control in group]
        low, high = (tf.constant([[bounds[i]] for bounds in ranges], dtype) for i in range(2))
        allowed = tf.reduce_all((stacked >= low) & (stacked <= high), axis=1)
        messages = [f"{name} {contract.range_rule(*bounds)}" for name, bounds in zip(names, ranges, strict=True)]
        stacked = _check_each(stacked, allowed, messages, stacked)
        values |= dict(zip(names, tf.unstack(stacked, len(names)), strict=True))
    return values


def _checked_values(value: tf.Tensor, field: Field, control: Control, limits: Limits) -> tf.Tensor:
    """`value`, after a check that every element is one of the control's choices or in its range."""
    if control.choices:
        allowed = tf.reduce_any(value[..., None] == tf.constant(control.choices), axis=-1)
        rule = contract.choice_rule(control.choices)
    else:
        low, high = control.minimum, control.limit(limits)
        allowed = (value >= tf.cast(low, value.dtype)) & (value <= tf.cast(high, value.dtype))
        rule = contract.range_rule(low, high)
    return check(value, tf.reduce_all(allowed), f"{field.name} {rule}", value)


def checked_per(tensor: tf.Tensor, name: str, per: str, count: tf.Tensor) -> tf.Tensor:
    """`tensor`, `[batch, 1 or count]`, as `[batch, count]`.

    Args:
        tensor: One value for all styles or style layers, or one for each.
        name: Name of the input.
        per: "style" or "style layer", for the message.
        count: Number of styles or style layers, int32 scalar.
    """
    batch, size = _sizes(tensor)
    tensor = check(tensor, (size == 1) | (size == count), f"{name} {contract.per_rule(per)}", size, count)
    return tf.broadcast_to(tensor, tf.stack([batch, count]))


def _check_each(
    tensor: tf.Tensor, conditions: tf.Tensor, messages: Sequence[str], numbers: tf.Tensor, *data: tf.Tensor
) -> tf.Tensor:
    """`tensor`, after a `check` of all `conditions`, with the message and the number of the first that is false."""
    first_false = tf.argmin(tf.cast(conditions, tf.int32))
    message = tf.gather(tf.constant(messages), first_false)
    return check(tensor, tf.reduce_all(conditions), message, tf.gather(numbers, first_false), *data)


def _sizes(tensor: tf.Tensor) -> list[tf.Tensor]:
    """Sizes of a tensor of known rank, int32 scalars, in two operations; each slice of a shape would be four."""
    return tf.unstack(tf.shape(tensor), len(tensor.shape))


def _broadcast(tensor: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """`[1 or batch, ...]` as `[batch, ...]`."""
    return tf.broadcast_to(tensor, tf.stack([batch, *_sizes(tensor)[1:]]))


def _text(name: str | tf.Tensor, rule: str) -> str | tf.Tensor:
    return f"{name} {rule}" if isinstance(name, str) else tf.strings.join([name, rule], separator=" ")
