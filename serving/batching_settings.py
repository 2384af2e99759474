"""How requests are joined: TensorFlow Serving's BatchingParameters, read and held against what it allows."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

from .config_files import BatchingParameters, read_config
from .errors import StartError


@dataclass(frozen=True)
class BatchingSettings:
    """BatchingParameters; the defaults are TensorFlow Serving's.

    Attributes:
        max_batch_size: most rows of a batch, and of a request.
        batch_timeout_s: how long a batch that is not full waits for more.
        max_enqueued_batches: batches of a signature that wait for a thread; what needs one more is refused.
        num_batch_threads: batches that are worked on at a time.
        allowed_batch_sizes: a batch is filled up to the next of these sizes; none allows every size.

    Raises:
        ValueError: a number is out of its range, or the sizes do not rise to `max_batch_size`.
    """

    max_batch_size: int = 1000
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch_timeout_s < 0:
            raise ValueError(f"batch_timeout_micros is {self.batch_timeout_s * 1e6:.0f}; it must not be negative")
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or any(low >= high for low, high in itertools.pairwise(sizes))):
            raise ValueError(f"allowed_batch_sizes are {list(sizes)}; they must be positive and rise")
        if sizes and sizes[-1] != self.max_batch_size:
            raise ValueError(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.max_batch_size}"
            )

    @classmethod
    def chosen(cls, enabled: bool, path: Path | None) -> BatchingSettings | None:
        """What the two options of the server's command line say; None is no batching.

        Raises:
            StartError: there is a file, but batching is not on; or see `from_file`.
        """
        if path is not None and not enabled:
            raise StartError(
                f"--batching-parameters-file is {path}, but batching is not on: add --enable-batching, or leave the "
                "file out"
            )
        if not enabled:
            return None
        return cls() if path is None else cls.from_file(path)

    @classmethod
    def from_file(cls, path: Path) -> BatchingSettings:
        """The settings that a file holds, as TensorFlow Serving takes it with `--batching_parameters_file`.

        Raises:
            StartError: it cannot be read, or a setting in it cannot be used.
        """
        message = read_config(path, BatchingParameters)
        if message.pad_variable_length_inputs:
            raise StartError(
                f"{path}: pad_variable_length_inputs is on, but the padding of a picture would be painted as well. "
                "Leave it out: pictures of different sizes are never put into one batch here."
            )
        given = {
            name: getattr(message, name).value
            for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads")
            if message.HasField(name)
        }
        if message.HasField("batch_timeout_micros"):
            given["batch_timeout_s"] = message.batch_timeout_micros.value / 1e6
        try:
            return cls(allowed_batch_sizes=tuple(message.allowed_batch_sizes), **given)
        except ValueError as error:
            raise StartError(f"{path}: {error}") from error

    def padded(self, rows: int) -> int:
        """How many rows a batch of so many is run with.

        >>> settings = BatchingSettings(max_batch_size=8, allowed_batch_sizes=(1, 2, 8))
        >>> [settings.padded(rows) for rows in (1, 2, 3, 8)]
        [1, 2, 8, 8]
        """
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)
