"""Queries about a model: its status, its metadata, and the facts that a run depends on."""

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
from ..transport.actions import Operation, Sleep, run_blocking
from ..transport.call import GET_MODEL_METADATA, GET_MODEL_STATUS, PREDICT, RpcClient, checked_request_id
from ..transport.retry import RetryPolicy
from ..transport.settings import ADMIN_TIMEOUT_S, default_timeout_s
from ..wire import replies
from ..wire.messages import GetModelMetadataRequest, GetModelStatusRequest
from ..wire.model_facts import ModelFacts, facts_of_model
from ..wire.requests import Target, limits_request
from ..wire.results import Metadata, VersionStatus

_T = TypeVar("_T")

_POLL_S: Final = 0.25
_ONCE: Final = RetryPolicy(tries=1)
_ROUND_TRIPS: Final = 3  # the first one also connects


class ModelQueries:
    """Queries about one model on one server. `StyleClient` documents the public ones.

    Args:
        rpc: Client for the methods of the server.
        target: The model.
    """

    def __init__(self, rpc: RpcClient, target: Target) -> None:
        self.rpc: Final = rpc
        self.target: Final = target
        self._facts: ModelFacts | None = None

    def status(
        self, timeout_s: float, request_id: str | None, retry: RetryPolicy | None = None
    ) -> Operation[tuple[VersionStatus, ...]]:
        """Versions of the model, newest first."""
        request = GetModelStatusRequest(model_spec=self.target.spec())
        return (
            yield from self.rpc.call(
                GET_MODEL_STATUS, request, replies.versions, timeout_s, request_id=request_id, retry=retry
            )
        )

    def metadata(self, timeout_s: float, request_id: str | None) -> Operation[Metadata]:
        """Signatures and limits of the model; without the limits where the server is too busy for them."""
        request_id = checked_request_id(request_id)
        deadline = time.monotonic() + checked_timeout_s(timeout_s)
        found = yield from self._signatures(timeout_s, request_id)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return found
        try:
            return (yield from self._with_limits(found, left_s, request_id))
        except (Overloaded, DeadlineExceeded):  # the limits are a Predict call, which waits in the queue of the server
            return found

    def wait_until_ready(self, timeout_s: float, request_id: str | None) -> Operation[VersionStatus]:
        """Newest version that is available, as soon as there is one."""
        request_id = checked_request_id(request_id)
        deadline = time.monotonic() + checked_timeout_s(timeout_s)
        seen = "nothing"
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                found = yield from self.status(min(left_s, ADMIN_TIMEOUT_S), request_id, _ONCE)
            except (ServerUnavailable, ModelNotFound, Overloaded, DeadlineExceeded) as error:
                seen = error.message
            else:
                for status in found:
                    if status.available:
                        return status
                seen = ", ".join(map(str, found)) or "no version"
            yield Sleep(max(0.0, min(_POLL_S, deadline - time.monotonic())))
        raise ModelNotReady(
            f"{self.target.model_name!r} at {self.rpc.settings.server} was not available within {timeout_s:g} s; "
            f"last seen: {seen}",
            hint="Is the server running, with that model? See its log.",
            request_id=request_id,
        )

    def measure_round_trip_s(self, request_id: str, clock: Callable[[], float]) -> Operation[float]:
        """Shortest of a few round trips to the server, in seconds; infinite where it does not answer.

        Args:
            request_id: Sent with each call.
            clock: Seconds, from any moment on.
        """
        shortest_s = math.inf
        for _ in range(_ROUND_TRIPS):
            started = clock()
            try:
                yield from self.status(ADMIN_TIMEOUT_S, request_id, _ONCE)
            except ServiceError:  # the call that follows reports the error
                break
            shortest_s = min(shortest_s, clock() - started)
        return shortest_s

    def load_within_limit(
        self, load: Callable[[int, bool], _T], timeout_s: float | None, request_id: str
    ) -> Operation[_T]:
        """Result of `load`, called with the most pixels that a picture may have.

        The model is only asked for its limit if a picture has more pixels than the default one.

        Args:
            load: Reads pictures. Its arguments are the most pixels of one, and whether it reduces a larger one or
                raises `ImageError`.
            timeout_s: Deadline of the query, with all tries; `default_timeout_s` of no work if None.
            request_id: Sent with the query.

        Raises:
            ImageError: A picture cannot be used.
            ServiceError: The query failed; one of its subclasses says why.
        """
        try:
            return (yield from run_blocking(lambda: load(MAX_PIXELS, False)))
        except ImageError as error:
            if not is_over_limit(error):
                raise
        facts = yield from self.facts(timeout_s, request_id)
        return (yield from run_blocking(lambda: load(facts.max_encoded_pixels, True)))

    def facts(self, timeout_s: float | None, request_id: str) -> Operation[ModelFacts]:
        """Facts about the newest version of the model, or the named one; asked for once for each version.

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
        found = yield from self._with_limits(found, timeout_s, request_id)
        facts = self._facts = facts_of_model(found)
        return facts

    def note_version(self, version: int) -> None:
        """Drops the facts of another version than the one that answered."""
        if self._facts is not None and self._facts.version != version:
            self._facts = None

    def _signatures(self, timeout_s: float, request_id: str) -> Operation[Metadata]:
        request = GetModelMetadataRequest(model_spec=self.target.spec(), metadata_field=[replies.SIGNATURE_DEF])
        return (
            yield from self.rpc.call(GET_MODEL_METADATA, request, replies.metadata, timeout_s, request_id=request_id)
        )

    def _with_limits(self, found: Metadata, timeout_s: float, request_id: str) -> Operation[Metadata]:
        """The metadata with the limits of that version, where it has the signature."""
        if contract.LIMITS not in [signature.name for signature in found.signatures]:
            return found
        request = limits_request(self.target.pinned(found.model_version))
        declared = yield from self.rpc.call(PREDICT, request, replies.limits, timeout_s, request_id=request_id)
        return replace(found, limits=declared.limits, fingerprint=declared.fingerprint)
