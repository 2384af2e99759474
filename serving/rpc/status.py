"""Where an exception becomes a gRPC status: nothing else in this room talks to the client about failure."""

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


class Answering:
    """Surrounds the answer to every call.

    Args:
        observers: are told of each call when it is over.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers: Final = tuple(observers)

    @contextmanager
    def answering(self, context: grpc.ServicerContext, method: str) -> Generator[CallRecord]:
        """Ends the call with the status of a `ServingError`; with INTERNAL, and a line in the log, for anything else.

        The request's id goes back with the answer, whatever that is.
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
            logger.exception("call %s failed in a way that nobody foresaw", record.request_id)
            context.abort(
                grpc.StatusCode.INTERNAL, f"The server failed unexpectedly ({type(error).__name__}); see its log."
            )
        finally:
            self._tell(record)

    def _tell(self, record: CallRecord) -> None:
        try:
            for observe in self._observers:
                observe(record)
        except Exception:  # an answer must not be lost for it
            logger.exception("what was to be noted of call %s is lost", record.request_id)
