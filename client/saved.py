"""A run that can be gone on with: in memory, and as a file.

The file, numbers big-endian:

    8 bytes   "STYLERUN"
    2         version of this layout
    4         length of the header
    8         length of the state
    ...       the header, JSON in UTF-8
    ...       the state, as the model gave it
    32        SHA-256 of everything before

Nothing in it is executed when it is read, and nothing is believed that the checksum does not cover.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np

from styleserve import contract

from .controls import Controls
from .errors import SavedRunError
from .images import Picture
from .outputs import write_atomically
from .results import Floats
from .signatures import ResumableSignature, resumable_signature
from .sources import Pair

_MAGIC: Final = b"STYLERUN"
_LAYOUT: Final = 1
_LENGTHS: Final = struct.Struct(">HIQ")
_START: Final = len(_MAGIC) + _LENGTHS.size
_CHECKSUM_BYTES: Final = 32


@dataclass(frozen=True, eq=False, repr=False)
class SavedRun:
    """Where a run is, and what it takes to go on: on any server that has the model, at any time.

    Attributes:
        signature: that was called.
        controls: with the steps of the whole run; the model's defaults hold for what is not set.
        losses: so far, `[steps_done, 4]` float32; columns as in `contract.LOSS_COLUMNS`.
        state: of the optimiser, as the model gave it.
        model_name: of the model that gave it.
        model_version: of the model that gave it.
        content_sha256: of the content, as it was sent.
        style_sha256: of the style, as it was sent.
        notes: what was done to the pictures and can be seen, and what happened on the way.
    """

    signature: ResumableSignature
    controls: Controls
    losses: Floats
    state: bytes
    model_name: str
    model_version: int
    content_sha256: str
    style_sha256: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        model = f"{self.model_name} version {self.model_version}"
        return f"<SavedRun: {self.steps_done} of {self.steps_total} steps, {self.signature} of {model}>"

    @property
    def steps_done(self) -> int:
        """Evaluations that were made."""
        return len(self.losses)

    @property
    def steps_total(self) -> int:
        """Evaluations that were asked for."""
        return self.controls.expected_steps

    def check_pictures(self, pair: Pair) -> None:
        """Refuses pictures that are not those of the run.

        Raises:
            SavedRunError: with the picture's name.
        """
        for picture, role, digest in (
            (pair.content, "content", self.content_sha256),
            (pair.style, "style", self.style_sha256),
        ):
            if sha256(picture) != digest:
                raise SavedRunError(
                    f"{picture.name} is not the {role} that the saved run was begun with",
                    hint="Give the two pictures that it was begun with, or begin a new run.",
                )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the run into a file, all or nothing.

        Raises:
            OutputError: it cannot be written there.
        """
        path = Path(path)
        write_atomically(path, self._write)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SavedRun:
        """The run in a file.

        Raises:
            SavedRunError: there is no such file, it is no saved run, or it is damaged.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SavedRunError(f"{path} cannot be read: {error.strerror}", hint="Check its name.") from error
        header, state = _parts(memoryview(data), path)
        try:
            return cls._from_header(json.loads(header), state)
        except (ValueError, TypeError, KeyError) as error:  # written by something else, checksum and all
            raise SavedRunError(f"{path} does not say what a saved run says: {error}") from error

    def _write(self, file: IO[bytes]) -> None:
        header = json.dumps(self._header(), allow_nan=False).encode()
        digest = hashlib.sha256()
        for part in (_MAGIC, _LENGTHS.pack(_LAYOUT, len(header), len(self.state)), header, self.state):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())

    def _header(self) -> dict[str, Any]:
        return {
            "signature": self.signature,
            "controls": self.controls.sent(),
            "losses": self.losses.tolist(),
            "model_name": self.model_name,
            "model_version": self.model_version,
            "content_sha256": self.content_sha256,
            "style_sha256": self.style_sha256,
            "notes": list(self.notes),
        }

    @classmethod
    def _from_header(cls, header: dict[str, Any], state: bytes) -> SavedRun:
        losses = np.array(header["losses"], np.float32).reshape(-1, len(contract.LOSS_COLUMNS))
        return cls(
            signature=resumable_signature(header["signature"]),
            controls=Controls(**header["controls"]),
            losses=losses,
            state=state,
            model_name=str(header["model_name"]),
            model_version=int(header["model_version"]),
            content_sha256=str(header["content_sha256"]),
            style_sha256=str(header["style_sha256"]),
            notes=tuple(map(str, cast("list[object]", header["notes"]))),
        )


def sha256(picture: Picture) -> str:
    """Of the picture's file as it is sent, in hexadecimal digits."""
    return hashlib.sha256(picture.encoded).hexdigest()


def _parts(data: memoryview, path: Path) -> tuple[bytes, bytes]:
    """Header and state of a file's bytes.

    Raises:
        SavedRunError: they are not those of a saved run, or not all of them.
    """
    if bytes(data[: len(_MAGIC)]) != _MAGIC:
        raise SavedRunError(f"{path} is no saved run", hint="Give a file that --save-state or SavedRun.save wrote.")
    if len(data) < _START:
        raise _damaged(path, "it is cut short")
    layout, header_bytes, state_bytes = _LENGTHS.unpack(data[len(_MAGIC) : _START])
    if layout != _LAYOUT:
        raise SavedRunError(
            f"{path} has the layout {layout}; this version of styleserve reads {_LAYOUT}",
            hint="Go on with the version that wrote it.",
        )
    end = _START + header_bytes + state_bytes
    if len(data) != end + _CHECKSUM_BYTES:
        wanted = f"{len(data):,} of {end + _CHECKSUM_BYTES:,} bytes are there"
        raise _damaged(path, wanted)
    if hashlib.sha256(data[:end]).digest() != bytes(data[end:]):
        raise _damaged(path, "its checksum is wrong")
    return bytes(data[_START : _START + header_bytes]), bytes(data[_START + header_bytes : end])


def _damaged(path: Path, what: str) -> SavedRunError:
    return SavedRunError(f"{path} is damaged: {what}", hint="Use a copy of it, or begin a new run.")
