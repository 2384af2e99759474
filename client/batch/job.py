"""Jobs of a batch: pictures, controls, and the name of the result."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from styleserve import contract

from ..errors import JobListError, OutputError
from ..images.save import EXTENSIONS, case_folded
from ..inputs.controls import Controls, refuse_foreign_controls
from ..inputs.picture_set import PictureSet
from ..inputs.print_size import checked_dpi
from ..representation import changed_fields

_LONGEST_NAME_BYTES: Final = 255
"""Limit of common file systems."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Job:
    """One picture to paint.

    Attributes:
        pictures: Paths of content, styles, masks, start and reference.
        output: Name of the result below the folder of the batch, with slashes, ending in one of `outputs.EXTENSIONS`.
        controls: Controls of the run.
        dpi: Resolution in the file of the result, in pixels per inch; None writes none.
        where: Place that asked for the job, for messages, as in "jobs.csv:3".

    Raises:
        OutputError: The name leaves the folder, or is none that a picture can be saved under.
        ControlError: A control does not suit the pictures or the other controls, or the resolution is out of range.
    """

    pictures: PictureSet[Path]
    output: str
    controls: Controls = field(default_factory=Controls)
    dpi: int | None = None
    where: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return changed_fields(self)

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", _checked_name(self.output))
        if self.dpi is not None:
            object.__setattr__(self, "dpi", checked_dpi(self.dpi))
        refuse_foreign_controls(self.controls)
        self.pictures.check(self.controls)

    def key(self, digests: PictureSet[str], model_name: str, version: str | int | None = None) -> str:
        """SHA-256 of all that makes the picture: the same key, the same picture under the same name.

        Args:
            digests: SHA-256 of each picture's file; its path does not matter.
            model_name: Name of the model that paints.
            version: Version of the model, by number or by label; None is the newest one.
        """
        facts: dict[str, object] = {"model": model_name, "output": self.output}
        if version is not None:
            facts["version"] = version
        return content_key(digests, self.controls, self.dpi, facts)


def content_key(digests: PictureSet[str], controls: Controls, dpi: int | None, facts: Mapping[str, object]) -> str:
    """SHA-256 of all that makes a picture, in hexadecimal digits.

    Args:
        digests: SHA-256 of each picture's file.
        controls: Controls of the run.
        dpi: Resolution in the file of the result.
        facts: Further facts, such as the model.
    """
    made_of: dict[str, object] = {
        "contract": contract.CONTRACT_VERSION,
        "pictures": dict(digests.items()),
        "shape": [len(digests.styles), len(digests.content_regions), len(digests.style_regions)],
        # As numbers of one type: 5 in one list and 5.0 in another are the same weight.
        "controls": {
            name: float(value) if isinstance(value, int) else value for name, value in controls.given().items()
        },
        **facts,
    }
    if dpi is not None:
        made_of["dpi"] = dpi
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class JobDefaults:
    """Defaults of jobs.

    Attributes:
        controls: Controls of jobs that name no others. A learning rate is not for a job that asks for L-BFGS by itself.
        extension: Extension of results that are not named, or named without one.
        dpi: Resolution in the files of results; None writes none.

    Raises:
        OutputError: No picture can be saved with the extension.
        ControlError: The resolution is out of range.
    """

    controls: Controls = field(default_factory=Controls)
    extension: str = ".png"
    dpi: int | None = None

    def __post_init__(self) -> None:
        if self.dpi is not None:
            object.__setattr__(self, "dpi", checked_dpi(self.dpi))
        if self.extension not in EXTENSIONS:
            raise OutputError(
                f"the extension is {self.extension!r}", hint=f"It must be one of: {', '.join(EXTENSIONS)}."
            )


def default_output(content: Path, styles: Sequence[Path], extension: str) -> str:
    """Default name of a result.

    >>> default_output(Path("in/lake.jpg"), [Path("swirls.png")], ".webp")
    'lake--swirls.webp'
    """
    return f"{content.stem}--{'+'.join(style.stem for style in styles)}{extension}"


def folder_jobs(contents: Path, styles: Iterable[Path], defaults: JobDefaults | None = None) -> tuple[Job, ...]:
    """Every picture of a folder in every style, in the order of their names.

    Args:
        contents: Folder of pictures; its sub-folders are ignored.
        styles: Files, or folders of them.
        defaults: Controls of all jobs, and format of the results.

    Raises:
        JobListError: A folder has no pictures, there is no style, or two results would have one name.
        OutputError: A name is too long for a file.
        ControlError: The optimiser has no such control.
    """
    defaults = JobDefaults() if defaults is None else defaults
    styles = list(styles)
    if missing := next((style for style in styles if not style.exists()), None):
        raise JobListError(f"there is no style {missing}", hint="Check the name and the folder.")
    found_styles = [picture for style in styles for picture in (_pictures_in(style) if style.is_dir() else [style])]
    if not found_styles:
        raise JobListError("there is no style to paint in", hint="Name one, or a folder of them, with --style.")
    jobs = tuple(
        Job(
            pictures=PictureSet(content=content, styles=(style,)),
            output=default_output(content, [style], defaults.extension),
            controls=defaults.controls,
            dpi=defaults.dpi,
            where=f"{content} in the style of {style}",
        )
        for content in _pictures_in(contents)
        for style in found_styles
    )
    refuse_doubles(jobs)
    return jobs


def refuse_doubles(jobs: Sequence[Job], files: Iterable[Path] | None = None) -> None:
    """Refuses two jobs whose results would be one file, on this or another file system.

    Args:
        jobs: Jobs of one batch.
        files: Resolved files of their outputs; None compares the outputs.

    Raises:
        JobListError: The message names both jobs.
    """
    first: dict[str, Job] = {}
    for job, file in zip(jobs, [job.output for job in jobs] if files is None else files, strict=True):
        other = first.setdefault(case_folded(file), job)
        if other is not job:
            same = job.output == other.output
            names = f"both be saved as {job.output}" if same else f"be saved as {other.output} and as {job.output}"
            why = "" if same else ", which may be one file (a link, or upper and lower case)"
            raise JobListError(
                f"two jobs would {names}{why}: {other.where or 'one'}, and {job.where or 'another'}",
                hint="Give them different names: in the column output of a list, or by renaming a picture.",
            )


def _pictures_in(folder: Path) -> list[Path]:
    from ..images.files import picture_extensions  # noqa: PLC0415 - brings Pillow

    extensions = picture_extensions()
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in extensions and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise JobListError(f"the folder {folder} cannot be read: {error.strerror}") from error
    if not found:
        raise JobListError(f"there is no picture in the folder {folder}", hint="Name the folder that they are in.")
    return found


def _checked_name(output: str) -> str:
    name = PurePosixPath(output)
    if "\\" in output or any(unicodedata.category(char) == "Cc" for char in output):
        raise OutputError(f"the output {output!r} is no name for a file", hint="Use letters, digits, and slashes.")
    if name.is_absolute() or ".." in name.parts:
        raise OutputError(f"the output {output} would leave the folder of the batch", hint="Give a name inside it.")
    if name.suffix.lower() not in EXTENSIONS:
        came = f"has the extension {name.suffix!r}" if name.suffix else "has no extension"
        raise OutputError(f"the output {output!r} {came}", hint=f"Name it with one of: {', '.join(EXTENSIONS)}.")
    if max(len(os.fsencode(part)) for part in name.parts) > _LONGEST_NAME_BYTES:
        raise OutputError(f"the output {output} is longer than the {_LONGEST_NAME_BYTES} bytes a name may have")
    return str(name)
