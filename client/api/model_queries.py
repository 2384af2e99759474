"""Questions about a model, written once for clients that block and for those that await."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from styleserve import contract

from ..errors import (
    DeadlineExceeded,
    ImageError,
    ModelNotFound,
    ModelNotReady,
    Overloaded,
    ServerUnavailable,
    ServiceError,
)
from ..images.errors import is_over_limit
from ..images.picture import MAX_PIXELS
from ..inputs.controls import checked_timeout_s
from ..transport.call import GET_MODEL_METADATA, GET_MODEL_STATUS, PREDICT, Caller, checked_request_id
from ..transport.defaults import ADMIN_TIMEOUT_S, default_timeout_s
from ..transport.effects import Flow, Sleep, work
from ..transport.retry import RetryPolicy
from ..wire import replies
from ..wire.messages import GetModelMetadataRequest, GetModelStatusRequest
from ..wire.model_facts import ModelFacts, facts_of_model
from ..wire.requests import Target, limits_request
from ..wire.results import Metadata, VersionStatus

_T = TypeVar("_T")

_POLL_S: Final = 0.25
_ONCE: Final = RetryPolicy(tries=1)
_ROUND_TRIPS: Final = 3  # the first one also connects


class Questions:
    """The questions about one model on one server, as flows.

    Args:
        caller: makes the requests.
        target: the model.
    """

    def __init__(self, caller: Caller, target: Target) -> None:
        self.caller: Final = caller
        self.target: Final = target
        self._facts: ModelFacts | None = None

    def status(
        self, *, timeout_s: float = ADMIN_TIMEOUT_S, request_id: str | None = None
    ) -> Flow[tuple[VersionStatus, ...]]:
        """The versions of the model that the server has or had, newest first.

        Args:
            timeout_s: for all tries together.
            request_id: goes with each try, and into errors; a random one if None.

        Raises:
            ModelNotFound: it never had the model.
            ServiceError: one of its subclasses says what went wrong.
        """
        return (yield from self._status(timeout_s, request_id))

    def metadata(self, *, timeout_s: float = ADMIN_TIMEOUT_S, request_id: str | None = None) -> Flow[Metadata]:
        """The signatures of the model, with the defaults of their inputs, and its limits.

        Args:
            timeout_s: for all tries together.
            request_id: goes with each try, and into errors; a random one if None.

        Raises:
            ServiceError: one of its subclasses says what went wrong.
        """
        request_id = checked_request_id(request_id)
        deadline = time.monotonic() + checked_timeout_s(timeout_s)
        found = yield from self._signatures(timeout_s, request_id)
        left_s = deadline - time.monotonic()
        if left_s <= 0 or contract.LIMITS not in [signature.name for signature in found.signatures]:
            return found
        request = limits_request(self.target.pinned(found.model_version))
        try:
            limits = yield from self.caller.call(PREDICT, request, replies.limits, left_s, request_id=request_id)
        except (Overloaded, DeadlineExceeded):  # a busy server answers the one, and has no room for the other
            return found
        return replace(found, limits=limits)

    def wait_until_ready(self, timeout_s: float = 120.0, *, request_id: str | None = None) -> Flow[VersionStatus]:
        """The newest version that is available, as soon as there is one.

        Args:
            timeout_s: how long to wait.
            request_id: goes with each question; a random one if None.

        Raises:
            ModelNotReady: there was none in time; the message says what was seen last.
            ServiceError: what answers can never become ready.
        """
        request_id = checked_request_id(request_id)
        deadline = time.monotonic() + checked_timeout_s(timeout_s)
        seen = "nothing"
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                found = yield from self._status(min(left_s, ADMIN_TIMEOUT_S), request_id, _ONCE)
            except (ServerUnavailable, ModelNotFound, Overloaded, DeadlineExceeded) as error:
                seen = error.message
            else:
                for status in found:
                    if status.available:
                        return status
                seen = ", ".join(map(str, found)) or "no version"
            yield Sleep(max(0.0, min(_POLL_S, deadline - time.monotonic())))
        raise ModelNotReady(
            f"{self.target.model_name!r} at {self.caller.settings.server} was not available within {timeout_s:g} s; "
            f"last seen: {seen}",
            hint="Is the server running, with that model? See its log.",
            request_id=request_id,
        )

    def round_trip_s(self, request_id: str, clock: Callable[[], float]) -> Flow[float]:
        """Shortest of a few round trips to the server, in seconds; infinite where it does not answer.

        Args:
            request_id: Sent with each call.
            clock: Seconds, from any moment on.
        """
        shortest_s = math.inf
        for _ in range(_ROUND_TRIPS):
            started = clock()
            try:
                yield from self._status(ADMIN_TIMEOUT_S, request_id, _ONCE)
            except ServiceError:  # the call that follows reports what is wrong
                break
            shortest_s = min(shortest_s, clock() - started)
        return shortest_s

    def within_limit(self, load: Callable[[int], _T], timeout_s: float | None, request_id: str) -> Flow[_T]:
        """The result of `load`, called with the most pixels that a picture may have.

        The model is asked for its limit only if a picture has more than the default one, before its pixels are decoded.

        Args:
            load: reads pictures; raises `ImageError` for one with more pixels than its argument.
            timeout_s: for the question, with all tries; `default_timeout_s` of no work if None.
            request_id: goes with the question.

        Raises:
            ImageError: a picture cannot be used.
            ServiceError: the question failed; one of its subclasses says why.
        """
        try:
            return (yield from work(lambda: load(MAX_PIXELS)))
        except ImageError as error:
            if not is_over_limit(error):
                raise
        facts = yield from self.facts(timeout_s, request_id)
        return (yield from work(lambda: load(facts.max_encoded_pixels)))

    def facts(self, timeout_s: float | None, request_id: str) -> Flow[ModelFacts]:
        """Facts about the newest version of the model, or the one that is named; asked once for each version.

        Args:
            timeout_s: Deadline of the two requests, with all tries; `default_timeout_s` of no work if None.
            request_id: Sent with the requests.

        Raises:
            ServiceError: One of its subclasses says what went wrong.
        """
        if self._facts is not None:
            return self._facts
        timeout_s = default_timeout_s(0, 0) if timeout_s is None else timeout_s
        found = yield from self._signatures(min(timeout_s, ADMIN_TIMEOUT_S), request_id)
        if contract.LIMITS in [signature.name for signature in found.signatures]:
            request = limits_request(self.target.pinned(found.model_version))
            limits = yield from self.caller.call(PREDICT, request, replies.limits, timeout_s, request_id=request_id)
            found = replace(found, limits=limits)
        facts = self._facts = facts_of_model(found)
        return facts

    def saw_version(self, version: int) -> None:
        """Drops the facts of another version than the one that answered."""
        if self._facts is not None and self._facts.version != version:
            self._facts = None

    def _signatures(self, timeout_s: float, request_id: str) -> Flow[Metadata]:
        """The metadata without the limits, which are another call and wait for their turn on a busy server."""
        request = GetModelMetadataRequest(model_spec=self.target.spec(), metadata_field=[replies.SIGNATURE_DEF])
        return (
            yield from self.caller.call(GET_MODEL_METADATA, request, replies.metadata, timeout_s, request_id=request_id)
        )

    def _status(
        self, timeout_s: float, request_id: str | None, retry: RetryPolicy | None = None
    ) -> Flow[tuple[VersionStatus, ...]]:
        request = GetModelStatusRequest(model_spec=self.target.spec())
        return (
            yield from self.caller.call(
                GET_MODEL_STATUS, request, replies.versions, timeout_s, request_id=request_id, retry=retry
            )
        )
