"""Aspired versions: the versions on disk that the configuration asks for, as in TensorFlow Serving."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from styleserve.version_directories import misplaced

from ..errors import ModelsUnavailableError
from .version_policy import ModelConfig

logger = logging.getLogger(__name__)

AspiredVersions = dict[str, dict[int, Path]]
"""Directories of the versions to serve, by model and number."""


class VersionSource:
    """Source that polls base paths, and logs once when one becomes unreadable and once when it is readable again."""

    def __init__(self) -> None:
        self._unreadable: set[str] = set()

    def poll(self, configs: Iterable[ModelConfig], serving: Callable[[str], dict[int, Path]]) -> AspiredVersions:
        """Aspired versions of configured models.

        Args:
            configs: Configurations of the models.
            serving: Returns the versions of a model that are served. They stay aspired while its base path is not
                readable, which may last a second.
        """
        aspired: AspiredVersions = {}
        for config in configs:
            versions, fault = _read(config)
            if fault and config.name not in self._unreadable:
                logger.warning("model %s: %s; its versions stay until it can be read", config.name, fault)
                self._unreadable.add(config.name)
            elif not fault and config.name in self._unreadable:
                logger.info("model %s: %s can be read again", config.name, config.base_path)
                self._unreadable.discard(config.name)
            aspired[config.name] = serving(config.name) if fault else versions
        return aspired


def aspired_versions(configs: Iterable[ModelConfig]) -> AspiredVersions:
    """Aspired versions of a new configuration, at least one for each model.

    Raises:
        ModelsUnavailableError: A base path is not readable, or has no such version.
    """
    aspired: AspiredVersions = {}
    faults: dict[str, str] = {}
    for config in configs:
        versions, fault = _read(config)
        if fault or not versions:
            faults[config.name] = fault or _why_none(config)
        aspired[config.name] = versions
    if faults:
        raise unavailable(faults)
    return aspired


def unavailable(faults: Mapping[str, str]) -> ModelsUnavailableError:
    """Error that lists models, in TensorFlow Serving's form, and the fault of each."""
    reasons = "; ".join(f"{name}: {fault}" for name, fault in sorted(faults.items()))
    return ModelsUnavailableError(f"Some models did not become available: {{{', '.join(sorted(faults))}}}. {reasons}")


def _why_none(config: ModelConfig) -> str:
    near = misplaced(config.base_path)
    if near is None:
        return f"{config.base_path} has no version that is asked for"
    remedy = "" if near.base_path is None else f' as base_path: "{near.base_path}"'
    return f"{config.base_path} {near.fault}{remedy}"


def _read(config: ModelConfig) -> tuple[dict[int, Path], str]:
    """Aspired versions of a model, and the fault of its base path."""
    try:
        return config.aspired_versions(), ""
    except OSError as error:
        return {}, f"cannot read {config.base_path}: {error.strerror or error}"
