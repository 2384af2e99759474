"""Where an exception becomes a gRPC status: nothing else in this room talks to the client about failure."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

import grpc

from .errors import ServingError

logger = logging.getLogger(__name__)


@contextmanager
def answering(context: grpc.ServicerContext) -> Generator[None]:
    """Ends the call with the status of a `ServingError`; with INTERNAL, and a line in the log, for anything else."""
    try:
        yield
    except ServingError as error:
        context.abort(error.code, error.message)
    except Exception as error:
        logger.exception("a call failed in a way that nobody foresaw")
        context.abort(
            grpc.StatusCode.INTERNAL, f"The server failed unexpectedly ({type(error).__name__}); see its log."
        )
