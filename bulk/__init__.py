"""Bulk: hundreds of thousands of pictures on a Ray cluster, each painted exactly once.

Ray Data distributes the jobs; the client paints them, on a server that each worker starts from a SavedModel or on given
servers. Results and ledger are files in one folder, local or in an object store, from which a stopped run resumes.
`styleserve.bulk.command` has the commands.

Modules that need Ray, pyarrow or fsspec are imported at first use: the client works without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from .settings import BulkSettings

if TYPE_CHECKING:
    from .jobs import BulkJob, read_bulk_jobs
    from .runner import BulkProgress, run_bulk

__all__ = ["BulkJob", "BulkProgress", "BulkSettings", "read_bulk_jobs", "run_bulk"]

_MODULES: Final = {"BulkJob": "jobs", "read_bulk_jobs": "jobs", "BulkProgress": "runner", "run_bulk": "runner"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
