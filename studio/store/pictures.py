"""Uploads, by the SHA-256 of their bytes, each with a picture to show and a thumbnail."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from styleserve.atomic_write import atomic_write, remove_unfinished
from styleserve.client import Picture, load_picture

from .database import Database

_SHOWN_PX: Final = 2048
"""Longest side of the picture that pages show."""
_THUMBNAIL_PX: Final = 256


@dataclass(frozen=True)
class StoredPicture:
    """An upload that the client can read.

    Attributes:
        sha256: SHA-256 of its bytes, in hexadecimal digits.
        name: Name of the file, for messages.
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        notes: Visible changes on loading.
    """

    sha256: str
    name: str
    width: int
    height: int
    notes: tuple[str, ...] = ()


class PictureStore:
    """Uploads of a studio. `write` may run in any thread, all else in the thread of the database."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database
        self.folder: Final = database.folder / "pictures"
        self.folder.mkdir(exist_ok=True)
        remove_unfinished(self.folder)

    def file(self, sha256: str) -> Path:
        """Path of the upload itself."""
        return self.folder / sha256

    def shown_file(self, sha256: str) -> Path:
        """Path of the JPEG that pages show."""
        return self.folder / f"{sha256}.shown.jpg"

    def thumbnail_file(self, sha256: str) -> Path:
        """Path of its thumbnail, a JPEG."""
        return self.folder / f"{sha256}.thumbnail.jpg"

    def write(self, data: bytes, name: str) -> StoredPicture:
        """The upload, read by the client and written to the folder.

        Raises:
            ImageError: The client cannot read it.
            OSError: The folder cannot be written to.
        """
        picture: Picture = load_picture(data, name=name)
        sha256 = hashlib.sha256(data).hexdigest()
        for path, content in (
            (self.shown_file(sha256), jpeg(picture.image, _SHOWN_PX)),
            (self.thumbnail_file(sha256), jpeg(picture.image, _THUMBNAIL_PX)),
            (self.file(sha256), data),
        ):
            with atomic_write(path) as file:
                file.write(content)
        width, height = picture.image.size
        return StoredPicture(sha256, name, width, height, picture.notes)

    def add(self, picture: StoredPicture) -> None:
        """Notes an upload that was written."""
        data = json.dumps(asdict(picture))
        self._database.rows("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?)", picture.sha256, time.time(), data)

    def get(self, sha256: str) -> StoredPicture | None:
        """The upload of a digest; None where there is none."""
        found = self._database.rows("SELECT data FROM pictures WHERE sha256 = ?", sha256)
        if not found or not self.file(sha256).is_file():
            return None
        values: dict[str, Any] = json.loads(found[0][0])
        values["notes"] = tuple(values["notes"])
        return StoredPicture(**values)

    def trim(self, most: int, needed: Iterable[str]) -> int:
        """Removes the oldest uploads beyond a number, except those that runs need; returns the number removed."""
        kept = set(needed)
        rows = self._database.rows("SELECT sha256 FROM pictures ORDER BY used DESC, rowid DESC")
        extra = [row[0] for row in rows[most:] if row[0] not in kept]
        for sha256 in extra:
            self._database.rows("DELETE FROM pictures WHERE sha256 = ?", sha256)
            for path in (self.file(sha256), self.shown_file(sha256), self.thumbnail_file(sha256)):
                path.unlink(missing_ok=True)
        return len(extra)


def jpeg(image: Image.Image, most_px: int | None = None, *, quality: int = 90) -> bytes:
    """JPEG of an RGB image, reduced to a longest side if it is larger."""
    if most_px is not None and max(image.size) > most_px:
        image = image.copy()
        image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder and its sub-folders."""
    return sum(
        (Path(root) / name).stat().st_size
        for root, _, names in os.walk(folder)
        for name in names
        if (Path(root) / name).is_file()
    )
