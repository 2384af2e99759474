"""Requests to a server: deadline, request id, retries."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random
from typing import Final, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from ..errors import BadReply, ServiceError, SettingsError
from ..inputs.controls import checked_timeout_s
from ..wire import messages
from .actions import Call, Operation, Sleep, run_blocking
from .forking import PerProcess
from .retry import RetryBudget, RetryPolicy, may_be_retried
from .settings import ConnectionSettings
from .status import FAILURES, service_error
from .tls_probe import may_be_tls, tls_diagnosis
from .tracing import RequestSpan, request_span

_T = TypeVar("_T")
_Reply = TypeVar("_Reply", bound=Message)

REQUEST_ID_KEY: Final = "x-request-id"
_PROBE_S: Final = 1.0
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True)
class Method(Generic[_Reply]):
    """A method of the server: its path and the type of its reply."""

    path: str
    reply: type[_Reply]


PREDICT: Final = Method(messages.PREDICT, messages.PredictResponse)
GET_MODEL_METADATA: Final = Method(messages.GET_MODEL_METADATA, messages.GetModelMetadataResponse)
GET_MODEL_STATUS: Final = Method(messages.GET_MODEL_STATUS, messages.GetModelStatusResponse)


def checked_request_id(request_id: str | None) -> str:
    """Id of a request; a new random one for None.

    Raises:
        SettingsError: It cannot be sent.
    """
    if request_id is None:
        return uuid.uuid4().hex
    if not _REQUEST_ID.fullmatch(request_id):
        raise SettingsError(f"the request id is {request_id!r}; it must be up to 128 visible ASCII characters")
    return request_id


class RpcClient:
    """Client for the methods of one server; safe to use from several threads.

    Args:
        settings: Settings of the connection.
        random: Source of the pauses between tries.
        clock: Seconds, from any moment on.
    """

    def __init__(
        self, settings: ConnectionSettings, *, random: Random | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings: Final = settings
        # A forked child draws its own pauses: with copies of one generator all workers would retry at the same time.
        self._random: Final = PerProcess(Random if random is None else lambda: random)
        self._clock: Final = clock
        self._budget: Final = RetryBudget(settings.retry)

    def call(
        self,
        method: Method[_Reply],
        request: Message,
        read: Callable[[_Reply], _T],
        timeout_s: float,
        *,
        request_id: str | None = None,
        retry: RetryPolicy | None = None,
    ) -> Operation[_T]:
        """Result of `read` for the reply.

        Args:
            method: Method to call.
            request: Request message.
            read: Reads the reply; raises a `ServiceError` for one that does not fit the contract.
            timeout_s: Deadline of all tries together.
            request_id: Sent with every try, and part of errors; a random one if None.
            retry: Retry policy; that of the settings if None.

        Raises:
            ServiceError: The error of the last try.
        """
        policy = self.settings.retry if retry is None else retry
        deadline = self._clock() + checked_timeout_s(timeout_s)
        request_id = checked_request_id(request_id)
        body = request.SerializeToString()
        with request_span(method.path, self.settings, request_id) as span:
            metadata = (*self.settings.call_metadata(), (REQUEST_ID_KEY, request_id), *span.propagated())
            for tries in count(1):
                span.note(tries=tries)
                try:
                    data: bytes = yield Call(method.path, body, max(0.0, deadline - self._clock()), metadata)
                    self._budget.succeeded()
                    return (yield from run_blocking(lambda data=data: read(_parsed(method, data, span))))
                except FAILURES as error:
                    failure = service_error(error, self.settings.server, timeout_s)
                    pause_s = self._pause_s(failure, policy, tries, deadline)
                    if pause_s is None:
                        left_s = deadline - self._clock()
                        if left_s > 0 and may_be_tls(failure):
                            probe = partial(tls_diagnosis, failure, self.settings, min(left_s, _PROBE_S))
                            failure = yield from run_blocking(probe)
                        _mark(failure, request_id, tries)
                        raise failure from error
                except ServiceError as error:  # raised by `read`
                    _mark(error, request_id, tries)
                    raise
                yield Sleep(pause_s)
        raise AssertionError("unreachable: count() has no end")

    def _pause_s(self, failure: ServiceError, policy: RetryPolicy, tries: int, deadline: float) -> float | None:
        """Pause before the next try, in seconds; None for no further try."""
        if not may_be_retried(failure):
            return None
        self._budget.failed()
        pause_s = policy.pause_s(tries, self._random.get())
        allowed = tries < policy.tries and self._budget.allows_retry and self._clock() + pause_s < deadline
        return pause_s if allowed else None


def _mark(failure: ServiceError, request_id: str, tries: int) -> None:
    failure.request_id, failure.tries = request_id, tries


def _parsed(method: Method[_Reply], data: bytes, span: RequestSpan) -> _Reply:
    try:
        reply = method.reply.FromString(data)
    except DecodeError as error:
        raise BadReply("the server's reply is damaged", hint="Is that TensorFlow Serving?") from error
    if isinstance(reply, messages.PredictResponse | messages.GetModelMetadataResponse):
        span.note(model_version=reply.model_spec.version.value)
    return reply
