"""gRPC's statuses and the server's texts, as our errors; the only place where one becomes the other."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import grpc

from styleserve import contract

from ..errors import (
    ContractMismatch,
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    RequestRefused,
    ServerUnavailable,
    ServiceError,
    TooLarge,
    WrongServer,
)
from .address import endpoints
from .forking import is_forked
from .proxies import proxy_of

Failure: TypeAlias = grpc.RpcError | grpc.FutureTimeoutError
NO_TLS_HINT: Final = (
    "The server does not speak TLS: leave --tls, --ca, --cert and --key out, or use the port that does."
)
FAILURES: Final = (grpc.RpcError, grpc.FutureTimeoutError)
"""Exceptions of a failed call."""

MISMATCH_HINT: Final = (
    "Export the model again with this version of styleserve, or install the client of the model's version."
)
_BEFORE_PAINT: Final = 1
"""Version of the contract of models without the signature `paint`."""

_STUCK_HINT: Final = (
    "gRPC may not work in this forked process: do not set GRPC_ENABLE_FORK_SUPPORT=0, fork while no call is under way, "
    "or start processes with spawn."
)


def service_error(failure: Failure, server: str, timeout_s: float) -> ServiceError:
    """Error for a gRPC status and the server's text, as one status has several causes.

    Args:
        failure: Failure of a call.
        server: Address of the server.
        timeout_s: Deadline of the call.
    """
    if isinstance(failure, grpc.FutureTimeoutError):
        message = f"no answer from {server} within {timeout_s:g} s, and gRPC did not keep the deadline"
        return DeadlineExceeded(message, hint=_STUCK_HINT if is_forked() else "", status="DEADLINE_EXCEEDED")
    code, text = failure.code(), _readable(failure.details() or "")
    kind, message, hint = _cause(code, text, server, timeout_s)
    if kind in (ServerUnavailable, WrongServer, DeadlineExceeded) and (proxy := proxy_of(server)) is not None:
        way = f"The call goes through the proxy {proxy.url} (variable {proxy.variable})"
        hint = f"{hint} {way}; to bypass it, add {endpoints(server)[0][0]} to the variable no_proxy."
    return kind(message, hint=hint, status=code.name, server_text=text)


def _cause(  # noqa: PLR0911, PLR0912 - a table
    code: grpc.StatusCode, text: str, server: str, timeout_s: float
) -> tuple[type[ServiceError], str, str]:
    status, low = grpc.StatusCode, text.lower()
    busy = any(word in low for word in ("threadpool", "thread pool", "queue", "concurren"))
    if code is status.DEADLINE_EXCEEDED:
        hint = "Allow more time (--timeout), or ask for fewer steps or a smaller picture."
        return DeadlineExceeded, f"no answer from {server} within {timeout_s:.3g} s", hint
    # Texts of gRPC, which refuses some metadata over 8 KiB and all over 16 KiB, of Envoy (431) and of nginx (494).
    if "metadata size exceeds" in low or re.search(r"http2 header with status: (431|494)", low):
        hint = (
            "Use a shorter token or less metadata: 8 kB in all are safe. Or raise the server's limit, for TensorFlow "
            "Serving with --grpc_channel_arguments=grpc.max_metadata_size=BYTES."
        )
        return TooLarge, f"the token, or other metadata, is too large for {server}: {text}", hint
    if busy and code in (status.RESOURCE_EXHAUSTED, status.UNAVAILABLE):
        return Overloaded, f"the server at {server} has too much to do: {text}", "Try again later."
    if code is status.UNIMPLEMENTED or (code is status.UNAVAILABLE and ("http/2" in low or "http1" in low)):
        hint = "Give the port of gRPC: 8500, where the one of REST is 8501."
        return WrongServer, f"what answers at {server} is not TensorFlow Serving: {text}", hint
    if code is status.UNAVAILABLE:
        return _unavailable(text, server)
    if code is status.RESOURCE_EXHAUSTED:
        return (
            TooLarge,
            f"too much for one message or for the memory of {server}: {text}",
            "Give smaller pictures, or fewer at once.",
        )
    if f'serving signature key "{contract.PAINT}" not found' in low:
        return ContractMismatch, mismatch_message(server, _BEFORE_PAINT), MISMATCH_HINT
    if (spoken := re.match(rf"{contract.CONTRACT_VERSION_INPUT.name} must be (\d+)", text)) is not None:
        return ContractMismatch, mismatch_message(server, int(spoken[1])), MISMATCH_HINT
    if code is status.NOT_FOUND or "servable version label" in low or "serving signature" in low:
        hint = "See what there is with `styleserve status` and `styleserve metadata`."
        return ModelNotFound, f"the server at {server} has no such model, version or signature: {text}", hint
    if "from different tasks" in low or "0th-dimension" in low:
        one_size = "Bring all pictures of one server to one size; or switch batching off."
        rows = "Give every input, controls included, one value for each example; or switch server-side batching off."
        hint = one_size if "from different tasks" in low else rows
        return RequestRefused, f"the request cannot be joined with others, as {server} would: {text}", hint
    if code in (status.INVALID_ARGUMENT, status.FAILED_PRECONDITION, status.OUT_OF_RANGE):
        rules = ("megapixel-steps", "must have at most", "must have sides", "steps must be", "max_side must be")
        limited = any(rule in text for rule in rules)
        ask = "Ask for another --max-side or --size. " if "sides" in text or text.startswith("max_side") else ""
        if text.startswith(contract.STYLE_BYTES.name) and limited:
            ask = "Ask for another --max-side, --size or --style-scale. "
        hint = f"{ask}All limits of the model are shown by `styleserve metadata`." if limited else ""
        return RequestRefused, f"the server refused the request: {text}", hint
    if code in (status.UNAUTHENTICATED, status.PERMISSION_DENIED):
        hint = "Give a token that it accepts (STYLESERVE_TOKEN), or a certificate (--cert, --key)."
        return RequestRefused, f"the server at {server} does not let this client in: {text}", hint
    return ServiceError, f"the server at {server} failed with {code.name}: {text}", "See the server's log."


def mismatch_message(server: str, contract_version: int) -> str:
    """Message about a model of this version of the contract."""
    return f"the model on {server} speaks contract {contract_version}, this client {contract.CONTRACT_VERSION}"


def _unavailable(text: str, server: str) -> tuple[type[ServiceError], str, str]:
    low = text.lower()
    if "wrong_version_number" in low:
        return ServerUnavailable, f"no encrypted connection to {server}: {text}", NO_TLS_HINT
    if "handshake" in low or "certificate" in low:
        hint = "Does the server speak TLS, and is its certificate by an authority that is trusted here (--ca FILE)?"
        return ServerUnavailable, f"no encrypted connection to {server}: {text}", hint
    hint = "Start one with `styleserve serve`, or name the one to use with --server HOST:PORT."
    return ServerUnavailable, f"no server answers at {server}: {text}", hint


def _readable(text: str) -> str:
    """Text of a server on one line, without the names of nodes in the graph."""
    # "[[{{node Assert}}]]", "[[{{function_node __inference_1}}{{node Assert}}]]", or the beginning of one.
    text = re.split(r"\s*\[\[(?:\{|$)", text)[0]
    text = re.sub(r"\{\{(function_)?node [^{}]*\}\}", "", text)
    if "assertion failed:" in text:  # "assertion failed: [what was refused] [-1]"
        text = text.partition("assertion failed:")[2].replace("] [", " ").strip(" []")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:1000]
