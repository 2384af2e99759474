"""Data of a studio: uploads, runs and sessions, in a database and a folder.

Knows neither pages nor the client's calls.
"""

from __future__ import annotations

from .database import Database, FolderInUse
from .pictures import PictureStore, StoredPicture
from .runs import Run, RunFiles, RunRequest, RunStore, State
from .sessions import SessionStore

__all__ = [
    "Database",
    "FolderInUse",
    "PictureStore",
    "Run",
    "RunFiles",
    "RunRequest",
    "RunStore",
    "SessionStore",
    "State",
    "StoredPicture",
]
