"""Exported models of the tests: a cache for all workers, suites and runs, keyed by what an export depends on."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from styleserve.export import ExportSettings

ROOT: Final = Path(__file__).resolve().parents[1]
CACHE: Final = ROOT / "build" / "test-models"
KEPT_S: Final = 7 * 24 * 3600.0
"""Time after its last use at which an entry is removed."""


def _hash_of_sources() -> str:
    """Hash of the code, the interpreter and the TensorFlow that export."""
    digest = hashlib.sha256(f"{sys.version} {importlib.metadata.version('tensorflow')}".encode())
    rooms = ((ROOT / "styleserve").glob("*.py"), *((ROOT / room).rglob("*.py") for room in ("model", "export")))
    for path in sorted(path for room in rooms for path in room):
        digest.update(f"\n{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


# Read before the code is imported: a file that changes during a run must not give its name to an export without it.
_SOURCES: Final = _hash_of_sources()


def export_once(settings: ExportSettings) -> Path:
    """Exports a version as `export_model` does, or copies the one that the same code exported with these settings.

    Args:
        settings: With random weights and a precision, as a file and a machine are no part of the key.

    Returns:
        Directory of the version, in `settings.output`, which must not exist. It is a copy: a test may change it.
    """
    assert settings.weights == "random"
    assert settings.precision != "auto"
    from styleserve.export import export_model  # noqa: PLC0415 - imports TensorFlow

    described = repr(dataclasses.replace(settings, output=Path()))
    entry = CACHE / hashlib.sha256(f"{_SOURCES} {described}".encode()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with entry.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if entry.exists():
            os.utime(entry)
        else:
            _remove_unused()
            with tempfile.TemporaryDirectory(prefix="staging-", dir=CACHE) as staging:
                version = export_model(dataclasses.replace(settings, output=Path(staging) / "model"))
                version.parent.rename(entry)
        shutil.copytree(entry, settings.output)
    (version,) = settings.output.iterdir()
    return version


def _remove_unused() -> None:
    for path in CACHE.iterdir():
        if path.is_dir() and path.stat().st_mtime < time.time() - KEPT_S:
            shutil.rmtree(path, ignore_errors=True)
