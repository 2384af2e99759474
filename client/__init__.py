"""The typed gRPC client of the service. Never imports TensorFlow.

`StyleClient` sends requests to TensorFlow Serving, or to the embedded server, and returns typed results; every failure
is a `StyleServeError`. The commands of the shell are in `styleserve.client.command`.

What needs NumPy, Pillow or gRPC is imported when it is first used: `--help` is quicker without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from .batch_settings import BatchSettings
from .controls import UNSET, Controls, Unset
from .defaults import DEFAULT_SERVER, default_timeout_s
from .errors import (
    BadReply,
    ControlError,
    DeadlineExceeded,
    ImageError,
    JobListError,
    JobsFailed,
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
from .job_files import read_jobs
from .jobs import Job, JobDefaults, folder_jobs
from .signatures import Optimizer, StylizeSignature

if TYPE_CHECKING:
    from .batch import JobResult, Progress, run_batch
    from .client import StyleClient
    from .images import Picture, load_picture
    from .manifest import Record
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
    "BatchSettings",
    "ControlError",
    "Controls",
    "DeadlineExceeded",
    "Description",
    "ImageError",
    "Job",
    "JobDefaults",
    "JobListError",
    "JobResult",
    "JobsFailed",
    "LayerDescription",
    "Metadata",
    "ModelNotFound",
    "ModelNotReady",
    "NonFiniteResult",
    "Optimizer",
    "OutputError",
    "Overloaded",
    "Picture",
    "Progress",
    "Record",
    "RequestRefused",
    "ServerUnavailable",
    "ServiceError",
    "SignatureDescription",
    "StyleClient",
    "StyleServeError",
    "StylizeSignature",
    "StylizedResult",
    "TensorDescription",
    "Timings",
    "TooLarge",
    "Unset",
    "VersionStatus",
    "WrongServer",
    "default_timeout_s",
    "folder_jobs",
    "load_picture",
    "read_jobs",
    "run_batch",
]

_LATER: Final = {
    "batch": ("JobResult", "Progress", "run_batch"),
    "client": ("StyleClient",),
    "images": (
        "Picture",
        "load_picture",
    ),
    "manifest": ("Record",),
    "results": (
        "Description",
        "LayerDescription",
        "Metadata",
        "SignatureDescription",
        "StylizedResult",
        "TensorDescription",
        "Timings",
        "VersionStatus",
    ),
}
"""The names that are imported late, by their module."""


if not TYPE_CHECKING:  # a checker would take every name for one that is there

    def __getattr__(name: str) -> object:
        for module, names in _LATER.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
