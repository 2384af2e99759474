"""Settings of a studio: its folder and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_PORT: Final = 8600
LOOPBACK: Final = "127.0.0.1"

SHEET_SIDE_PX: Final = 192
"""Longest side of the pictures of a contact sheet."""
SHEET_STEPS: Final = 40
"""Evaluations of each picture of a contact sheet, if the form names none."""


@dataclass(frozen=True, kw_only=True)
class StudioSettings:
    """Settings of a studio.

    Attributes:
        folder: Folder of the database, the uploads and the results.
        max_upload_bytes: Size of the largest upload.
        max_pictures: Most uploads that are kept; the oldest that no run needs are removed first.
        max_runs: Most runs that are kept; the oldest finished ones are removed first.
        max_waiting: Most runs that wait.
        max_folder_bytes: Size of the folder above which the oldest finished runs are removed.
    """

    folder: Path
    max_upload_bytes: int = 64 * 2**20
    max_pictures: int = 300
    max_runs: int = 200
    max_waiting: int = 64
    max_folder_bytes: int = 4 * 2**30
