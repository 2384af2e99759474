"""Arguments of the gRPC channel for `ConnectionSettings`: options and certificates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from ..errors import SettingsError
from ..wire.tensors import MAX_MESSAGE_BYTES
from .address import is_this_machine
from .settings import ConnectionSettings

_OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),  # its buffer of 256 KiB is too small for pictures; `retry` is used instead
    # A server that starts is found within a second; gRPC's own back-off grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # An attempt to connect without an answer ends after 5 s, not 20.
    ("grpc.min_reconnect_backoff_ms", 5000),
    # Otherwise a new channel shares the back-off of an old one to the same address.
    ("grpc.use_local_subchannel_pool", 1),
)
_ROUND_ROBIN: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
_KEEPALIVE_TIMEOUT_S: Final = 20


@dataclass(frozen=True)
class ChannelArguments:
    """Arguments of a channel.

    Attributes:
        target: Target of gRPC.
        options: Options of the channel.
        compression: Compression of requests.
        credentials: Certificates for TLS; None is plain text.
    """

    target: str
    options: tuple[tuple[str, int | str], ...]
    compression: grpc.Compression
    credentials: grpc.ChannelCredentials | None

    def open(self) -> grpc.Channel:
        """A new channel."""
        if self.credentials is None:
            return grpc.insecure_channel(self.target, self.options, self.compression)
        return grpc.secure_channel(self.target, self.credentials, self.options, self.compression)


def channel_arguments(settings: ConnectionSettings) -> ChannelArguments:
    """Arguments of the channel; TLS files are read here.

    Raises:
        SettingsError: A TLS file cannot be used.
    """
    options: list[tuple[str, int | str]] = [*_OPTIONS]
    if is_this_machine(settings.server):
        options.append(("grpc.enable_http_proxy", 0))  # gRPC uses the environment's proxy also for this machine
    if settings.server.startswith("dns:"):
        options.append(("grpc.service_config", _ROUND_ROBIN))
    if settings.keepalive_s is not None:  # only during calls, which is gRPC's default
        options.append(("grpc.keepalive_time_ms", round(settings.keepalive_s * 1000)))
        options.append(("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_S * 1000))
    compression = grpc.Compression.Gzip if settings.compression == "gzip" else grpc.Compression.NoCompression
    return ChannelArguments(settings.server, tuple(options), compression, _credentials(settings))


def _credentials(settings: ConnectionSettings) -> grpc.ChannelCredentials | None:
    if not settings.encrypted:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=_pem(settings.ca, "CERTIFICATE"),
        private_key=_pem(settings.key, "PRIVATE KEY"),
        certificate_chain=_pem(settings.cert, "CERTIFICATE"),
    )


def _pem(path: Path | None, kind: str) -> bytes | None:
    """Bytes of a file, checked here because gRPC only reports that the connection failed."""
    if path is None:
        return None
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}", hint="Check the name and the folder."
        ) from error
    if f"{kind}-----".encode() not in data:
        raise SettingsError(f"{path} holds no {kind.lower()} in PEM form", hint="Give the PEM file that holds it.")
    return data
