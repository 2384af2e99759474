"""Options of a deployment: defaults, allowed values and help. Values are checked before files are rendered.

Imports neither TensorFlow nor gRPC: the command line imports it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from styleserve.contract import DEFAULT_MODEL_NAME, DEFAULT_PORT, Limits
from styleserve.limits import LARGEST_SIDE
from styleserve.sizing import DEFAULT_MEMORY, MIB, memory_bytes, server_mib, tensor_mib
from styleserve.version_directories import DEFAULT_BASE_PATH, MAX_VERSION

from .locations import CLAIM, CLAIM_RULE, DNS_LABEL, DOWNLOAD, JOBS, JOBS_RULE, RESULTS, RESULTS_RULE, claim_of

SERVING_VERSION: Final = "2.20.0"
"""TensorFlow Serving of the default image: the newest published one, and no older than the exporter's TensorFlow."""

RAY_VERSION: Final = "2.60.0"
"""Ray of an image that was built with `requirements.lock`."""

RAY_MIB: Final = 3072
"""Memory of a worker pod beside its server, in MiB: processes of Ray, the worker, `/dev/shm`. Measured: 1,200 MiB."""

BATCHED_ROWS: Final = 4
"""`max_batch_size` of `config/batching.config`."""

_T = TypeVar("_T")


class DeploymentError(Exception):
    """Invalid options, or files that cannot be written. The text says what is allowed."""


class Target(str, Enum):
    """Software that runs the containers."""

    compose = "compose"
    kubernetes = "kubernetes"
    kserve = "kserve"
    ray = "ray"


class Device(str, Enum):
    """Hardware that runs the model."""

    cpu = "cpu"
    gpu = "gpu"


_COMPOSE: Final = (Target.compose,)
_KUBERNETES: Final = (Target.kubernetes,)
_SERVICES: Final = (Target.kubernetes, Target.kserve)
_SERVERS: Final = (Target.compose, *_SERVICES)
_RAY: Final = (Target.ray,)
_PODS: Final = (*_SERVICES, *_RAY)

_MODELS: Final = {
    Target.compose: (r"(?s)(?!.*://).+", "a directory of this machine, with a numbered directory for each version"),
    Target.kubernetes: (CLAIM, CLAIM_RULE),
    Target.kserve: (
        f"{CLAIM}|{DOWNLOAD}",
        f"{CLAIM_RULE}, or an address that KServe downloads (gs://, s3://, hf://, https://)",
    ),
    Target.ray: (CLAIM, CLAIM_RULE),
}
"""Pattern of `--model` and the same in words."""

_NAME: Final = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?"
_DNS_LABEL_RULE: Final = "1 to 63 of a-z, 0-9 and '-', without '-' at either end"
_TAG: Final = r"(?!latest(-gpu)?$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"


@dataclass(frozen=True)
class Option:
    """Facts of an option beside its type and default.

    Attributes:
        help: Help text.
        allowed: Numbers that are allowed, or a pattern of the text.
        rule: The pattern in words.
        targets: Targets that take the option.
    """

    help: str
    allowed: range | str = "(?s).*"
    rule: str = ""
    targets: tuple[Target, ...] = tuple(Target)


def _option(
    default: _T, text: str, allowed: range | str = "(?s).*", rule: str = "", targets: tuple[Target, ...] = tuple(Target)
) -> _T:
    return field(default=default, metadata={"option": Option(text, allowed, rule, targets)})


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Options of a deployment, by their names on the command line.

    Raises:
        DeploymentError: A value is not allowed, or two contradict each other.
    """

    target: Target
    model: str | None = _option(
        None,
        f"Directory of the model. compose: a path, by default {DEFAULT_BASE_PATH}. kubernetes, ray: pvc://CLAIM/PATH. "
        "kserve: also gs://, s3://, https://. Not needed if --image has the model inside.",
    )
    model_name: str = _option(
        DEFAULT_MODEL_NAME,
        "Name of the model in requests.",
        _NAME,
        "1 to 128 letters, digits, '_', '.' and '-'",
        _SERVERS,
    )
    label: tuple[str, ...] = _option(
        (),
        "Label of a version; repeatable. Without labels, the newest version is served.",
        rf"{_NAME}=[0-9]{{1,19}}",
        "NAME=VERSION, as in stable=1700000000",
        _SERVERS,
    )
    device: Device = _option(Device.cpu, "Hardware.")  # noqa: RUF009 - a field
    image: str | None = _option(
        None,
        "Image of TensorFlow Serving, NAME:TAG; by default the published one. ray: an image with styleserve and Ray.",
        rf"[a-z0-9][a-z0-9._/:-]*(:{_TAG}|(:[A-Za-z0-9_.-]+)?@sha256:[0-9a-f]{{64}})",
        f"NAME:TAG, as in tensorflow/serving:{SERVING_VERSION}, or NAME@sha256:DIGEST, and not 'latest', which changes",
    )
    calls: int = _option(4, "Predict calls at a time of a server.", range(1, 257))
    max_side: int = _option(Limits().max_side, "Longest side in pixels.", range(16, LARGEST_SIDE + 1))
    max_batch: int = _option(1, "Pictures in a call.", range(1, 1025), targets=_SERVERS)
    memory: str = _option(f"{DEFAULT_MEMORY // 2**30}GiB", "Memory of a call for its tensors, as in `export --memory`.")
    batching: bool = _option(False, "Run waiting requests as one batch.", targets=_SERVERS)
    envoy: bool = _option(False, "Add Envoy for TLS and load balancing.", targets=(Target.compose, Target.kubernetes))
    monitoring: bool = _option(False, "Add Prometheus and Grafana (compose).", targets=_COMPOSE)
    port: int = _option(DEFAULT_PORT, "Port (compose).", range(1, 65536), targets=_COMPOSE)
    replicas: int = _option(1, "Servers (minimum); ray: workers.", range(1, 1001), targets=_PODS)
    max_replicas: int | None = _option(
        None, "Servers (maximum), by load, with KEDA.", range(1, 1001), targets=_KUBERNETES
    )
    cpus: int = _option(4, "Processors per server or worker.", range(1, 1025), targets=_PODS)
    drain_s: int = _option(75, "Seconds to finish calls.", range(3601), targets=_SERVICES)
    namespace: str = _option("styleserve", "Namespace.", DNS_LABEL, _DNS_LABEL_RULE, _PODS)
    prometheus: str = _option(
        "http://prometheus-operated.monitoring.svc:9090",
        "Prometheus for KEDA.",
        r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9_./-]*)?",
        "http://HOST:PORT",
        _KUBERNETES,
    )
    prometheus_namespace: str = _option(
        "monitoring", "Namespace that reads metrics.", DNS_LABEL, _DNS_LABEL_RULE, _SERVICES
    )
    jobs: str | None = _option(None, "List of jobs: a URL or pvc://CLAIM/PATH.", JOBS, JOBS_RULE, _RAY)
    results: str | None = _option(
        None, "Folder for results and ledger: a URL or pvc://CLAIM/PATH.", RESULTS, RESULTS_RULE, _RAY
    )
    secret: str | None = _option(
        None, "Secret with environment variables, such as credentials.", DNS_LABEL, _DNS_LABEL_RULE, _RAY
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            value: Any = getattr(self, name)
            flag = f"--{name.replace('_', '-')}"
            if value == getattr(Deployment, name):
                continue
            if self.target not in option.targets:
                *others, last = (each.value for each in option.targets)
                takers = f"{', '.join(others)} and {last}" if others else last
                raise DeploymentError(f"{self.target.value} takes no {flag}: it is an option of {takers}")
            for each in self.label if name == "label" else (value,):
                _check(flag, each, option.allowed, option.rule)
        try:
            memory_bytes(self.memory)
        except ValueError as error:
            raise DeploymentError(f"--memory: {error}") from error
        if self.target is Target.ray:
            self._check_bulk()
        if self.model is not None:
            _check("--model", self.model, *_MODELS[self.target])
        elif self.target is not Target.compose and self.image is None:
            raise DeploymentError(
                "no model: set --model pvc://CLAIM/PATH, or --image to an image that has the model inside "
                "(serving/deploy/Dockerfile makes one)"
            )
        if len(self.labels) < len(self.label) or max(self.labels.values(), default=0) > MAX_VERSION:
            raise DeploymentError(
                f"--label is {', '.join(self.label)}; each name must have one version, of at most {MAX_VERSION}"
            )
        if self.batching and self.calls < 2:
            raise DeploymentError(f"--calls is {self.calls}; it must be at least 2 with --batching")
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise DeploymentError(
                f"--max-replicas is {self.max_replicas}; it must be at least --replicas, {self.replicas}"
            )

    def _check_bulk(self) -> None:
        missing = [f"--{name}" for name in ("image", "jobs", "results") if getattr(self, name) is None]
        if missing:
            raise DeploymentError(
                f"{' and '.join(missing)}: required for ray; docs/deploy/ray.md shows how to build the image"
            )
        if self.cpus < 2:
            raise DeploymentError(
                f"--cpus is {self.cpus}; it must be at least 2 for ray: one for the worker, one to read the jobs"
            )

    @property
    def labels(self) -> dict[str, int]:
        """Version of each label."""
        pairs = (each.split("=") for each in self.label)
        return {name: int(version) for name, version in pairs}

    @property
    def call_memory(self) -> int:
        """Memory of a call for its tensors, in bytes, beyond which the model tiles its images."""
        return memory_bytes(self.memory)

    @property
    def memory_mib(self) -> int:
        """Memory of a server, in MiB; of a worker with its server and Ray."""
        return server_mib(**self._sizes) + (RAY_MIB if self.target is Target.ray else 0)

    @property
    def tensor_bytes(self) -> int:
        """Memory for tensors, in bytes. The server refuses a request that needs more."""
        return tensor_mib(**self._sizes) * MIB

    @property
    def _sizes(self) -> dict[str, int]:
        limits = Limits(max_side=self.max_side).numbers()
        return {
            "calls": self.calls,
            "images": self.pictures,
            "pixels": int(limits["max_pixels"]),
            "encoded_pixels": int(limits["max_encoded_pixels"]),
            "memory": self.call_memory,
        }

    @property
    def pictures(self) -> int:
        """Most pictures in work at a time, with the copies that fill batches.

        A batch of three is filled up to four (`config/batching.config`). Three calls of one picture may meet in such a
        batch, or one call may bring three.
        """
        if not self.batching:
            return self.calls * self.max_batch
        if self.max_batch == 1:
            return self.calls + self.calls // 3
        return self.calls * 2 ** (self.max_batch - 1).bit_length()

    @property
    def image_name(self) -> str:
        """Name of the image, with its tag."""
        suffix = "-gpu" if self.device is Device.gpu else ""
        return self.image or f"tensorflow/serving:{SERVING_VERSION}{suffix}"

    @property
    def model_directory(self) -> Path:
        """Directory of the model on this machine, for Compose."""
        return Path(self.model or DEFAULT_BASE_PATH)

    @property
    def claim(self) -> tuple[str, str] | None:
        """Claim and path of the volume with the model, as in `pvc://CLAIM/PATH`."""
        return claim_of(self.model)


def _check(flag: str, value: object, allowed: range | str, rule: str) -> None:
    if isinstance(allowed, range):
        rule, valid = f"from {allowed[0]} to {allowed[-1]}", value in allowed
    else:
        valid = re.fullmatch(allowed, str(value))
    if not valid:
        raise DeploymentError(f"{flag} is {value!r}; it must be {rule}")


OPTIONS: Final[dict[str, Option]] = {
    each.name: each.metadata["option"] for each in fields(Deployment) if each.name != "target"
}
"""Facts of each option, by its name."""
