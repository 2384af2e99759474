"""Record of a call, for the log and the metrics, and its request id."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Final

import grpc

REQUEST_ID_KEY: Final = "x-request-id"
MAX_ID_CHARS: Final = 128
MAX_NAME_CHARS: Final = 128

_NOT_IN_AN_ID: Final = re.compile(r"[^!-~]")


@dataclass
class CallRecord:
    """Record of a call, from the arrival of its request to its response.

    Attributes:
        method: Name of the method, without its service.
        request_id: Id that the client sent, cleaned, or a new one.
        peer: Address of the client.
        model: Name of the model in the request, cleaned; there may be no such model.
        signature: Name of the signature in the request, likewise.
        version: Version that received the call; None where there is none.
        known_model: Name of the model if it is served, else None; bounds the label values of metrics.
        status: Status of the response.
        waited_s: Seconds in the queue.
        ran_s: Seconds in the model; None if the call did not run.
        steps: Steps of the optimiser, summed over the examples.
    """

    method: str
    request_id: str
    peer: str = ""
    model: str = ""
    signature: str = ""
    version: int | None = None
    known_model: str | None = None
    status: grpc.StatusCode = grpc.StatusCode.OK
    waited_s: float = 0.0
    ran_s: float | None = None
    steps: int = 0
    _began: float = field(default_factory=time.monotonic, repr=False)

    def total_s(self) -> float:
        """Seconds since the request arrived."""
        return time.monotonic() - self._began

    def set_request(self, model: str, signature: str = "") -> None:
        """Sets the names in the request, cleaned."""
        self.model, self.signature = clean(model, MAX_NAME_CHARS), clean(signature, MAX_NAME_CHARS)


def request_id_of(context: grpc.ServicerContext) -> str:
    """Request id that the client sent, without control characters, or a new one."""
    for key, value in context.invocation_metadata():
        if key == REQUEST_ID_KEY:
            text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
            cleaned = _NOT_IN_AN_ID.sub("", text[: 2 * MAX_ID_CHARS])[:MAX_ID_CHARS]
            if cleaned:
                return cleaned
    return uuid.uuid4().hex


def clean(text: str, max_chars: int) -> str:
    r"""A client's text without control characters, cut to a length.

    >>> clean("style\ntransfer\x1b[2J", 20), clean("x" * 100, 5)
    ('style?transfer?[2J', 'xxxxx…')
    """
    short = text[:max_chars] + ("…" if len(text) > max_chars else "")
    return "".join(char if char.isprintable() else "?" for char in short)
