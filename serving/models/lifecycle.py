"""Lifecycle of a version, from START to END, with retries of its load.

As with TensorFlow Serving a version that waits for its next retry is LOADING. Here its status has the error as well,
which TensorFlow Serving shows only at the END.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2

from ..errors import LoadError
from .servable import Servable

START = get_model_status_pb2.ModelVersionStatus.START
LOADING = get_model_status_pb2.ModelVersionStatus.LOADING
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
UNLOADING = get_model_status_pb2.ModelVersionStatus.UNLOADING
END = get_model_status_pb2.ModelVersionStatus.END


@dataclass(frozen=True)
class LoadRetries:
    """Retries of a version that does not load.

    Attributes:
        limit: Retries after the first attempt; with 0 each failure is final.
        interval_s: Seconds from a failure to the next attempt.
    """

    limit: int = 5
    interval_s: float = 60.0


@dataclass(eq=False)
class Version:
    """A version of a model, and its state.

    Attributes:
        model: Name of the model.
        number: Number of the version.
        path: Directory of the version.
        state: State in the protocol.
        error: Error of the last attempt to load it.
        failures: Failed attempts since the last success.
        retry_at: Time of the next attempt, on the manager's clock.
        servable: Servable while the version is loaded.
        calls: Number of calls that use the servable.
    """

    model: str
    number: int
    path: Path
    state: int = START
    error: LoadError | None = None
    failures: int = 0
    retry_at: float = 0.0
    servable: Servable | None = None
    calls: int = 0

    def __str__(self) -> str:
        """Name in the log."""
        return f"model {self.model}, version {self.number}"

    def load_failed(self, error: LoadError, now: float, retries: LoadRetries) -> None:
        """Records a failed attempt: the version is LOADING until the next one, or has ENDed."""
        self.error = error
        self.failures += 1
        self.retry_at = now + retries.interval_s
        self.state = LOADING if self.failures <= retries.limit else END

    def is_due(self, now: float) -> bool:
        """Whether the version is to be loaded again after a failure."""
        return self.error is not None and now >= self.retry_at and (self.state == LOADING or not self.failures)

    def end_retries(self) -> None:
        """Ends a version that is no longer aspired. If it is aspired again, its retries start anew."""
        self.state, self.failures, self.retry_at = END, 0, 0.0

    def status(self) -> get_model_status_pb2.ModelVersionStatus:
        """Status in the protocol."""
        status = get_model_status_pb2.ModelVersionStatus(version=self.number, state=self.state)
        if self.error is not None:
            status.status.error_code = self.error.code.value[0]
            status.status.error_message = self.error.message
        return status
