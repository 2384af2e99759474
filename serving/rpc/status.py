"""Exceptions to gRPC statuses, the only place that ends a call with an error, and reports of finished calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final

import grpc

from ..errors import ServingError
from ..observability.call_record import REQUEST_ID_KEY, CallRecord, request_id_of

logger = logging.getLogger(__name__)

Observer = Callable[[CallRecord], None]


class StatusReporter:
    """Status of every call, for its client and for observers.

    Args:
        observers: Functions that get the record of each finished call.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers: Final = tuple(observers)

    @contextmanager
    def report(self, context: grpc.ServicerContext, method: str) -> Generator[CallRecord]:
        """Context of a call: ends it with the status of a `ServingError`; with INTERNAL and a log entry otherwise.

        Every response carries the id of its request.
        """
        record = CallRecord(method, request_id_of(context), context.peer())
        context.set_trailing_metadata(((REQUEST_ID_KEY, record.request_id),))
        try:
            yield record
        except ServingError as error:
            record.status = error.code
            context.abort(error.code, error.message)
        except Exception as error:
            record.status = grpc.StatusCode.INTERNAL
            logger.exception("unexpected error in call %s", record.request_id)
            context.abort(
                grpc.StatusCode.INTERNAL, f"The server failed unexpectedly ({type(error).__name__}); see its log."
            )
        finally:
            self._notify(record)

    def _notify(self, record: CallRecord) -> None:
        try:
            for observe in self._observers:
                observe(record)
        except Exception:  # an observer must not change the response
            logger.exception("log entry or metrics of call %s are lost", record.request_id)
