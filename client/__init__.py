"""The typed gRPC client of the service. Never imports TensorFlow.

`StyleClient` sends requests to TensorFlow Serving, or to the embedded server, and returns typed results; every failure
is a `StyleServeError`. The commands of the shell are in `styleserve.client.command`.
"""

from .client import DEFAULT_SERVER, StyleClient, default_timeout_s
from .controls import UNSET, Controls, Unset
from .errors import (
    BadReply,
    ControlError,
    DeadlineExceeded,
    ImageError,
    ModelNotFound,
    ModelNotReady,
    NonFiniteResult,
    OutputError,
    Overloaded,
    RequestRefused,
    ServerUnavailable,
    ServiceError,
    StyleServeError,
    TooLarge,
    WrongServer,
)
from .images import Picture, load_picture
from .results import (
    Description,
    LayerDescription,
    Metadata,
    SignatureDescription,
    StylizedResult,
    TensorDescription,
    Timings,
    VersionStatus,
)

__all__ = [
    "DEFAULT_SERVER",
    "UNSET",
    "BadReply",
    "ControlError",
    "Controls",
    "DeadlineExceeded",
    "Description",
    "ImageError",
    "LayerDescription",
    "Metadata",
    "ModelNotFound",
    "ModelNotReady",
    "NonFiniteResult",
    "OutputError",
    "Overloaded",
    "Picture",
    "RequestRefused",
    "ServerUnavailable",
    "ServiceError",
    "SignatureDescription",
    "StyleClient",
    "StyleServeError",
    "StylizedResult",
    "TensorDescription",
    "Timings",
    "TooLarge",
    "Unset",
    "VersionStatus",
    "WrongServer",
    "default_timeout_s",
    "load_picture",
]
