"""The servers that the contract suite runs against: the embedded one, and a real one where it is to be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from styleserve.contract import CONTRACT_VERSION, DEFAULT_MODEL_NAME, PAINT, SERVING_DEFAULT
from styleserve.serving import EmbeddedServer, ServerSettings
from tests.serving.conftest import add_stand_in

from ..ports import free_port
from .pictures import noise

__all__ = ["add_stand_in"]

REAL_SERVER = "STYLESERVE_MODEL_SERVER"
EMBEDDED_CALLS = 4
START_S = 120.0


class Target:
    """A running server and a client of it, on the official stubs."""

    def __init__(self, address: str, base_path: Path, *, embedded: bool) -> None:
        self.address = address
        self.base_path = base_path
        self.embedded = embedded
        self.channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def request(self, signature: str = SERVING_DEFAULT, **inputs: Any) -> predict_pb2.PredictRequest:
        """A Predict request; arrays go into `tensor_content`, lists (of lists) of bytes into `string_val`."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = DEFAULT_MODEL_NAME
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            array = np.asarray(value, dtype=object if isinstance(value, list) else None)
            proto = request.inputs[name]
            proto.dtype = {"f": 1, "d": 2, "i": 3, "l": 9, "O": 7}[array.dtype.char]
            for size in array.shape:
                proto.tensor_shape.dim.add(size=size)
            if array.dtype == object:
                proto.string_val.extend(array.reshape(-1).tolist())
            else:
                proto.tensor_content = array.tobytes()
        return request

    def images(self, signature: str = SERVING_DEFAULT, *, steps: int = 1, **inputs: Any) -> predict_pb2.PredictRequest:
        """A good request for a signature of images; `inputs` are added or take the place of the good ones."""
        random = np.random.default_rng(0)
        good = {
            "content_image": random.random((1, 32, 32, 3), np.float32),
            "style_image": random.random((1, 16, 24, 3), np.float32),
            "steps": np.array([steps], np.int32),
        }
        return self.request(signature, **{**good, **inputs})

    def blur(self, *, steps: int = 1) -> predict_pb2.PredictRequest:
        """A request for the stand-in."""
        return self.request(content_image=np.zeros((1, 16, 16, 3), np.float32), steps=np.array([steps], np.int32))

    def paint(self, *, steps: int = 1, **inputs: Any) -> predict_pb2.PredictRequest:
        """A good request for `paint`; `inputs` are added or take the place of the good ones."""
        good = {
            "content_bytes": [noise(24, 32, seed=0)],
            "style_bytes": [[noise(20, 28, seed=1)]],
            "steps": np.array([steps], np.int32),
            "max_side": np.array([32], np.int32),
            "contract_version": np.array([CONTRACT_VERSION], np.int32),
            "return_state": np.array([1], np.int32),
        }
        return self.request(PAINT, **{**good, **inputs})

    def resume(self, state: bytes, *, steps: int = 1, **inputs: Any) -> predict_pb2.PredictRequest:
        """A request for more steps of a run."""
        own = {"steps": np.array([steps], np.int32), "return_state": np.array([1], np.int32)}
        return self.request(PAINT, state=[state], **{**own, **inputs})

    def predict(self, request: predict_pb2.PredictRequest, timeout_s: float = 60.0) -> predict_pb2.PredictResponse:
        """The answer to a request."""
        return self.prediction.Predict(request, timeout=timeout_s)

    def start(self, signature: str = SERVING_DEFAULT, *, steps: int = 5000, timeout_s: float = 60.0) -> Any:
        """A call that runs for long, under way."""
        side = 64
        image = np.zeros((1, side, side, 3), np.float32)
        request = self.images(signature, steps=steps, content_image=image, style_image=image)
        return self.prediction.Predict.future(request, timeout=timeout_s)

    def metadata(self, *fields: str, name: str = DEFAULT_MODEL_NAME) -> Any:
        """The answer of GetModelMetadata."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        request.model_spec.name = name
        return self.prediction.GetModelMetadata(request, timeout=10.0)

    def signatures(self) -> Any:
        """SignatureDef of each signature, by its name."""
        definitions = get_model_metadata_pb2.SignatureDefMap()
        self.metadata("signature_def").metadata["signature_def"].Unpack(definitions)
        return definitions.signature_def

    def states(self, name: str = DEFAULT_MODEL_NAME, version: int | None = None) -> dict[int, Any]:
        """State of each version, by its number."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        if version is not None:
            request.model_spec.version.value = version
        response = self.models.GetModelStatus(request, timeout=10.0)
        return {status.version: status for status in response.model_version_status}

    def available(self) -> set[int]:
        """Versions that serve."""
        state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return {version for version, status in self.states().items() if status.state == state}

    def reload(self, *, name: str = DEFAULT_MODEL_NAME, base_path: str = "", **fields: Any) -> Any:
        """Sends a configuration of one model."""
        config = model_server_config_pb2.ModelConfig(
            name=name, base_path=base_path or str(self.base_path), model_platform="tensorflow", **fields
        )
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.config.append(config)
        return self.models.HandleReloadConfigRequest(request, timeout=60.0)

    def is_healthy(self, service: str = "") -> bool:
        """Status that the health service reports."""
        response = self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10.0)
        return response.status == health_pb2.HealthCheckResponse.SERVING


@contextmanager
def _embedded(
    base_path: Path,
    max_calls: int = EMBEDDED_CALLS,
    max_waiting: int | None = None,
    retries: int = 0,
    retry_interval_micros: int = 0,
) -> Generator[Target]:
    settings = ServerSettings(
        port=0,
        max_calls=max_calls,
        max_waiting=max_waiting,
        poll_s=0.1,
        max_num_load_retries=retries,
        load_retry_interval_micros=retry_interval_micros,
        grace_s=0.0,
    )
    with EmbeddedServer(base_path, settings=settings) as server:
        target = Target(server.address, base_path, embedded=True)
        with target.channel:
            yield target


@contextmanager
def _real(base_path: Path, log: Path, *flags: str) -> Generator[Target]:
    binary = os.environ.get(REAL_SERVER, "")
    if not binary:
        pytest.skip(f"{REAL_SERVER} does not name a tensorflow_model_server")
    port = free_port()
    command = [
        binary,
        f"--port={port}",
        f"--model_name={DEFAULT_MODEL_NAME}",
        f"--model_base_path={base_path}",
        "--enable_grpc_healthcheck_service=true",
        "--tensorflow_inter_op_parallelism=8",
        "--file_system_poll_wait_seconds=1",
        "--enable_profiler=false",
        "--max_num_load_retries=0",
        *flags,  # the last one of a name counts
    ]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            target = Target(f"127.0.0.1:{port}", base_path, embedded=False)
            with target.channel:
                grpc.channel_ready_future(target.channel).result(timeout=START_S)
                yield target
        finally:
            process.terminate()


@pytest.fixture(scope="session", params=["embedded", "real"])
def server(request: pytest.FixtureRequest, tiny_model_base: Path, tmp_path_factory: Any) -> Iterator[Target]:
    """A server with the tiny model. Shared: no test changes its model."""
    if request.param == "embedded":
        with _embedded(tiny_model_base) as target:
            yield target
    else:
        with _real(tiny_model_base, tmp_path_factory.mktemp("real") / "log") as target:
            yield target


@pytest.fixture(scope="session")
def single(tiny_model_base: Path) -> Iterator[Target]:
    """An embedded server that takes one call at a time, so that the next one tells when the last has ended."""
    with _embedded(tiny_model_base, max_calls=1, max_waiting=0) as target:
        yield target


@pytest.fixture
def add_version(tiny_model_base: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Puts the tiny model, without its warm-up, under a number into a base path of the test's own."""
    source = next(path for path in tiny_model_base.iterdir() if path.name.isdigit())

    def add(version: int) -> Path:
        staging = tmp_path / f"staging-{version}"
        shutil.copytree(source, staging, ignore=shutil.ignore_patterns("assets.extra"))
        base_path = tmp_path / "base"
        base_path.mkdir(exist_ok=True)
        return staging.rename(base_path / str(version))

    return add


@pytest.fixture
def add_small_version(add_stand_in: Callable[..., Path], tmp_path: Path) -> Callable[[int], Path]:
    """Puts the stand-in under a number into a base path of the test's own."""
    base_path = tmp_path / "base"
    base_path.mkdir()
    return lambda version: add_stand_in(base_path, version)


@pytest.fixture(params=["embedded", "real"])
def fresh(request: pytest.FixtureRequest, add_small_version: Callable[[int], Path], tmp_path: Path) -> Iterator[Target]:
    """A server of the test's own, with versions 1 and 2 of the stand-in on disk."""
    base_path = add_small_version(1).parent
    add_small_version(2)
    with _embedded(base_path) if request.param == "embedded" else _real(base_path, tmp_path / "log") as target:
        yield target


@pytest.fixture(params=["embedded", "real"])
def trying_again(
    request: pytest.FixtureRequest, add_small_version: Callable[[int], Path], tmp_path: Path
) -> Iterator[Target]:
    """A server of the test's own that tries again and again, with version 1 of the stand-in."""
    base_path = add_small_version(1).parent
    retries, interval = 10_000, 200_000
    flags = (f"--max_num_load_retries={retries}", f"--load_retry_interval_micros={interval}")
    with (
        _embedded(base_path, retries=retries, retry_interval_micros=interval)
        if request.param == "embedded"
        else _real(base_path, tmp_path / "log", *flags)
    ) as target:
        yield target


@pytest.fixture
def joining(add_version: Callable[[int], Path], tmp_path: Path) -> Iterator[Target]:
    """A real server that joins two requests, and answers one that stays alone after a while."""
    base_path = add_version(1).parent
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 2 } batch_timeout_micros { value: 5000000 } num_batch_threads { value: 2 }"
    )
    flags = ("--enable_batching=true", f"--batching_parameters_file={file}")
    with _real(base_path, tmp_path / "log", *flags) as target:
        yield target


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition, and fails if it does not come."""

    def wait(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        ends_at = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < ends_at, "it did not come"
            time.sleep(0.02)

    return wait
