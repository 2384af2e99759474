"""Failures after which a job is repeated."""

from __future__ import annotations

from ..errors import (
    BadReply,
    DeadlineExceeded,
    NonFiniteResult,
    Overloaded,
    ServerUnavailable,
    ServiceError,
    StateRefused,
    StyleServeError,
)


def is_rejection(error: StyleServeError) -> bool:
    """Whether the server did not do the job and a server may accept it later: it is busy, absent, or shutting down."""
    cancelled = isinstance(error, ServiceError) and error.status == "CANCELLED"  # by a server that shuts down
    return cancelled or isinstance(error, (Overloaded, ServerUnavailable))


def is_transient(error: StyleServeError) -> bool:
    """Whether the same request may succeed next time."""
    damaged = isinstance(error, BadReply) and not isinstance(error, NonFiniteResult)
    return damaged or isinstance(error, (DeadlineExceeded, StateRefused)) or type(error) is ServiceError
