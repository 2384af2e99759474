"""The way to the server: one channel, three calls, and the only place where gRPC's errors become ours."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message

from . import protos
from .controls import checked_timeout_s
from .errors import (
    BadReply,
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    RequestRefused,
    ServerUnavailable,
    ServiceError,
    TooLarge,
    WrongServer,
)

_Reply = TypeVar("_Reply", bound=Message)

_LARGEST_SIDE_PX: Final = 4096
_DESCRIBE_BYTES_PER_PIXEL: Final = 3 * 4 * (1 + 1 + 2)  # RGB float32: differences along x, along y, Sobel's two
MAX_MESSAGE_BYTES: Final = _DESCRIBE_BYTES_PER_PIXEL * _LARGEST_SIDE_PX**2 + 2**26
"""Both ways: the largest reply there is, `describe` of 4096 x 4096 pixels, and 64 MiB for Gram matrices: 872 MB. Two
pictures of 64 million pixels, sent as PNG that does not compress, are 384 MB. gRPC's own limit is 4 MB."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),  # its buffer of 256 KiB is too small for pictures
    # A server that starts is found within a second, not after gRPC's back-off of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Otherwise a new channel takes over the back-off of an old one to the same address.
    ("grpc.use_local_subchannel_pool", 1),
)
_LOOPBACK: Final = ("127.", "localhost:", "[::1]:")


class Connection:
    """A channel to a server, to be closed or used as a context manager; safe to use from several threads.

    Args:
        server: `host:port`, or any other gRPC target.
    """

    def __init__(self, server: str) -> None:
        if server.startswith(("http://", "https://")):
            raise ServerUnavailable(
                f"{server} is a web address; the server is named as host:port",
                hint="Leave the http:// out, and give the port of gRPC: 8500, where the one of REST is 8501.",
            )
        self.server: Final = server
        # gRPC would ask the proxy of the environment for this very machine as well.
        options = (
            (*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)) if server.startswith(_LOOPBACK) else _CHANNEL_OPTIONS
        )
        self._channel: Final = grpc.insecure_channel(server, options=options)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the channel, and with it all calls."""
        self._channel.close()

    def predict(self, request: protos.PredictRequest, timeout_s: float) -> protos.PredictResponse:
        """Runs a signature."""
        return self._call(protos.PREDICT, request, protos.PredictResponse, timeout_s)

    def metadata(self, request: protos.GetModelMetadataRequest, timeout_s: float) -> protos.GetModelMetadataResponse:
        """Asks for a model's signatures."""
        return self._call(protos.GET_MODEL_METADATA, request, protos.GetModelMetadataResponse, timeout_s)

    def status(self, request: protos.GetModelStatusRequest, timeout_s: float) -> protos.GetModelStatusResponse:
        """Asks for a model's versions."""
        return self._call(protos.GET_MODEL_STATUS, request, protos.GetModelStatusResponse, timeout_s)

    def _call(self, method: str, request: Message, reply: type[_Reply], timeout_s: float) -> _Reply:
        call = self._channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=reply.FromString
        )
        future = call.future(request, timeout=checked_timeout_s(timeout_s))
        try:
            return future.result()
        except grpc.RpcError as error:
            raise service_error(error.code(), error.details() or "", self.server, timeout_s) from error
        except grpc.FutureCancelledError as error:
            raise ServiceError(f"the call to {self.server} was cancelled", status="CANCELLED") from error
        except BaseException:  # Ctrl-C: tell the server, rather than let it work for nobody
            future.cancel()
            raise


def service_error(code: grpc.StatusCode, text: str, server: str, timeout_s: float) -> ServiceError:
    """Our error for gRPC's status and the server's text, which tells apart what shares a status."""
    text = _readable(text)
    kind, message, hint = _cause(code, text, server, timeout_s)
    return kind(message, hint=hint, status=code.name, server_text=text)


def _cause(  # noqa: PLR0911 - a table
    code: grpc.StatusCode, text: str, server: str, timeout_s: float
) -> tuple[type[ServiceError], str, str]:
    status, low = grpc.StatusCode, text.lower()
    busy = any(word in low for word in ("threadpool", "thread pool", "queue", "concurren"))
    if code is status.DEADLINE_EXCEEDED:
        hint = "Allow more time (--timeout), or ask for fewer steps or a smaller picture."
        return DeadlineExceeded, f"no answer from {server} within {timeout_s:g} s", hint
    if busy and code in (status.RESOURCE_EXHAUSTED, status.UNAVAILABLE):
        return Overloaded, f"the server at {server} has too much to do: {text}", "Try again later."
    if code is status.UNIMPLEMENTED or (code is status.UNAVAILABLE and ("http/2" in low or "http1" in low)):
        hint = "Give the port of gRPC: 8500, where the one of REST is 8501."
        return WrongServer, f"what answers at {server} is not TensorFlow Serving: {text}", hint
    if code is status.UNAVAILABLE:
        hint = "Start one with `styleserve serve`, or name the one to use with --server HOST:PORT."
        return ServerUnavailable, f"no server answers at {server}: {text}", hint
    if code is status.RESOURCE_EXHAUSTED:
        return TooLarge, f"too much for one message or for the memory of {server}: {text}", "Give smaller pictures."
    if re.search(r'serving signature key "stylize_lbfgs(_encoded)?" not found', low):
        hint = "Export the model anew, or ask for Adam with --optimizer adam (in Python, optimizer='adam')."
        return ModelNotFound, f"the model on {server} is of an older version, without L-BFGS: {text}", hint
    if code is status.NOT_FOUND or "servable version label" in low or "serving signature" in low:
        hint = "See what there is with `styleserve status` and `styleserve metadata`."
        return ModelNotFound, f"the server at {server} has no such model, version or signature: {text}", hint
    if code in (status.INVALID_ARGUMENT, status.FAILED_PRECONDITION, status.OUT_OF_RANGE):
        return RequestRefused, f"the server refused the request: {text}", ""
    if code is status.INTERNAL and "deserializ" in low:
        return BadReply, f"the reply of {server} is damaged: {text}", "Is that TensorFlow Serving?"
    return ServiceError, f"the server at {server} failed with {code.name}: {text}", "See the server's log."


def _readable(text: str) -> str:
    """A server's text on one line, without the parts that are only for developers of TensorFlow."""
    text = re.split(r"\s*\[\[\{\{node", text)[0]
    if "assertion failed:" in text:  # "assertion failed: [what was refused] [-1]"
        text = text.partition("assertion failed:")[2].replace("] [", " ").strip(" []")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:1000]
