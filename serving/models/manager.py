"""Manager of models: loads aspired versions, replaces old ones and unloads them.

A version is loaded and warmed up before it takes a call. The previous version is unloaded after its last call, and
serves on while the new one does not load or the disk is not readable.

A version that does not load is retried, with TensorFlow Serving's limit and interval: the disk may be away, memory
short, a copy incomplete. It is LOADING until the next retry; after the last one it stays ENDed until it is removed and
added again, or has a new number. By default TensorFlow Serving loads nothing else while it waits for a retry; here the
retry comes with a later poll, after new versions. A configuration fails at its first failed load.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from styleserve.memory import give_back_freed_memory
from styleserve.version_directories import other_names

from ..call import ActiveCalls
from ..errors import LoadError, PreconditionError, ServingError
from ..requests.limits import ModelLimits
from .aspired_versions import AspiredVersions, VersionSource, aspired_versions, unavailable
from .lifecycle import END, LOADING, LoadRetries, Version
from .model_card import slow_on_this_machine
from .servable import Servable
from .session import SessionSettings
from .version_policy import ModelConfig
from .version_table import VersionTable
from .warmup import warm_up

logger = logging.getLogger(__name__)


class ModelManager:
    """Models of a server. Thread-safe.

    Args:
        settings: Settings of sessions.
        on_change: Called after any version started or stopped to serve.
        on_load: Called after any attempt to load a SavedModel, with its path, the seconds, and whether it succeeded.
        retries: Retries of versions that do not load.
        clock: Clock of the retries, in seconds.
    """

    def __init__(
        self,
        settings: SessionSettings,
        on_change: Callable[[], object] = lambda: None,
        on_load: Callable[[Path, float, bool], None] = lambda _path, _seconds, _success: None,
        retries: LoadRetries | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._on_load = on_load
        self._retries = retries or LoadRetries()
        self._clock = clock
        self._freed = threading.Event()  # set while freed memory of versions was not given back
        self._table = VersionTable(on_unload=self._freed.set)
        self._changing = threading.Lock()  # one poll or reload at a time
        self._configs: dict[str, ModelConfig] = {}
        self._source = VersionSource()
        self._aspired: AspiredVersions = {}  # at the last poll, by the current configuration
        self._closed = threading.Event()
        self._load_refusal: ServingError | None = None
        self._warm_ups = ActiveCalls()
        self._poller: threading.Thread | None = None

    def start_polling(self, interval_s: float) -> None:
        """Starts a thread that polls for new versions."""
        self._poller = threading.Thread(
            target=self._poll_forever, args=(interval_s,), name="version-poller", daemon=True
        )
        self._poller.start()

    def cancel_loads(self, reason: ServingError) -> None:
        """Cancels the loads that run, as soon as TensorFlow allows it, and refuses later ones. Served versions stay.

        Args:
            reason: Error for those who wait for a load.
        """
        self._load_refusal = reason
        self._closed.set()
        self._warm_ups.cancel_all(reason)

    def close(self) -> None:
        """Stops polling and unloads everything, each version after its last call."""
        self._closed.set()
        if self._poller is not None:
            self._poller.join()
        with self._changing:
            self._configs = {}
            self._table.set_labels({})
            self._retire({})

    def poll(self) -> None:
        """Loads the aspired versions on disk and unloads others."""
        with self._changing:
            if self._closed.is_set():
                return
            self._aspired = self._source.poll(self._configs.values(), self._available)
            self._table.end_retries(self._aspired)
            new, due = self._table.to_load(self._aspired, self._clock())
            # Retries come last, so that new versions and unloading do not wait for them.
            for versions in (new, due):
                for version in self._loaded(versions):
                    self._publish([version])
                self._retire(self._aspired)

    def reload(self, configs: Mapping[str, ModelConfig]) -> None:
        """Changes to a new configuration once all of it is ready, or keeps the old one.

        Raises:
            ModelsUnavailableError: A model has no aspired version that loads.
            PreconditionError: A label names a version that would not be available.
            ServingError: Loading was cancelled, with the reason given then.
        """
        with self._changing:
            self._raise_if_cancelled()
            self._table.remove_ended(self._configs)
            aspired = aspired_versions(configs.values())
            staged = list(self._loaded(itertools.chain(*self._table.to_load(aspired, self._clock()))))
            try:
                self._raise_if_cancelled()
                self._check(configs, aspired, staged)
            except ServingError:
                self._table.discard(staged)
                self._table.end_retries(self._aspired)
                raise
            self._publish(staged)
            self._configs = dict(configs)
            # Labels change after the versions are published, so that they never name one that is not available.
            self._table.set_labels({name: dict(config.labels) for name, config in configs.items()})
            self._aspired = aspired
            self._table.end_retries(aspired)
            self._retire(aspired)

    def use(self, spec: model_pb2.ModelSpec) -> AbstractContextManager[Servable]:
        """Context of the servable for a request, which stays loaded inside; see `VersionTable.use`."""
        return self._table.use(spec)

    def status(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """Status of one version, or of all versions of a model; see `VersionTable.status`."""
        return self._table.status(spec)

    def serving(self) -> dict[str, list[int]]:
        """Available versions of each model."""
        return {model: sorted(paths) for model, paths in self._table.available().items()}

    def limits(self) -> list[ModelLimits]:
        """Limits of the loaded versions that have them."""
        return self._table.limits()

    def failures(self) -> list[LoadError]:
        """Errors of versions that did not load."""
        return [error for errors in self._table.errors().values() for error in errors.values()]

    def _poll_forever(self, interval_s: float) -> None:
        while not self._closed.wait(interval_s):
            try:
                self.poll()
            except Exception:  # the next poll may succeed
                logger.exception("looking for new versions failed")
            # Not at the unloading itself, which may run in the thread of a call whose client waits.
            if self._freed.is_set():
                self._freed.clear()
                give_back_freed_memory()

    def _raise_if_cancelled(self) -> None:
        if self._load_refusal is not None:
            raise self._load_refusal.copy()

    def _available(self, model: str) -> dict[int, Path]:
        return self._table.available().get(model, {})

    def _loaded(self, versions: Iterable[Version]) -> Iterator[Version]:
        """Yields each version that loads, once it is loaded."""
        for version in versions:
            if self._closed.is_set():
                return
            if self._load(version):
                yield version

    def _load(self, version: Version) -> bool:
        retry = f" at retry {version.failures} of {self._retries.limit}" if version.failures else ""
        version.state = LOADING
        servable = None
        started = time.monotonic()
        try:
            servable = Servable(version.path, version.number, self._settings)
            self._on_load(version.path, time.monotonic() - started, True)
            if not servable.on_gpu and (slow := slow_on_this_machine(version.path)):
                logger.warning("%s %s", version, slow)
            requests = warm_up(servable, self._warm_ups)
            self._raise_if_cancelled()
        except Exception as error:  # a broken version must not stop the poller
            cancelled = self._load_refusal is not None
            if cancelled:
                logger.info("%s is given up while it loads: %s", version, error)
            else:
                logger.error("%s does not load%s: %s", version, retry, error)
            if servable is None:
                self._on_load(version.path, time.monotonic() - started, False)
            else:
                servable.close()
            with self._table.lock:
                # A new error, because the traceback of this one holds the graph.
                version.load_failed(LoadError(str(error)), self._clock(), self._retries)
                if cancelled:
                    version.state = END
            self._freed.set()
            return False
        logger.info("%s is loaded; %d warm-up requests replayed", version, requests)
        if others := other_names(version.path):
            logger.warning("%s is loaded from %s; ignored are %s", version, version.path, ", ".join(others))
        with self._table.lock:
            version.servable, version.error, version.failures = servable, None, 0
        return True

    def _publish(self, versions: Iterable[Version]) -> None:
        for version in versions:
            self._table.publish(version)
            self._on_change()

    def _retire(self, aspired: AspiredVersions) -> None:
        if self._table.retire(aspired):
            self._on_change()

    def _check(self, configs: Mapping[str, ModelConfig], aspired: AspiredVersions, staged: Iterable[Version]) -> None:
        """Checks that each model of a configuration would have a version, and each label as well."""
        ready = {name: self._ready(config, aspired[name], staged) for name, config in configs.items()}
        errors = self._table.errors()
        faults = {
            name: "; ".join(error.message for number, error in errors.get(name, {}).items() if number in aspired[name])
            for name in configs
            if not ready[name]
        }
        if faults:
            raise unavailable({name: fault or "see the server's log" for name, fault in faults.items()})
        for name, config in configs.items():
            for label, number in config.labels:
                if number not in ready[name]:
                    raise PreconditionError(
                        f"Request to assign label to version {number} of model {name}, "
                        f"which is not currently available for inference (label {label})"
                    )

    def _ready(self, config: ModelConfig, aspired: Mapping[int, Path], staged: Iterable[Version]) -> set[int]:
        """Versions of a model that would be available."""
        available = self._available(config.name)
        ready = {version.number for version in staged if version.model == config.name}
        ready |= {number for number, path in available.items() if aspired.get(number) == path}
        previous = self._configs.get(config.name)
        if not ready and previous is not None and replace(previous, labels=()) == replace(config, labels=()):
            # No aspired version loads, as before: the old ones serve, and their labels may change.
            return set(available)
        return ready
