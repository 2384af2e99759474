"""Settings of the embedded server."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from styleserve.contract import DEFAULT_PORT
from styleserve.sizing import MIB, server_mib

from .memory_limit import memory_limit
from .rpc.request_queue import long_limit

DRAIN_TIMEOUT_S = 25.0
"""Default of `grace_s`: calls take tens of seconds, and Kubernetes kills a container 30 s after SIGTERM by default."""

DAY_S = 86_400.0

MAX_MESSAGE_BYTES = 2**31 - 1
"""Largest message limit of gRPC."""


@dataclass(frozen=True)
class ServerSettings:
    """Settings of the embedded server.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        max_calls: Predict calls that run at a time; each holds its pictures and activations in memory. None is one for
            each core and at least two, one of them reserved for short calls.
        max_memory: Memory of the process, in bytes. Calls wait until theirs is free. None is the memory of the machine,
            or the limit of its cgroup or of `ulimit -v`.
        max_waiting: Predict calls that wait in the queue; a further one is refused. None accepts 4 long calls for each
            core in all, TensorFlow Serving's limit, and reserves places for short calls beside them.
        poll_s: Seconds between polls for new versions.
        max_num_load_retries: Retries of a version that does not load while the server runs; none at the start.
        load_retry_interval_micros: Microseconds from a failed load to its next retry, which comes with the next poll.
        grace_s: Seconds for running calls to end after the server was stopped. A supervisor must wait five more seconds
            before it kills the process.
        max_request_bytes: Largest request of any method; a larger one is refused before it is read. None is two full
            batches of the largest images of the model at the start, and at least 202 MB.
        ssl_config_file: TensorFlow Serving's SSLConfig as a text proto, for TLS; None for plain text.
        token_file: File of tokens, one on each line; every call but those of health needs one. None for no tokens.
        allow_plain_token: Accept tokens without encryption on addresses other than loopback.
        rest_api_port: Port of the metrics over HTTP, TensorFlow Serving's REST port; 0 for none. There are no REST
            predictions.
        rest_api_host: Address of the metrics, which need no token.
        monitoring_config_file: TensorFlow Serving's MonitoringConfig as a text proto, with the path of the metrics;
            None for the default path.

    Raises:
        ValueError: A number is out of its range.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    max_calls: int | None = None
    max_memory: int | None = None
    max_waiting: int | None = None
    poll_s: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    grace_s: float = DRAIN_TIMEOUT_S
    max_request_bytes: int | None = None
    ssl_config_file: Path | None = None
    token_file: Path | None = None
    allow_plain_token: bool = False
    rest_api_port: int = 0
    rest_api_host: str = "127.0.0.1"
    monitoring_config_file: Path | None = None

    def __post_init__(self) -> None:
        for name in ("port", "rest_api_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to 65535")
        if self.max_calls is not None and self.max_calls < 1:
            raise ValueError(f"max_calls is {self.max_calls}; it must be at least 1")
        if self.max_memory is not None and self.max_memory < 1:
            raise ValueError(f"max_memory is {self.max_memory}; it must be at least 1")
        if self.max_waiting is not None and self.max_waiting < 0:
            raise ValueError(f"max_waiting is {self.max_waiting}; it must not be negative")
        if not 0 < self.poll_s <= DAY_S:  # NaN is in no range
            raise ValueError(f"poll_s is {self.poll_s}; it must be above 0, and no more than a day ({DAY_S:g})")
        if self.max_num_load_retries < 0:
            raise ValueError(f"max_num_load_retries is {self.max_num_load_retries}; it must not be negative")
        if not 0 <= self.load_retry_interval_micros <= DAY_S * 1e6:
            raise ValueError(
                f"load_retry_interval_micros is {self.load_retry_interval_micros}; it must not be negative, nor more "
                f"than a day ({DAY_S * 1e6:.0f})"
            )
        if not 0 <= self.grace_s <= DAY_S:
            raise ValueError(f"grace_s is {self.grace_s}; it must not be negative, nor more than a day ({DAY_S:g})")
        if self.max_request_bytes is not None and not 1 <= self.max_request_bytes <= MAX_MESSAGE_BYTES:
            raise ValueError(f"max_request_bytes is {self.max_request_bytes}; it must be from 1 to {MAX_MESSAGE_BYTES}")

    @property
    def running_limit(self) -> int:
        """Most Predict calls that run at a time."""
        return max(2, os.cpu_count() or 1) if self.max_calls is None else self.max_calls

    @property
    def call_memory(self) -> float:
        """Memory of all Predict calls that run at a time, in bytes, and at least half of that of the process."""
        limit = memory_limit() if self.max_memory is None else self.max_memory
        if limit is None:
            return math.inf
        without_calls = MIB * server_mib(calls=self.running_limit, images=0, pixels=0, encoded_pixels=0)
        return max(limit - without_calls, limit / 2)

    @property
    def waiting_limit(self) -> int:
        """Most Predict calls that wait at a time."""
        if self.max_waiting is not None:
            return self.max_waiting
        long = max(0, 4 * (os.cpu_count() or 1) - long_limit(self.running_limit))
        return next(limit for limit in range(long, 2 * long + 2) if long_limit(limit) >= long)
