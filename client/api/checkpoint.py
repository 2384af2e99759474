"""A run that can be resumed: in memory, and as a file.

The file, numbers big-endian:

    8 bytes   "STYLERUN"
    2         version of this layout
    4         length of the header
    8         length of the state, or of the picture that the next octave starts from
    ...       the header, JSON in UTF-8
    ...       the state or picture, as the model gave it
    32        SHA-256 of everything before

Reading it executes nothing, and the checksum covers everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np

from styleserve import contract

from ..errors import ControlError, SavedRunError
from ..images.picture import Picture
from ..images.save import write_atomically
from ..inputs.controls import Controls, Unset, controls_of
from ..inputs.octaves import Octave, octave_of, plan
from ..inputs.picture_set import PictureSet
from ..inputs.pictures import PictureFacts, facts_from_json, facts_to_json
from ..inputs.recipe import Recipe
from ..wire.results import Floats

_MAGIC: Final = b"STYLERUN"
_LAYOUT: Final = 2
_LENGTHS: Final = struct.Struct(">HIQ")
_START: Final = len(_MAGIC) + _LENGTHS.size
_CHECKSUM_BYTES: Final = 32


@dataclass(frozen=True, eq=False, repr=False)
class SavedRun:
    """A run so far, with all that is needed to resume it on any server that has the model.

    Attributes:
        controls: Controls of the run, with its steps and largest side.
        octaves: Octaves of the run, smallest first.
        losses: Losses so far, `[steps_done, 5]` float32; columns as in `contract.LOSS_COLUMNS`.
        state: State of the current octave, as the model gave it; empty before its first chunk, and in a print.
        start: Picture that the next call starts from, as the model gave it: that of the octave before, or the one so
            far of a print, which has no state. Empty where the run begins, and beside a state.
        model_name: Name of the model that gave the state.
        model_version: Version of the model that gave the state.
        pictures: Facts about the pictures of the run.
        notes: Visible changes to the pictures on loading, and events of the run.
    """

    controls: Controls
    octaves: tuple[Octave, ...]
    losses: Floats
    state: bytes
    start: bytes
    model_name: str
    model_version: int
    pictures: PictureSet[PictureFacts]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        model = f"{self.model_name} version {self.model_version}"
        octaves = f", octave {self.octave + 1} of {len(self.octaves)}" if len(self.octaves) > 1 else ""
        return f"<SavedRun: {self.steps_done} of {self.steps_total} steps{octaves}, {model}>"

    @property
    def steps_done(self) -> int:
        """Evaluations so far, of all octaves."""
        return len(self.losses)

    @property
    def steps_total(self) -> int:
        """Evaluations of all octaves."""
        return sum(octave.steps for octave in self.octaves)

    @property
    def octave(self) -> int:
        """Index of the octave that continues the run."""
        return octave_of(self.octaves, self.steps_done)

    @property
    def current_octave(self) -> Octave:
        """Octave that continues the run."""
        return self.octaves[self.octave]

    @property
    def octave_steps_done(self) -> int:
        """Evaluations so far of the current octave."""
        return self.steps_done - sum(octave.steps for octave in self.octaves[: self.octave])

    @property
    def octave_steps_left(self) -> int:
        """Evaluations of the current octave that are left."""
        return self.current_octave.steps - self.octave_steps_done

    @property
    def can_resume(self) -> bool:
        """Whether the run has a state, or a picture to start the next octave from."""
        return bool(self.state or self.start)

    @property
    def needs_pictures(self) -> bool:
        """Whether a later octave needs the pictures to begin."""
        return not self.state or self.octave < len(self.octaves) - 1

    @property
    def recipe(self) -> Recipe:
        """Recipe that repeats the run."""
        return Recipe(self.controls, self.model_name, self.model_version, self.pictures)

    def check_pictures(self, pictures: PictureSet[Picture]) -> None:
        """Refuses pictures that are not those of the run.

        Raises:
            SavedRunError: The message has the picture's name and role.
        """
        given, own = dict(pictures.items()), dict(self.pictures.items())
        for role in (*own, *given):
            if role not in given:
                problem = f"the {role} is missing that the saved run was begun with"
            elif role not in own:
                problem = f"the saved run was begun without a {role}"
            elif given[role].sha256 != own[role].sha256:
                problem = f"{given[role].name} is not the {role} that the saved run was begun with"
            else:
                continue
            raise SavedRunError(problem, hint="Give the pictures of the run, or begin a new run.")

    def with_steps(self, steps: int | Unset) -> SavedRun:
        """The run with other steps of the octaves that have not ended.

        Raises:
            ControlError: The run has done more already.
        """
        if isinstance(steps, Unset) or steps == self.controls.steps:
            return self
        last = len(self.octaves) - 1
        planned = plan(self.octaves[-1].max_side, steps, len(self.octaves), 0) if last else None
        asked = [steps] if planned is None else [octave.steps for octave in planned][: last + 1]
        if len(asked) != len(self.octaves):  # steps=0
            asked = [0] * len(self.octaves)
        own = [octave.steps for octave in self.octaves]
        at, done = self.octave, self.octave_steps_done
        if at == last and asked[at] < done:
            where = "" if last == 0 else f" ({done} of them at the last size)"
            raise ControlError(
                f"steps is {steps}, but the saved run has done {self.steps_done} already{where}",
                hint="Give the steps of the whole run.",
            )
        own[at:] = asked[at:]
        if at < last:  # an octave ends with a step, which brings the picture that the next one starts from
            own[at] = max(own[at], done + 1)
        octaves = tuple(Octave(octave.max_side, count) for octave, count in zip(self.octaves, own, strict=True))
        return replace(self, controls=replace(self.controls, steps=steps), octaves=octaves)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the run into a file, all or nothing.

        Raises:
            OutputError: It cannot be written there.
        """
        path = Path(path)
        write_atomically(path, self._write)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SavedRun:
        """Run from a file.

        Raises:
            SavedRunError: The file does not exist, is damaged, or is not a saved run.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SavedRunError(f"{path} cannot be read: {error.strerror}", hint="Check its name.") from error
        header, body = _parts(memoryview(data), path)
        try:
            return cls._from_header(json.loads(header), body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # written by another program
            raise SavedRunError(f"{path} is not a saved run of this layout: {error}") from error

    def _write(self, file: IO[bytes]) -> None:
        body = self.state or self.start
        header = json.dumps(self._header(), allow_nan=False).encode()
        digest = hashlib.sha256()
        for part in (_MAGIC, _LENGTHS.pack(_LAYOUT, len(header), len(body)), header, body):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())

    def _header(self) -> dict[str, Any]:
        return {
            "controls": self.controls.given(),
            "octaves": self.octaves,
            "octave": self.octave,
            "is_start": not self.state,
            "losses": self.losses.tolist(),
            "model_name": self.model_name,
            "model_version": self.model_version,
            "pictures": facts_to_json(self.pictures),
            "notes": list(self.notes),
        }

    @classmethod
    def _from_header(cls, header: dict[str, Any], body: bytes) -> SavedRun:
        losses = np.array(header["losses"], np.float32).reshape(-1, len(contract.LOSS_COLUMNS))
        octaves = tuple(Octave(int(side), int(steps)) for side, steps in header["octaves"])
        if not octaves or header["octave"] != octave_of(octaves, len(losses)):
            raise ValueError("its octaves do not fit its losses")
        return cls(
            controls=controls_of(header["controls"]),
            octaves=octaves,
            losses=losses,
            state=b"" if header["is_start"] else body,
            start=body if header["is_start"] else b"",
            model_name=str(header["model_name"]),
            model_version=int(header["model_version"]),
            pictures=facts_from_json(header["pictures"]),
            notes=tuple(map(str, cast("list[object]", header["notes"]))),
        )


def _parts(data: memoryview, path: Path) -> tuple[bytes, bytes]:
    """Header and body of a file's bytes.

    Raises:
        SavedRunError: They are not those of a saved run, or some are missing.
    """
    if bytes(data[: len(_MAGIC)]) != _MAGIC:
        raise SavedRunError(f"{path} is not a saved run", hint="Give a file that --save-state or SavedRun.save wrote.")
    if len(data) < _START:
        raise _damaged(path, "it is cut short")
    layout, header_bytes, state_bytes = _LENGTHS.unpack(data[len(_MAGIC) : _START])
    if layout != _LAYOUT:
        raise SavedRunError(
            f"{path} has the layout {layout}; this version of styleserve reads {_LAYOUT}",
            hint="Resume it with the version that wrote it, or begin a new run.",
        )
    end = _START + header_bytes + state_bytes
    if len(data) != end + _CHECKSUM_BYTES:
        raise _damaged(path, f"it has {len(data):,} bytes of {end + _CHECKSUM_BYTES:,}")
    if hashlib.sha256(data[:end]).digest() != bytes(data[end:]):
        raise _damaged(path, "its checksum is wrong")
    return bytes(data[_START : _START + header_bytes]), bytes(data[_START + header_bytes : end])


def _damaged(path: Path, problem: str) -> SavedRunError:
    return SavedRunError(f"{path} is damaged: {problem}", hint="Use a copy of it, or begin a new run.")
