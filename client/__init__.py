"""The typed gRPC client of the service. Never imports TensorFlow.

`StyleClient`, and `AsyncStyleClient` for event loops, send requests to TensorFlow Serving, or to the embedded server,
and return typed results; every failure is a `StyleServeError`. `styleserve.client.cli.commands` has the commands.

Modules that need NumPy, Pillow or gRPC are imported at first use, so that `--help` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from .batch.job import Job, JobDefaults, folder_jobs
from .batch.job_list import read_jobs
from .batch.settings import BatchSettings
from .errors import (
    BadReply,
    ClientClosed,
    ContractMismatch,
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
    RecipeError,
    RequestRefused,
    SavedRunError,
    ServerUnavailable,
    ServiceError,
    SettingsError,
    StateRefused,
    StyleServeError,
    TooLarge,
    WrongServer,
)
from .inputs.controls import UNSET, Colors, Controls, ImageFormat, Loss, Optimizer, Unset
from .inputs.octaves import Octave
from .inputs.picture_set import PictureSet
from .inputs.presets import PRESETS
from .inputs.print_size import print_max_side
from .transport.retry import RetryPolicy
from .transport.settings import DEFAULT_SERVER, Compression, ConnectionSettings, default_timeout_s

if TYPE_CHECKING:
    from .api.async_client import AsyncStyleClient
    from .api.checkpoint import SavedRun
    from .api.client import StyleClient
    from .api.progress import Progress
    from .batch.manifest import Record
    from .batch.results import BatchProgress, JobResult
    from .batch.runner import run_batch
    from .images.picture import Picture
    from .images.source import PictureSource, load_picture
    from .inputs.pictures import PictureFacts, Regions, StyleSources
    from .inputs.recipe import Recipe
    from .wire.results import (
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
    "PRESETS",
    "UNSET",
    "AsyncStyleClient",
    "BadReply",
    "BatchProgress",
    "BatchSettings",
    "ClientClosed",
    "Colors",
    "Compression",
    "ConnectionSettings",
    "ContractMismatch",
    "ControlError",
    "Controls",
    "DeadlineExceeded",
    "Description",
    "ImageError",
    "ImageFormat",
    "Job",
    "JobDefaults",
    "JobListError",
    "JobResult",
    "JobsFailed",
    "LayerDescription",
    "Loss",
    "Metadata",
    "ModelNotFound",
    "ModelNotReady",
    "NonFiniteResult",
    "Octave",
    "Optimizer",
    "OutputError",
    "Overloaded",
    "Picture",
    "PictureFacts",
    "PictureSet",
    "PictureSource",
    "Progress",
    "Recipe",
    "RecipeError",
    "Record",
    "Regions",
    "RequestRefused",
    "RetryPolicy",
    "SavedRun",
    "SavedRunError",
    "ServerUnavailable",
    "ServiceError",
    "SettingsError",
    "SignatureDescription",
    "StateRefused",
    "StyleClient",
    "StyleServeError",
    "StyleSources",
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
    "print_max_side",
    "read_jobs",
    "run_batch",
]

_LATER: Final = (
    "images.picture",
    "images.source",
    "inputs.pictures",
    "inputs.recipe",
    "wire.results",
    "api.checkpoint",
    "api.progress",
    "api.client",
    "api.async_client",
    "batch.manifest",
    "batch.results",
    "batch.runner",
)
"""Modules that are imported at first use. A name is searched for in this order, which has the lightest first."""


if not TYPE_CHECKING:  # else a type checker accepts any name

    def __getattr__(name: str) -> object:
        if name in __all__:
            for module in _LATER:
                if hasattr(found := import_module(f".{module}", __name__), name):
                    return getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
