"""Loads, swaps and unloads versions: what is on disk and in the configuration becomes what is served.

A version is loaded and warmed up before it takes a call. The one before it is unloaded when its last call has ended,
and goes on serving while the new one does not load, or the disk cannot be read.

A version that does not load is tried again, as often and as far apart as TensorFlow Serving does it: a disk may have
been away, memory short, a copy not complete. Until the next try it is LOADING; after the last one it is dead until it
goes and comes back, or has a new number. TensorFlow Serving, as it comes, waits for the try and loads nothing else
meanwhile; here it is made at a later look, after what is new was loaded. A configuration is answered at the first
failure.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from styleserve.memory import give_back_freed_memory
from styleserve.version_directories import other_names

from ..call import OpenCalls
from ..errors import LoadError, NotFoundError, PreconditionError, RequestError, ServingError
from ..requests.limits import ModelLimits
from .aspired_versions import Looks, Wanted, unavailable, wanted_anew
from .lifecycle import AVAILABLE, END, LOADING, UNLOADING, LoadRetries, Version
from .model_card import slow_on_this_machine
from .servable import Servable, SessionSettings
from .version_policy import ModelConfig
from .warmup import warm_up

logger = logging.getLogger(__name__)

_Table = dict[str, dict[int, Version]]


class ModelManager:
    """The models of a server. All methods may be called from any thread.

    Args:
        settings: how sessions are made.
        on_change: called after any version started or stopped to serve.
        on_load: called after any attempt to load a SavedModel, with its path, the seconds it took, and whether it
            succeeded.
        retries: how often a version that does not load is tried again.
        clock: seconds, from which the time between tries is told.
    """

    def __init__(
        self,
        settings: SessionSettings,
        on_change: Callable[[], None] = lambda: None,
        on_load: Callable[[Path, float, bool], None] = lambda _path, _seconds, _success: None,
        retries: LoadRetries | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._on_load = on_load
        self._retries = retries or LoadRetries()
        self._clock = clock
        self._lock = threading.Lock()  # guards the table; never held while loading
        self._changing = threading.Lock()  # one poll or reload at a time
        self._configs: dict[str, ModelConfig] = {}
        self._table: _Table = {}
        self._looks = Looks()
        self._wanted: Wanted = {}  # by the configuration in force, at the last look
        self._closed = threading.Event()
        self._refusal: ServingError | None = None  # of whoever wants something loaded
        self._warm_ups = OpenCalls()
        self._freed = threading.Event()  # a version's memory was, and not given back since
        self._poller: threading.Thread | None = None

    def watch(self, every_s: float) -> None:
        """Looks for new versions from now on, every so many seconds."""
        self._poller = threading.Thread(target=self._watch, args=(every_s,), name="version-poller", daemon=True)
        self._poller.start()

    def stop_loading(self, why: ServingError) -> None:
        """Gives up what is being loaded, as soon as TensorFlow lets go of it; what serves goes on.

        Args:
            why: what is told to those who wait for it, and to those who still come.
        """
        self._refusal = why
        self._closed.set()
        self._warm_ups.give_up(why)

    def close(self) -> None:
        """Stops watching and unloads everything; calls still inside end first."""
        self._closed.set()
        if self._poller is not None:
            self._poller.join()
        with self._changing:
            self._configs = {}
            self._retire({})

    def poll(self) -> None:
        """Brings what is served in line with what is on disk, now."""
        with self._changing:
            if self._closed.is_set():
                return
            self._wanted = self._looks.wanted(self._configs.values(), self._paths_serving)
            self._give_up_unwanted()
            new, due = self._missing(self._wanted)
            # What failed before comes last: what is new does not wait for it, nor what is old to be unloaded.
            for versions in (new, due):
                for version in self._loaded(versions):
                    self._publish([version])
                self._retire(self._wanted)

    def reload(self, configs: Mapping[str, ModelConfig]) -> None:
        """Changes to a new configuration when all of it is ready, or leaves the old one as it is.

        Raises:
            ModelsUnavailableError: a model has no version that can be loaded, of those that are asked for.
            PreconditionError: a label names a version that would not be served.
            ServingError: loading was stopped; what was said then.
        """
        with self._changing:
            self._go_on_loading()
            self._forget()
            wanted = wanted_anew(configs.values())
            staged = list(self._loaded(itertools.chain(*self._missing(wanted))))
            try:
                self._go_on_loading()
                self._check(configs, wanted, staged)
            except ServingError:
                self._discard(staged)
                self._give_up_unwanted()
                raise
            self._publish(staged)
            self._configs = dict(configs)  # after that, so that a label never names what does not serve yet
            self._wanted = wanted
            self._give_up_unwanted()
            self._retire(wanted)

    @contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Generator[Servable]:
        """The servable a request asks for; it stays loaded while in use.

        Raises:
            RequestError: the name is empty or the label unknown.
            NotFoundError: there is no such model or version.
        """
        with self._lock:
            version, servable = self._find(spec)
            version.calls += 1
        try:
            yield servable
        finally:
            with self._lock:
                version.calls -= 1
            self._unload_if_idle(version)

    def status(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """State of the version asked for, or of all versions, newest first.

        Raises:
            RequestError: the name is empty or the label unknown.
            NotFoundError: there is no such model or version.
        """
        with self._lock:
            number = self._number(spec)
            versions = self._table.get(spec.name, {})
            if number is not None and number not in versions:
                raise NotFoundError(f"Could not find version {number} of model {spec.name}")
            if not versions:
                raise NotFoundError(f"Could not find any versions of model {spec.name}")
            numbers = sorted(versions, reverse=True) if number is None else [number]
            return [versions[number].status() for number in numbers]

    def serving(self) -> dict[str, list[int]]:
        """Versions of each model that take calls."""
        with self._lock:
            return {model: sorted(version.number for version in self._serving(model)) for model in self._table}

    def limits(self) -> list[ModelLimits]:
        """Limits of the versions that take calls, as far as they tell."""
        with self._lock:
            servables = [version.servable for versions in self._table.values() for version in versions.values()]
            return [servable.limits for servable in servables if servable is not None and servable.limits is not None]

    def failures(self) -> list[LoadError]:
        """Why versions that are wanted did not load."""
        with self._lock:
            return [
                version.error for versions in self._table.values() for version in versions.values() if version.error
            ]

    def _watch(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            self._poll_and_outlive()
            # Here, and not where a version is unloaded: that may be the thread of its last call, whose client waits.
            if self._freed.is_set():
                self._freed.clear()
                give_back_freed_memory()

    def _poll_and_outlive(self) -> None:
        try:
            self.poll()
        except Exception:  # whatever a disk or a file can do, the next look may be fine
            logger.exception("looking for new versions failed")

    def _find(self, spec: model_pb2.ModelSpec) -> tuple[Version, Servable]:
        number = self._number(spec)
        versions = self._table.get(spec.name, {})
        available = [item for item, version in versions.items() if version.state == AVAILABLE]
        wanted = max(available, default=None) if number is None else number
        version = None if wanted is None else versions.get(wanted)
        if version is None or version.state != AVAILABLE or version.servable is None:
            which = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise NotFoundError(f"Servable not found for request: {which}")
        return version, version.servable

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        if not spec.name:
            raise RequestError("ModelSpec has no name specified.")
        if spec.WhichOneof("version_choice") == "version_label":
            config = self._configs.get(spec.name)
            labels = dict(config.labels) if config else {}
            if spec.version_label not in labels:
                raise RequestError(f"Unrecognized servable version label: {spec.version_label}")
            return labels[spec.version_label]
        return spec.version.value if spec.HasField("version") else None

    def _go_on_loading(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _serving(self, model: str) -> list[Version]:
        return [version for version in self._table.get(model, {}).values() if version.state == AVAILABLE]

    def _paths_serving(self, model: str) -> dict[int, Path]:
        with self._lock:
            return {version.number: version.path for version in self._serving(model)}

    def _missing(self, wanted: Wanted) -> tuple[list[Version], list[Version]]:
        """Of the versions that are wanted, those that are new, and those that did not load and are due again."""
        new: list[Version] = []
        due: list[Version] = []
        now = self._clock()
        with self._lock:
            for name, paths in wanted.items():
                table = self._table.setdefault(name, {})
                for number, path in paths.items():
                    known = table.get(number)
                    if known is not None and known.path == path and (known.error or known.state == AVAILABLE):
                        if known.is_due(now):
                            due.append(known)
                        continue
                    version = Version(name, number, path)
                    if known is None or known.error or known.state == END:
                        table[number] = version
                    new.append(version)
        return new, due

    def _loaded(self, versions: Iterable[Version]) -> Iterator[Version]:
        """Those that load, each when it has."""
        for version in versions:
            if self._closed.is_set():
                return
            if self._load(version):
                yield version

    def _give_up_unwanted(self) -> None:
        """Of versions that did not load, those that are not wanted any more wait for nothing."""
        with self._lock:
            for model, versions in self._table.items():
                for number, version in versions.items():
                    if version.error is not None and self._wanted.get(model, {}).get(number) != version.path:
                        version.given_up()

    def _load(self, version: Version) -> bool:
        retry = f" at retry {version.failures} of {self._retries.most}" if version.failures else ""
        version.state = LOADING
        servable = None
        began = time.monotonic()
        try:
            servable = Servable(version.path, version.number, self._settings)
            self._on_load(version.path, time.monotonic() - began, True)
            if not servable.on_gpu and (slow := slow_on_this_machine(version.path)):
                logger.warning("%s %s", version, slow)
            requests = warm_up(servable, self._warm_ups)
            self._go_on_loading()
        except Exception as error:  # a broken version must not stop the poller, whatever TensorFlow makes of it
            if error is self._refusal:
                logger.info("%s is given up while it loads: %s", version, error)
            else:
                logger.error("%s does not load%s: %s", version, retry, error)
            if servable is None:
                self._on_load(version.path, time.monotonic() - began, False)
            else:
                servable.close()
            with self._lock:
                # A new one: the one that was raised holds the graph that was being loaded, by its traceback.
                version.failed(LoadError(str(error)), self._clock(), self._retries)
                if error is self._refusal:
                    version.state = END
            self._freed.set()
            return False
        logger.info("%s is loaded; %d warm-up requests replayed", version, requests)
        if others := other_names(version.path):
            logger.warning("%s is loaded from %s; ignored are %s", version, version.path, ", ".join(others))
        with self._lock:
            version.servable, version.error, version.failures = servable, None, 0
        return True

    def _publish(self, versions: Iterable[Version]) -> None:
        for version in versions:
            with self._lock:
                table = self._table.setdefault(version.model, {})
                before = table.get(version.number)
                version.state = AVAILABLE
                table[version.number] = version
                if before is not None and before is not version and before.servable is not None:
                    before.state = UNLOADING
            if before is not None:
                self._unload_if_idle(before)
            self._on_change()

    def _discard(self, versions: Iterable[Version]) -> None:
        for version in versions:
            with self._lock:
                version.state = UNLOADING
            self._unload_if_idle(version)

    def _forget(self) -> None:
        """Drops models that are not configured and have ended: any number of names may come in configurations."""
        with self._lock:
            for model in self._table.keys() - self._configs.keys():
                versions = self._table[model]
                for number in [number for number, version in versions.items() if version.state == END]:
                    del versions[number]
                if not versions:
                    del self._table[model]

    def _check(self, configs: Mapping[str, ModelConfig], wanted: Wanted, staged: Iterable[Version]) -> None:
        ready = {name: self._ready(config, wanted[name], staged) for name, config in configs.items()}
        missing = {name: self._why_none(name, wanted[name]) for name in configs if not ready[name]}
        if missing:
            raise unavailable(missing)
        for name, config in configs.items():
            for label, number in config.labels:
                if number not in ready[name]:
                    raise PreconditionError(
                        f"Request to assign label to version {number} of model {name}, "
                        f"which is not currently available for inference (label {label})"
                    )

    def _ready(self, config: ModelConfig, wanted: Mapping[int, Path], staged: Iterable[Version]) -> set[int]:
        """Versions that would serve."""
        serving = self._paths_serving(config.name)
        ready = {version.number for version in staged if version.model == config.name}
        ready |= {number for number, path in serving.items() if wanted.get(number) == path}
        before = self._configs.get(config.name)
        if not ready and before is not None and replace(before, labels=()) == replace(config, labels=()):
            # All that is wanted is broken, and was before: the old ones serve, and their labels may be moved.
            return set(serving)
        return ready

    def _why_none(self, model: str, wanted: Mapping[int, Path]) -> str:
        with self._lock:
            known = [self._table.get(model, {}).get(number) for number in wanted]
            errors = [version.error.message for version in known if version is not None and version.error is not None]
        return "; ".join(errors) or "see the server's log"

    def _retire(self, wanted: Wanted) -> None:
        retired: list[Version] = []
        with self._lock:
            for model in self._table:
                asked, serving = wanted.get(model, {}), self._serving(model)
                replaced = [version for version in serving if asked.get(version.number) != version.path]
                # While nothing that is wanted serves, the old version stays.
                if asked and len(replaced) == len(serving):
                    continue
                for version in replaced:
                    version.state = UNLOADING
                retired += replaced
        for version in retired:
            logger.info("%s takes no more calls", version)
            self._unload_if_idle(version)
        if retired:
            self._on_change()

    def _unload_if_idle(self, version: Version) -> None:
        with self._lock:
            if version.state != UNLOADING or version.calls:
                return
            version.state = END
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
            self._freed.set()
            logger.info("%s is unloaded", version)
