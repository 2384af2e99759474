"""What is known of a call when it is over: what the log and the metrics tell of it, and under which id."""

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
    """A call, from when its request was there to its answer.

    Attributes:
        method: that was called, without its service.
        request_id: the client's, cleaned, or one made here.
        peer: address of the client.
        model: name the client asked for; cleaned, and not known to be one of ours.
        signature: the same of the signature.
        version: that was asked; None where none was found.
        known_model: the model's name where it is one of ours, which bounds the values that metrics may have.
        status: of the answer.
        waited_s: from when it was ready to run to its turn.
        ran_s: in the model; None where it did not run.
        steps: of the optimiser, summed over the examples.
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
        """Seconds since it came."""
        return time.monotonic() - self._began

    def asks_for(self, model: str, signature: str = "") -> None:
        """Notes what the client asked for, in its own words."""
        self.model, self.signature = clean(model, MAX_NAME_CHARS), clean(signature, MAX_NAME_CHARS)


def request_id_of(context: grpc.ServicerContext) -> str:
    """The id that the client sent, without what could spoil a log, or a new one."""
    for key, value in context.invocation_metadata():
        if key == REQUEST_ID_KEY:
            text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
            cleaned = _NOT_IN_AN_ID.sub("", text[: 2 * MAX_ID_CHARS])[:MAX_ID_CHARS]
            if cleaned:
                return cleaned
    return uuid.uuid4().hex


def clean(text: str, most_chars: int) -> str:
    r"""A client's text without what could spoil a log, and not too long.

    >>> clean("style\ntransfer\x1b[2J", 20), clean("x" * 100, 5)
    ('style?transfer?[2J', 'xxxxx…')
    """
    short = text[:most_chars] + ("…" if len(text) > most_chars else "")
    return "".join(char if char.isprintable() else "?" for char in short)
