"""A version's way from START to END, and whether it is tried again when it does not load.

As with TensorFlow Serving a version that waits for its next try is LOADING. Here its status has the reason, too, which
that server shows only at the END.
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
    """How often a version that does not load is tried again.

    Attributes:
        most: tries after the first one; 0 makes each failure final.
        interval_s: seconds from a failure to the next try.
    """

    most: int = 5
    interval_s: float = 60.0


@dataclass(eq=False)
class Version:
    """A version of a model, as far as it has come.

    Attributes:
        model: its name.
        number: of the version.
        path: where it lies.
        state: of the protocol.
        error: why its last try failed.
        failures: tries that failed, one after the other.
        again_at: when the next try is due, on the manager's clock.
        servable: while it is loaded.
        calls: how many are inside.
    """

    model: str
    number: int
    path: Path
    state: int = START
    error: LoadError | None = None
    failures: int = 0
    again_at: float = 0.0
    servable: Servable | None = None
    calls: int = 0

    def __str__(self) -> str:
        """As it is called in the log."""
        return f"model {self.model}, version {self.number}"

    def failed(self, error: LoadError, now: float, retries: LoadRetries) -> None:
        """Notes that a try failed: it is LOADING until the next one, or has ENDed."""
        self.error = error
        self.failures += 1
        self.again_at = now + retries.interval_s
        self.state = LOADING if self.failures <= retries.most else END

    def is_due(self, now: float) -> bool:
        """Whether its load failed, and is to be tried again by now."""
        return self.error is not None and now >= self.again_at and (self.state == LOADING or not self.failures)

    def given_up(self) -> None:
        """Notes that nobody wants it any more. If that changes, its tries are counted anew."""
        self.state, self.failures, self.again_at = END, 0, 0.0

    def status(self) -> get_model_status_pb2.ModelVersionStatus:
        """As the protocol has it."""
        status = get_model_status_pb2.ModelVersionStatus(version=self.number, state=self.state)
        if self.error is not None:
            status.status.error_code = self.error.code.value[0]
            status.status.error_message = self.error.message
        return status
