"""How requests become one batch along dimension 0, and its outputs theirs again.

A batch without a row for each is no batch: checks and texts are TensorFlow Serving's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from styleserve.contract import LOSSES, STEPS

from .batching_settings import BatchingSettings
from .call import Call
from .errors import PreconditionError, RequestError
from .servable import Servable, Work
from .signature import Array


def rows_of(work: Work) -> int:
    """Dimension 0 of all inputs, defaults included.

    Raises:
        RequestError: an input has no dimension, or two differ.
    """
    sizes: dict[str, int] = {}
    for alias, endpoint in work.signature.inputs.items():
        shape = work.feeds[endpoint.tensor_name].shape
        if not shape:
            raise RequestError(f"Batching Run() input tensors must have at least one dimension; {alias} has none")
        sizes[alias] = shape[0]
    if not sizes:
        raise RequestError("Batching Run() must have at least one input tensor")
    if len(set(sizes.values())) > 1:
        came = ", ".join(f"{alias} {size}" for alias, size in sizes.items())
        raise RequestError(
            f"Batching Run() input tensors must have equal 0th-dimension size; got {came}. Server-side batching is on: "
            "send every input, controls included, with one value for each example"
        )
    return next(iter(sizes.values()))


def has_files(work: Work) -> bool:
    """Whether there are files among the inputs."""
    return any(array.dtype == np.object_ for array in work.feeds.values())


def likeness(work: Work) -> Hashable:
    """Equal for requests that may be joined."""
    shapes = tuple(array.shape[1:] for array in work.feeds.values())
    steps = _steps(work)
    return tuple(work.fetches), shapes, None if steps is None else steps.bit_length()


def _steps(work: Work) -> int | None:
    endpoint = work.signature.inputs.get(STEPS.name)
    return None if endpoint is None else int(work.feeds[endpoint.tensor_name].max())


def run_together(
    servable: Servable, works: Sequence[Work], settings: BatchingSettings, call: Call, slot: int
) -> list[list[Array]]:
    """The outputs of each request, as it would have got them by itself.

    Args:
        servable: that runs them.
        works: with equal `likeness`.
        settings: to which size a batch is filled up.
        call: when to stop.
        slot: as for `Servable.run`.

    Raises:
        ServingError: the model failed, its outputs cannot be split, or the call was stopped.
    """
    sizes = [rows_of(work) for work in works]
    rows = sum(sizes)
    padded, limits = settings.padded(rows), servable.limits
    padding = padded - rows if limits is None or padded <= limits.max_batch else 0
    first = works[0]
    feeds = {name: joined([work.feeds[name] for work in works], padding) for name in first.feeds}
    values = servable.run(Work(first.signature, feeds, first.fetches), call, slot)
    for value in values:
        if not value.ndim:
            raise PreconditionError("Batched output tensor has 0 dimensions")
        if len(value) != rows + padding:
            raise PreconditionError(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
    outputs: list[list[Array]] = []
    start = 0
    for work, size in zip(works, sizes, strict=True):
        own = [value[start : start + size] for value in values]
        outputs.append([_cut(alias, value, work) for alias, value in zip(first.fetches, own, strict=True)])
        start += size
    return outputs


def joined(arrays: Sequence[Array], padding: int) -> Array:
    """The arrays as one, with so many rows more."""
    # What TensorFlow Serving pads with: the first row of the last request, which is sure to be a good one.
    arrays = [*arrays, *[arrays[-1][:1]] * padding]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _cut(alias: str, value: Array, work: Work) -> Array:
    """An output as the request would have got it by itself."""
    steps = _steps(work)
    return value[:, : max(steps, 0)] if alias == LOSSES.name and steps is not None else value
