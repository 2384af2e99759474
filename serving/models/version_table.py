"""Table of the versions of all models: which one serves a request, and which are to load and to unload."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from ..errors import LoadError, NotFoundError, RequestError
from ..requests.limits import ModelLimits
from .aspired_versions import AspiredVersions
from .lifecycle import AVAILABLE, END, UNLOADING, Version
from .servable import Servable

logger = logging.getLogger(__name__)


class VersionTable:
    """Versions of all models. Thread-safe; its lock is never held while a version loads or unloads.

    Args:
        on_unload: Called after a version was unloaded.
    """

    def __init__(self, on_unload: Callable[[], None]) -> None:
        self._on_unload = on_unload
        self.lock = threading.Lock()
        self._models: dict[str, dict[int, Version]] = {}
        self._labels: dict[str, dict[str, int]] = {}

    @contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Generator[Servable]:
        """Context of the servable for a request, which stays loaded inside.

        Raises:
            RequestError: The name is empty or the label unknown.
            NotFoundError: There is no such model or version.
        """
        with self.lock:
            version, servable = self._find(spec)
            version.calls += 1
        try:
            yield servable
        finally:
            with self.lock:
                version.calls -= 1
            self._unload_if_idle(version)

    def status(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """Status of one version, or of all versions of a model, newest first.

        Raises:
            RequestError: The name is empty or the label unknown.
            NotFoundError: There is no such model or version.
        """
        with self.lock:
            number = self._number(spec)
            versions = self._models.get(spec.name, {})
            if number is not None and number not in versions:
                raise NotFoundError(f"Could not find version {number} of model {spec.name}")
            if not versions:
                raise NotFoundError(f"Could not find any versions of model {spec.name}")
            numbers = sorted(versions, reverse=True) if number is None else [number]
            return [versions[number].status() for number in numbers]

    def available(self) -> dict[str, dict[int, Path]]:
        """Directories of the available versions, by model and number."""
        with self.lock:
            return {
                model: {version.number: version.path for version in _available(versions)}
                for model, versions in self._models.items()
            }

    def limits(self) -> list[ModelLimits]:
        """Limits of the loaded versions that have them."""
        with self.lock:
            servables = [version.servable for versions in self._models.values() for version in versions.values()]
            return [servable.limits for servable in servables if servable is not None and servable.limits is not None]

    def errors(self) -> dict[str, dict[int, LoadError]]:
        """Errors of versions that did not load, by model and number."""
        with self.lock:
            return {
                model: {number: version.error for number, version in versions.items() if version.error is not None}
                for model, versions in self._models.items()
            }

    def set_labels(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        """Sets the version of each label, by model."""
        with self.lock:
            self._labels = {model: dict(versions) for model, versions in labels.items()}

    def to_load(self, aspired: AspiredVersions, now: float) -> tuple[list[Version], list[Version]]:
        """Aspired versions that are new, and those whose load failed and is due again."""
        new: list[Version] = []
        due: list[Version] = []
        with self.lock:
            for model, paths in aspired.items():
                versions = self._models.setdefault(model, {})
                for number, path in paths.items():
                    known = versions.get(number)
                    if known is not None and known.path == path and (known.error or known.state == AVAILABLE):
                        if known.is_due(now):
                            due.append(known)
                        continue
                    version = Version(model, number, path)
                    if known is None or known.error or known.state == END:
                        versions[number] = version
                    new.append(version)
        return new, due

    def publish(self, version: Version) -> None:
        """Makes a loaded version available, in place of one with the same number."""
        with self.lock:
            versions = self._models.setdefault(version.model, {})
            previous = versions.get(version.number)
            version.state = AVAILABLE
            versions[version.number] = version
            if previous is not None and previous is not version and previous.servable is not None:
                previous.state = UNLOADING
        if previous is not None:
            self._unload_if_idle(previous)

    def discard(self, versions: Iterable[Version]) -> None:
        """Unloads versions that were loaded and not published."""
        for version in versions:
            with self.lock:
                version.state = UNLOADING
            self._unload_if_idle(version)

    def retire(self, aspired: AspiredVersions) -> bool:
        """Unloads available versions that are not aspired, each after its last call; returns whether there are any.

        While no aspired version of a model is available, its old versions stay.
        """
        retired: list[Version] = []
        with self.lock:
            for model, versions in self._models.items():
                paths, available = aspired.get(model, {}), _available(versions)
                replaced = [version for version in available if paths.get(version.number) != version.path]
                if paths and len(replaced) == len(available):
                    continue
                for version in replaced:
                    version.state = UNLOADING
                retired += replaced
        for version in retired:
            logger.info("%s takes no more calls", version)
            self._unload_if_idle(version)
        return bool(retired)

    def end_retries(self, aspired: AspiredVersions) -> None:
        """Ends versions that did not load and are no longer aspired."""
        with self.lock:
            for model, versions in self._models.items():
                for number, version in versions.items():
                    if version.error is not None and aspired.get(model, {}).get(number) != version.path:
                        version.end_retries()

    def remove_ended(self, configured: Iterable[str]) -> None:
        """Removes ended versions of models that are not configured: configurations may bring any number of names."""
        with self.lock:
            for model in self._models.keys() - set(configured):
                versions = self._models[model]
                for number in [number for number, version in versions.items() if version.state == END]:
                    del versions[number]
                if not versions:
                    del self._models[model]

    def _find(self, spec: model_pb2.ModelSpec) -> tuple[Version, Servable]:
        number = self._number(spec)
        versions = self._models.get(spec.name, {})
        latest = max((version.number for version in _available(versions)), default=None)
        chosen = latest if number is None else number
        version = None if chosen is None else versions.get(chosen)
        if version is None or version.state != AVAILABLE or version.servable is None:
            which = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise NotFoundError(f"Servable not found for request: {which}")
        return version, version.servable

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        if not spec.name:
            raise RequestError("ModelSpec has no name specified.")
        if spec.WhichOneof("version_choice") == "version_label":
            labels = self._labels.get(spec.name, {})
            if spec.version_label not in labels:
                raise RequestError(f"Unrecognized servable version label: {spec.version_label}")
            return labels[spec.version_label]
        return spec.version.value if spec.HasField("version") else None

    def _unload_if_idle(self, version: Version) -> None:
        with self.lock:
            if version.state != UNLOADING or version.calls:
                return
            version.state = END
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
            self._on_unload()
            logger.info("%s is unloaded", version)


def _available(versions: Mapping[int, Version]) -> list[Version]:
    return [version for version in versions.values() if version.state == AVAILABLE]
