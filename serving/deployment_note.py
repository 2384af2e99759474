"""With what a folder of deployment files was made, as a comment in one of them.

`styleserve deploy` is run over the same folder again and again: to move a label, to add a server. What it is not told
then stays as it was, and that is read from here. A file of its own could be lost, or left behind in a copy, without
anybody seeing it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final

from .deployment import Deployment, DeploymentError, Device, Target

_BEGINNING: Final = "# Made with: "
_NOTE: Final = re.compile(rf"^{_BEGINNING}(.*)$", re.MULTILINE)
_FILES: Final = {
    Target.compose: ".env",
    Target.kubernetes: "kustomization.yaml",
    Target.kserve: "kustomization.yaml",
}
"""What holds the note, in a folder of each target."""


def note_of(deployment: Deployment) -> str:
    """A line of comment: what makes this deployment differ from one of which nothing was said. It holds no secret."""
    chosen = {
        each.name: getattr(deployment, each.name)
        for each in fields(deployment)
        if each.default is MISSING or getattr(deployment, each.name) != each.default
    }
    if "labels" in chosen:
        chosen["labels"] = dict(deployment.labels)
    if deployment.target is Target.compose:  # the next run may begin in another folder
        chosen["model"] = str(Path(deployment.model or "").absolute())
    return _BEGINNING + json.dumps(chosen)


def noted(folder: Path, target: Target) -> Deployment | None:
    """The deployment that a folder was made for; None where there is none yet.

    Raises:
        DeploymentError: there is one, but it does not say for what it was made, or for another target.
    """
    path = folder / _FILES[target]
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DeploymentError(f"cannot read {path}: {error}") from error
    try:
        (note,) = _NOTE.findall(text)
        chosen: dict[str, Any] = json.loads(note)
        chosen["target"] = Target(chosen["target"])
        chosen["labels"] = tuple(chosen.get("labels", {}).items())
        chosen["device"] = Device(chosen.get("device", Deployment.device))
        deployment = Deployment(**chosen)
    except (ValueError, TypeError, KeyError, AttributeError, DeploymentError) as error:
        raise DeploymentError(
            f"{path} does not say with which options it was made (a line {_BEGINNING!r}), so that those which are not "
            "named would go back to their defaults; name them all, with --fresh"
        ) from error
    if deployment.target is not target:
        raise DeploymentError(
            f"the files in {folder} are for {deployment.target.value}, not for {target.value}; -o names another folder"
        )
    return deployment


def kept(before: Deployment, named: Mapping[str, Any]) -> str:
    """What stays of a deployment, beside the fields that are named, as words of a command line."""
    words: list[str] = []
    for each in fields(before):
        value = getattr(before, each.name)
        if each.default is MISSING or value == each.default or each.name in named:
            continue
        if each.name == "labels":
            words += [word for label, version in value for word in ("--label", f"{label}={version}")]
        else:
            flag = f"--{each.name.replace('_', '-')}"
            words += [flag] if value is True else [flag, str(getattr(value, "value", value))]
    return shlex.join(words)
