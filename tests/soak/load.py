"""Mixed load on a server whose versions come and go, and all that must hold meanwhile.

Even versions have other weights than odd ones, so that an answer tells, by its picture, which version it is from.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from benchmarks.memory import resident_mb
from styleserve import contract

from .requests import chunk_request, files_request, picture, regions_request, tensor_request

DEADLINE_S: Final = 300.0
"""Deadline of calls that are to succeed. They take a fraction of a second; other work may hold up the machine."""

LONG_STEPS: Final = 5000
"""More than any machine does in the moment before such a call is stopped."""

LABEL: Final = "stable"
_AVAILABLE: Final = get_model_status_pb2.ModelVersionStatus.AVAILABLE
_CODE: Final = grpc.StatusCode


@dataclass(frozen=True)
class Held:
    """Resources of the server's process."""

    resident_mb: float
    threads: int
    files: int

    @classmethod
    def by(cls, pid: int) -> Held:
        """Resources of a process now, from /proc of Linux."""
        process = Path(f"/proc/{pid}")
        return cls(
            resident_mb(pid) or 0.0, len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))
        )


@dataclass
class Seen:
    """Results of a soak test.

    Attributes:
        calls: by kind and status.
        swaps: Number of changes of version.
        held: by the server, between calls: after the warm-up, and later.
        faults: Faults, in words.
    """

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    swaps: int = 0
    held: list[Held] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{sum(self.calls.values())} calls, {self.swaps} versions swapped"]
        lines += [f"  {kind:10} {status:20} {count}" for (kind, status), count in sorted(self.calls.items())]
        lines += [f"  {held}" for held in self.held]
        return "\n".join([*lines, *self.faults])


class Load:
    """Load on one server.

    Args:
        address: Address of the server.
        pid: Number of its process.
        base_path: Path of its model, with the versions 1 and 2, of which it serves the latest two.
        sources: directories of odd and of even versions.
    """

    def __init__(self, address: str, pid: int, base_path: Path, sources: tuple[Path, Path]) -> None:
        self._pid = pid
        self._base_path = base_path
        self._sources = sources
        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._newest = 2  # that is known to serve
        self._label = (2, 2)  # where it stood before and after the reload that is under way, or was the last
        self._pictures: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
        self._noting = threading.Lock()
        self.seen = Seen()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def begin(self) -> None:
        """Sets the label, and looks at what each version paints."""
        self._reload(2)
        requests = {
            "tensor": tensor_request(),
            "files": files_request(),
            "regions": regions_request(),
            "chunks": chunk_request(),
        }
        for version in (1, 2):
            for kind, request in requests.items():
                reply = self._pinned(request, version)
                if kind == "chunks":
                    reply = self._pinned(chunk_request(reply), version)
                self._pictures[kind, version % 2] = picture(reply)
        for kind in requests:
            difference = np.abs(self._pictures[kind, 0] - self._pictures[kind, 1]).max()
            assert difference > 0.02, f"{kind}: versions look the same, difference {difference}"

    def run(self, seconds: float, *, swap_every_s: float, workers: int, seed: int) -> None:
        """Calls from several threads and swaps versions, then looks at what the server holds when all is quiet."""
        over = threading.Event()
        threads = [threading.Thread(target=self._work, args=(over, random.Random(seed + n))) for n in range(workers)]  # noqa: S311
        for thread in threads:
            thread.start()
        ends_at = time.monotonic() + seconds
        try:
            while (left_s := ends_at - time.monotonic()) > 0:
                time.sleep(min(left_s, swap_every_s / 2))
                self._swap()
                time.sleep(max(0.0, min(ends_at - time.monotonic(), swap_every_s / 2)))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self._wait_for(lambda: self._available() == {self._newest - 1, self._newest}, "two versions to be served")
        # A version that was unloaded is given back to the system a moment later.
        looks = [Held.by(self._pid)]
        for _ in range(20):
            time.sleep(0.1)
            looks.append(Held.by(self._pid))
        self.seen.held.append(min(looks, key=lambda held: held.resident_mb))

    def _work(self, over: threading.Event, chance: random.Random) -> None:
        kinds: dict[str, Callable[[random.Random], str]] = {
            "latest": self._call_latest,
            "pinned": self._call_pinned,
            "label": self._call_label,
            "files": self._call_files,
            "regions": self._call_regions,
            "chunks": self._call_chunks,
            "cancelled": self._call_and_cancel,
            "late": self._call_for_too_long,
            "refused": self._call_wrongly,
            "status": self._ask_status,
            "metadata": self._ask_metadata,
        }
        while not over.is_set():
            kind = chance.choice(list(kinds))
            try:
                status = kinds[kind](chance)
            except grpc.RpcError as error:
                status = error.code().name
                self._fault(kind, f"{status}: {error.details()}")
            except Exception as error:
                status = type(error).__name__
                self._fault(kind, repr(error))
            with self._noting:
                self.seen.calls[kind, status] += 1

    def _fault(self, kind: str, text: str) -> None:
        with self._noting:
            self.seen.faults.append(f"{kind}, newest version {self._newest}: {text}")

    def _call_latest(self, _: random.Random) -> str:
        least = self._newest
        reply = self._predict(tensor_request())
        self._check("tensor", reply, range(least, self._newest + 2))
        return "OK"

    def _call_pinned(self, chance: random.Random) -> str:
        newest = self._newest
        version = max(1, newest - chance.randrange(4))
        try:
            reply = self._pinned(tensor_request(), version)
        except grpc.RpcError as error:
            # The newest serves until two others have come.
            if error.code() is _CODE.NOT_FOUND and (version < newest or self._newest > newest + 1):
                return "NOT_FOUND"
            raise
        self._check("tensor", reply, [version])
        return "OK"

    def _call_label(self, _: random.Random) -> str:
        before = self._label
        request = tensor_request()
        request.model_spec.version_label = LABEL
        reply = self._predict(request)
        self._check("tensor", reply, range(min(before), max(self._label) + 1))
        return "OK"

    def _call_files(self, _: random.Random) -> str:
        least = self._newest
        self._check("files", self._predict(files_request()), range(least, self._newest + 2))
        return "OK"

    def _call_regions(self, _: random.Random) -> str:
        least = self._newest
        self._check("regions", self._predict(regions_request()), range(least, self._newest + 2))
        return "OK"

    def _call_chunks(self, _: random.Random) -> str:
        first = self._predict(chunk_request())
        version = first.model_spec.version.value
        try:
            reply = self._pinned(chunk_request(first), version)
        except grpc.RpcError as error:
            if error.code() is _CODE.NOT_FOUND and version < self._newest:
                return "NOT_FOUND"
            raise
        self._check("chunks", reply, [version])
        return "OK"

    def _call_and_cancel(self, chance: random.Random) -> str:
        call = self._prediction.Predict.future(tensor_request(LONG_STEPS), timeout=DEADLINE_S)
        time.sleep(chance.uniform(0.0, 0.3))
        call.cancel()
        assert call.code() is _CODE.CANCELLED, call.code()
        return "CANCELLED"

    def _call_for_too_long(self, chance: random.Random) -> str:
        return self._refused(tensor_request(LONG_STEPS), _CODE.DEADLINE_EXCEEDED, chance.uniform(0.05, 0.5))

    def _call_wrongly(self, _: random.Random) -> str:
        return self._refused(tensor_request(-1), _CODE.INVALID_ARGUMENT, DEADLINE_S)

    def _refused(self, request: predict_pb2.PredictRequest, code: grpc.StatusCode, timeout_s: float) -> str:
        try:
            self._prediction.Predict(request, timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is code:
                return code.name
            raise
        raise AssertionError(f"answered, where {code} was right")

    def _ask_status(self, _: random.Random) -> str:
        assert self._available(), "nothing serves"
        return "OK"

    def _ask_metadata(self, _: random.Random) -> str:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = contract.DEFAULT_MODEL_NAME
        assert self._prediction.GetModelMetadata(request, timeout=DEADLINE_S).metadata
        return "OK"

    def _check(self, kind: str, reply: predict_pb2.PredictResponse, allowed: Sequence[int]) -> None:
        version = reply.model_spec.version.value
        assert version in allowed, f"answered by version {version}, where {list(allowed)} were right"
        # Half a level of a PNG file, and what sums in another order make of it; versions differ by far more.
        away = np.abs(picture(reply) - self._pictures[kind, version % 2]).max()
        assert away < 0.01, f"version {version} is off its picture by {away}"

    def _swap(self) -> None:
        """A new version is renamed in, the label goes to it, and the oldest one is removed."""
        version = self._newest + 1
        staging = self._base_path / f".staging-{version}"
        shutil.copytree(self._sources[1 - version % 2], staging)
        staging.rename(self._base_path / str(version))
        self._wait_for(lambda: version in self._available(), f"version {version}")
        self._newest = version
        self._reload(version)
        self._reload_wrongly()
        gone = self._base_path / f".gone-{version - 2}"
        (self._base_path / str(version - 2)).rename(gone)
        shutil.rmtree(gone)
        self.seen.swaps += 1

    def _reload(self, version: int) -> None:
        self._label = (self._label[1], version)
        self._models.HandleReloadConfigRequest(self._configuration(version), timeout=DEADLINE_S)

    def _reload_wrongly(self) -> None:
        try:
            self._models.HandleReloadConfigRequest(self._configuration(10**9), timeout=DEADLINE_S)
        except grpc.RpcError as error:
            if error.code() is not _CODE.FAILED_PRECONDITION:
                self._fault("reload", f"{error.code()}: {error.details()}")
        else:
            self._fault("reload", "a label for a version that is not there was taken")

    def _configuration(self, version: int) -> model_management_pb2.ReloadConfigRequest:
        request = model_management_pb2.ReloadConfigRequest()
        config = request.config.model_config_list.config.add(
            name=contract.DEFAULT_MODEL_NAME, base_path=str(self._base_path), model_platform="tensorflow"
        )
        config.model_version_policy.latest.num_versions = 2
        config.version_labels[LABEL] = version
        return request

    def _available(self) -> set[int]:
        spec = model_pb2.ModelSpec(name=contract.DEFAULT_MODEL_NAME)
        reply = self._models.GetModelStatus(
            get_model_status_pb2.GetModelStatusRequest(model_spec=spec), timeout=DEADLINE_S
        )
        return {each.version for each in reply.model_version_status if each.state == _AVAILABLE}

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        ends_at = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > ends_at:
                raise AssertionError(f"waited in vain for {what}; {self._available()} serve\n{self.seen}")
            time.sleep(0.05)

    def _predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        return self._prediction.Predict(request, timeout=DEADLINE_S)

    def _pinned(self, request: predict_pb2.PredictRequest, version: int) -> predict_pb2.PredictResponse:
        request.model_spec.version.value = version
        return self._predict(request)
