"""Errors of the client, as a tree.

    StyleServeError                  1
    ├── ControlError                 3   a control is out of its range, or does not suit the others; also a ValueError
    ├── ImageError                   4   a picture cannot be used
    ├── OutputError                  5   a result cannot be written
    ├── SettingsError                6   a setting of the connection cannot be used; also a ValueError
    ├── SavedRunError                7   a saved run cannot be resumed
    ├── RecipeError                 24   a run cannot be repeated from its result
    ├── JobListError                 8   a list of jobs cannot be used
    ├── JobsFailed                   9   some jobs of a batch failed; the others are done
    ├── ClientClosed                22   the client was closed, before the call or during it
    └── ServiceError                10   the server failed; each usual cause has a class below
        ├── ServerUnavailable       11   no server answers at the address
        ├── DeadlineExceeded        12   no answer in time
        ├── Overloaded              13   the server is overloaded
        ├── ModelNotFound           14   the server has no such model, version or signature
        ├── ModelNotReady           15   no version of the model is available
        ├── ContractMismatch        23   the model speaks another version of the wire contract
        ├── RequestRefused          16   the server does not accept the request
        │   └── StateRefused        21   the model does not accept the state of the run
        ├── TooLarge                17   over the limit of a message or of the server's memory
        ├── WrongServer             18   the server is not TensorFlow Serving
        └── BadReply                19   a reply is damaged, or does not fit the contract
            └── NonFiniteResult     20   a reply has NaN or infinity

The numbers are the exit codes of the command line, which adds 0 (success), 2 (wrong usage) and 130 (Ctrl-C).
"""
# ruff: noqa: N818 - classes have the name of the cause

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final


class StyleServeError(Exception):
    """Unexpected failure.

    Attributes:
        exit_code: Exit code of the command line.
        message: The cause: the value that was given, and the allowed ones.
        hint: The next step to take; may be empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message: Final = message
        self.hint: Final = hint

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r})"

    def __reduce__(self) -> tuple[object, ...]:
        """State for pickling and copying, which do not call `__init__`: its arguments differ in the tree."""
        return _restored, (type(self), self.args), self.__dict__


class ControlError(StyleServeError, ValueError):
    """A control is out of its range, or belongs to another optimiser."""

    exit_code = 3


class ImageError(StyleServeError):
    """A picture cannot be used: missing, no image, cut short, too large or too small."""

    exit_code = 4


class OutputError(StyleServeError):
    """A result cannot be written: unknown extension, folder missing or not writable, disk full."""

    exit_code = 5


class SettingsError(StyleServeError, ValueError):
    """A setting of the connection cannot be used: a certificate, a token without TLS, a number out of its range."""

    exit_code = 6


class SavedRunError(StyleServeError):
    """A saved run cannot be resumed: no such file, damaged, of other pictures, or without those that it needs."""

    exit_code = 7


class RecipeError(StyleServeError):
    """A run cannot be repeated: its result holds no recipe, or a picture is missing or differs."""

    exit_code = 24


class JobListError(StyleServeError):
    """A list of jobs cannot be used: it is unreadable or empty, or has wrong lines."""

    exit_code = 8


class JobsFailed(StyleServeError):
    """Some jobs of a batch failed; all others are done."""

    exit_code = 9


class ClientClosed(StyleServeError):
    """The client was closed, before the call or during it."""

    exit_code = 22


class ServiceError(StyleServeError):
    """The server failed, for a cause without an exit code of its own.

    Attributes:
        status: Name of the gRPC status, as in "INTERNAL"; empty where the call itself succeeded.
        server_text: Text of the server.
        request_id: Id of the request, as in the server's log; empty where nothing was sent.
        tries: Number of calls for the request.
    """

    exit_code = 10

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: str = "",
        server_text: str = "",
        request_id: str = "",
        tries: int = 0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status: Final = status
        self.server_text: Final = server_text
        self.request_id: str = request_id
        self.tries: int = tries

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n{self.trace}" if self.trace else text

    @property
    def trace(self) -> str:
        """Id and tries of the request, on one line; empty where nothing was sent."""
        if not self.request_id:
            return ""
        return f"Request {self.request_id}" + (f", after {self.tries} tries." if self.tries > 1 else ".")


class ServerUnavailable(ServiceError):
    """No server answers at the address."""

    exit_code = 11


class DeadlineExceeded(ServiceError):
    """The server did not answer in time."""

    exit_code = 12


class Overloaded(ServiceError):
    """The server is overloaded; the same request may succeed later."""

    exit_code = 13


class ModelNotFound(ServiceError):
    """The server has no such model, version, label or signature."""

    exit_code = 14


class ModelNotReady(ServiceError):
    """The server knows the model, but no version of it is available."""

    exit_code = 15


class ContractMismatch(ServiceError):
    """The model speaks another version of the wire contract."""

    exit_code = 23


class RequestRefused(ServiceError):
    """The server does not accept the request."""

    exit_code = 16


class StateRefused(RequestRefused):
    """The model does not accept the state of a run: it is of another model.

    Attributes:
        model_version: Version of the model that gave the state.
    """

    exit_code = 21

    def __init__(self, message: str, *, model_version: int, cause: ServiceError) -> None:
        super().__init__(
            message,
            hint=f"Serve version {model_version} of the model, or begin a new run.",
            status=cause.status,
            server_text=cause.server_text,
            request_id=cause.request_id,
            tries=cause.tries,
        )
        self.model_version: Final = model_version


class TooLarge(ServiceError):
    """The pictures are over the limit of a message, or over the server's memory."""

    exit_code = 17


class WrongServer(ServiceError):
    """The server at the address is not TensorFlow Serving."""

    exit_code = 18


class BadReply(ServiceError):
    """The reply of the server is damaged, or does not fit the contract."""

    exit_code = 19


class NonFiniteResult(BadReply):
    """The reply of the server has NaN or infinity: the optimisation diverged."""

    exit_code = 20


def _restored(kind: type[StyleServeError], args: tuple[object, ...]) -> StyleServeError:
    return kind.__new__(kind, *args)


def _tree(root: type[StyleServeError]) -> Iterator[type[StyleServeError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def exit_codes() -> dict[int, str]:
    """Meaning of each exit code of the command line, in order."""
    codes = {0: "Success.", 2: "Wrong usage.", 130: "Stopped with Ctrl-C."}
    for error in _tree(StyleServeError):
        codes.setdefault(error.exit_code, (error.__doc__ or "").partition("\n")[0])
    return dict(sorted(codes.items()))
