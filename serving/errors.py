"""Errors of the server, each with the status that TensorFlow Serving uses. `StartError` is for the command line alone.

ServingError
├── RequestError            INVALID_ARGUMENT     the request itself is wrong
├── NotFoundError           NOT_FOUND            no such model or version
├── PreconditionError       FAILED_PRECONDITION  the request does not fit the model, or the server's state
├── OutOfRangeError         OUT_OF_RANGE         the signature has no output
├── OverloadedError         RESOURCE_EXHAUSTED   too many calls at once
├── UnavailableError        UNAVAILABLE          the server is stopping
├── UnauthenticatedError    UNAUTHENTICATED      no accepted token
├── UnimplementedError      UNIMPLEMENTED        a method that this server does not have
├── DeadlineError           DEADLINE_EXCEEDED    the deadline passed
├── CancelledError          CANCELLED            the client cancelled
├── ModelsUnavailableError  UNKNOWN              a model of a new configuration did not load
├── GraphError              (of the op)          an op of the model failed
└── LoadError               FAILED_PRECONDITION  a version cannot be loaded
StartError                                       the server cannot start
"""

from __future__ import annotations

import re

import grpc

MAX_MESSAGE_CHARS = 1024
"""Longest status text, as in TensorFlow Serving."""

MAX_MESSAGE_BYTES = 4096
"""Longest status text in its encoding. gRPC sends it in a header, with three bytes for each byte that is not ASCII, and
clients report RESOURCE_EXHAUSTED for headers of over 8 KiB in all."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_ROOT_ERRORS = re.compile(
    r"^\s*\(\d+\) ([A-Z_]+): (.*?)(?=\n\s*\(\d+\) |\n\d+ successful|\Z)", re.DOTALL | re.MULTILINE
)
_PYTHON_PREFIX = re.compile(r"^Graph execution error:\s*(?:Detected at node.*?\nNode: [^\n]*\n)?", re.DOTALL)
_FUNCTION_MARKS = re.compile(r"^(?:\{\{function_node [^}]*\}\}\s*)+")


class ServingError(Exception):
    """Error status of a call: `code` and `message` go to the client."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL

    @property
    def message(self) -> str:
        """Text for the client, at most `MAX_MESSAGE_CHARS` and `MAX_MESSAGE_BYTES` long."""
        return _cut(str(self)[:MAX_MESSAGE_CHARS])

    def copy(self) -> ServingError:
        """Copy for another call: an error that was raised keeps its traceback, with the objects in its frames."""
        fresh = type(self).__new__(type(self), *self.args)
        fresh.__dict__.update(self.__dict__)
        return fresh


class RequestError(ServingError):
    """The request is invalid."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(ServingError):
    """There is no such model or version."""

    code = grpc.StatusCode.NOT_FOUND


class PreconditionError(ServingError):
    """The request fits neither the model nor the state of the server."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class OutOfRangeError(ServingError):
    """The signature has no output to fetch, such as a SavedModel's initialiser."""

    code = grpc.StatusCode.OUT_OF_RANGE


class OverloadedError(ServingError):
    """Too many calls at once; a retry may succeed."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class MemoryLimitError(ServingError):
    """The call needs more memory than the server has; a retry does not succeed."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(ServingError):
    """The server is stopping; another server, or this one later, may accept the call."""

    code = grpc.StatusCode.UNAVAILABLE


class UnauthenticatedError(ServingError):
    """The call has no accepted token."""

    code = grpc.StatusCode.UNAUTHENTICATED


class UnimplementedError(ServingError):
    """A method of the protocol that this server lacks."""

    code = grpc.StatusCode.UNIMPLEMENTED


class DeadlineError(ServingError):
    """The client's deadline passed before the result was ready."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class CancelledError(ServingError):
    """The client cancelled the call."""

    code = grpc.StatusCode.CANCELLED


class ModelsUnavailableError(ServingError):
    """A model of a new configuration did not become available."""

    code = grpc.StatusCode.UNKNOWN


class GraphError(ServingError):
    """An op of the model failed.

    Args:
        code: TensorFlow's error code, the same numbers as gRPC's.
        message: TensorFlow's text, with its notes on where the op stands.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(graph_message(message))
        self.code = _CODES.get(code, grpc.StatusCode.UNKNOWN)


class LoadError(ServingError):
    """A version of a model cannot be loaded."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class StartError(Exception):
    """The server cannot start; the message has the next step."""


def _cut(text: str) -> str:
    """Start of a text that has `MAX_MESSAGE_BYTES` when it is percent-encoded."""
    size = 0
    for at, char in enumerate(text):
        size += 1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode(errors="replace"))
        if size > MAX_MESSAGE_BYTES:
            return text[:at]
    return text


def graph_message(text: str) -> str:
    r"""Message of an op, without the marks of functions and nodes around it.

    >>> graph_message("{{function_node f}} assertion failed: [steps] [-1]\n\t [[{{node Assert}}]]")
    'assertion failed: [steps] [-1]'
    >>> graph_message("2 root error(s) found.\n  (0) CANCELLED: a\n  (1) INVALID_ARGUMENT: Input is empty.\n\t [[b]]")
    'Input is empty.'
    """
    text = _PYTHON_PREFIX.sub("", text.strip())
    if "root error(s) found." in text.split("\n", maxsplit=1)[0]:
        roots = _ROOT_ERRORS.findall(text)
        # Cancellations are consequences, at any place in the list.
        text = next((message for code, message in roots if code != "CANCELLED"), text)
    return _FUNCTION_MARKS.sub("", text).split("\n\t [[", maxsplit=1)[0].strip()
