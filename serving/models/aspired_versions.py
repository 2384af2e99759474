"""Which versions are to serve, at one look at the disk: told apart from a disk that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from styleserve.version_directories import misplaced

from ..errors import ModelsUnavailableError
from .version_policy import ModelConfig

logger = logging.getLogger(__name__)

Wanted = dict[str, dict[int, Path]]
"""Of each model, where the versions lie that are to serve, by number."""


class Looks:
    """Looks again and again, and says once when a disk cannot be read, and once when it can again."""

    def __init__(self) -> None:
        self._unreadable: set[str] = set()

    def wanted(self, configs: Iterable[ModelConfig], serving: Callable[[str], dict[int, Path]]) -> Wanted:
        """What is asked for of what is there.

        Args:
            configs: of the models.
            serving: what serves now, of a model. That is wanted where its disk cannot be read: it may be there again in
                a second.
        """
        found: Wanted = {}
        for config in configs:
            versions, trouble = _look(config)
            if trouble and config.name not in self._unreadable:
                logger.warning("model %s: %s; what serves goes on until it can be read", config.name, trouble)
                self._unreadable.add(config.name)
            elif not trouble and config.name in self._unreadable:
                logger.info("model %s: %s can be read again", config.name, config.base_path)
                self._unreadable.discard(config.name)
            found[config.name] = serving(config.name) if trouble else versions
        return found


def wanted_anew(configs: Iterable[ModelConfig]) -> Wanted:
    """What a new configuration asks for: of each model something.

    Raises:
        ModelsUnavailableError: a disk cannot be read, or has no such version; perhaps what was asked for is mistyped.
    """
    found: Wanted = {}
    missing: dict[str, str] = {}
    for config in configs:
        versions, trouble = _look(config)
        if trouble or not versions:
            missing[config.name] = trouble or _why_none(config)
        found[config.name] = versions
    if missing:
        raise unavailable(missing)
    return found


def unavailable(reasons: Mapping[str, str]) -> ModelsUnavailableError:
    """The error that names models, as TensorFlow Serving does, and then of each why."""
    why = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
    return ModelsUnavailableError(f"Some models did not become available: {{{', '.join(sorted(reasons))}}}. {why}")


def _why_none(config: ModelConfig) -> str:
    near = misplaced(config.base_path)
    if near is None:
        return f"{config.base_path} has no version that is asked for"
    remedy = "" if near.base_path is None else f' as base_path: "{near.base_path}"'
    return f"{config.base_path} {near.fault}{remedy}"


def _look(config: ModelConfig) -> tuple[dict[int, Path], str]:
    try:
        return config.wanted(), ""
    except OSError as error:
        return {}, f"cannot read {config.base_path}: {error.strerror or error}"
