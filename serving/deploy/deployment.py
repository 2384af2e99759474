"""What a deployment of the model is to be: names, sizes and places, checked before anything is written.

Free of TensorFlow and gRPC: the command line imports it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from styleserve.contract import DEFAULT_MODEL_NAME, DEFAULT_PORT, Limits
from styleserve.sizing import MIB, inter_op_threads, server_mib, tensor_mib

SERVING_VERSION: Final = "2.20.0"
"""Of TensorFlow Serving: the newest with published images, and no older than the exporter's TensorFlow."""

BATCHED_ROWS: Final = 4
"""`max_batch_size` of `config/batching.config`: with batching, examples of a batch, and so of a call."""

_KUBERNETES_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
_IMAGE: Final = re.compile(
    r"(?P<name>[a-z0-9]+([._-][a-z0-9]+)*(:[0-9]+(?=/))?(/[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_CLAIM: Final = re.compile(r"pvc://(?P<claim>[^/]+)(/(?P<path>.*))?")
_PATH: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_STORAGE: Final = re.compile(r"(gs|s3|hf|hdfs|https?)://[A-Za-z0-9][A-Za-z0-9_.:/@%+-]*")
_WEB_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9_./-]*)?")


class DeploymentError(Exception):
    """A deployment cannot be as it was asked for, or cannot be written. The text says what is allowed."""


class Target(str, Enum):
    """What runs the containers."""

    compose = "compose"
    kubernetes = "kubernetes"
    kserve = "kserve"


class Device(str, Enum):
    """What computes."""

    cpu = "cpu"
    gpu = "gpu"


_CLUSTER: Final = (Target.kubernetes, Target.kserve)
_ONLY_FOR: Final[dict[str, tuple[Target, ...]]] = {
    "replicas": _CLUSTER,
    "max_replicas": (Target.kubernetes,),
    "cpus": _CLUSTER,
    "drain_s": _CLUSTER,
    "namespace": _CLUSTER,
    "prometheus": (Target.kubernetes,),
    "prometheus_namespace": _CLUSTER,
    "port": (Target.compose,),
    "envoy": (Target.compose, Target.kubernetes),
    "monitoring": (Target.compose,),
}
"""What some targets have no place for. Given all the same it is refused, and not passed over in silence."""


@dataclass(frozen=True)
class Claim:
    """A directory in a volume of Kubernetes: `pvc://claim/path`."""

    name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployment.

    Attributes:
        target: what runs the containers.
        model: where the directory with the versions is: of this machine (compose), `pvc://claim/path` (kubernetes,
            kserve), any other address that KServe fetches (kserve); None is inside the image, under `/models`.
        model_name: what requests call the model.
        labels: version of each label, as in `{"stable": 1700000000}`; without any, the newest version is served.
        device: what computes.
        image: of TensorFlow Serving, with a tag; None is the published one.
        replicas: servers; with `max_replicas`, the fewest.
        max_replicas: most servers, by load; None is always `replicas`.
        calls: Predict calls that a server takes at a time.
        max_side: longest side of a picture, in pixels, for which there is to be memory.
        max_batch: pictures in a call for which there is to be memory.
        cpus: processors that are asked for, for each server.
        drain_s: seconds that a pod goes on while it is leaving.
        namespace: of Kubernetes.
        prometheus: web address of the Prometheus that is asked for the load.
        prometheus_namespace: that may read the metrics.
        port: of this machine.
        envoy: whether Envoy is put in front.
        monitoring: whether Prometheus and Grafana run beside it.
        batching: whether the server joins requests.

    Raises:
        DeploymentError: a value cannot be used, or two contradict each other.
    """

    target: Target
    model: str | None = None
    model_name: str = DEFAULT_MODEL_NAME
    labels: tuple[tuple[str, int], ...] = ()
    device: Device = Device.cpu
    image: str | None = None
    replicas: int = 1
    max_replicas: int | None = None
    calls: int = 4
    max_side: int = Limits().max_side
    max_batch: int = 1
    cpus: int = 4
    drain_s: int = 75
    namespace: str = "styleserve"
    prometheus: str = "http://prometheus-operated.monitoring.svc:9090"
    prometheus_namespace: str = "monitoring"
    port: int = DEFAULT_PORT
    envoy: bool = False
    monitoring: bool = False
    batching: bool = False

    def __post_init__(self) -> None:
        _check(_MODEL_NAME, self.model_name, "the model's name", "letters, digits, '_', '.' and '-'")
        for name, value in (("namespace", self.namespace), ("namespace of Prometheus", self.prometheus_namespace)):
            _check(_KUBERNETES_NAME, value, f"the {name}", "at most 63 of a-z, 0-9 and '-', no '-' at either end")
        _check(_WEB_ADDRESS, self.prometheus, "the address of Prometheus", "http://HOST:PORT")
        for name, value, least, most in (
            ("replicas", self.replicas, 1, 1000),
            ("calls", self.calls, 1, 256),
            ("max_side", self.max_side, 16, 16384),
            ("max_batch", self.max_batch, 1, 1024),
            ("cpus", self.cpus, 1, 1024),
            ("drain_s", self.drain_s, 0, 3600),
            ("port", self.port, 1, 65535),
        ):
            if not least <= value <= most:
                raise DeploymentError(f"{name} is {value}; it must be from {least} to {most}")
        if self.batching and self.calls < 2:
            raise DeploymentError(f"calls is {self.calls}; it must be at least 2 with batching, which joins calls")
        self._check_labels()
        self._check_image()
        self._check_model()
        self._check_target()

    @property
    def memory_mib(self) -> int:
        """Memory of a server, in MiB."""
        return server_mib(**self._sizes)

    @property
    def tensor_bytes(self) -> int:
        """Memory that a server may take for tensors. It refuses a request that needs more, with or without a reason."""
        return tensor_mib(**self._sizes) * MIB

    @property
    def _sizes(self) -> dict[str, int]:
        return {
            "calls": self.calls,
            "images": self.pictures,
            "pixels": self.max_side**2,
            "encoded_pixels": Limits().max_encoded_pixels,
        }

    @property
    def pictures(self) -> int:
        """Images that a server works on at a time; with batching, the copies that fill batches are among them.

        By `config/batching.config`, a batch of three is filled up to four, and no other is. Three calls of one picture
        may meet in such a batch, or a call may bring it.
        """
        if not self.batching:
            return self.calls * self.max_batch
        if self.max_batch == 1:
            return self.calls + self.calls // 3
        return self.calls * 2 ** (self.max_batch - 1).bit_length()

    @property
    def grpc_max_threads(self) -> int:
        """Threads of the server: one for each call, and one that refuses the next."""
        return self.calls + 1

    @property
    def inter_op_threads(self) -> int:
        """Threads of TensorFlow for operations."""
        return inter_op_threads(self.calls)

    @property
    def image_name(self) -> str:
        """The image, as it is pulled."""
        suffix = "-gpu" if self.device is Device.gpu else ""
        return self.image or f"tensorflow/serving:{SERVING_VERSION}{suffix}"

    @property
    def claim(self) -> Claim | None:
        """The volume in which the model is, if it is in one."""
        found = _CLAIM.fullmatch(self.model or "")
        return Claim(found["claim"], (found["path"] or "").rstrip("/")) if found else None

    def _check_labels(self) -> None:
        for label, version in self.labels:
            _check(_LABEL, label, "a label", "letters, digits, '_', '.' and '-'")
            if not 0 <= version < 2**63:
                raise DeploymentError(
                    f"the label {label!r} stands for version {version}; it must be from 0 to 2^63 - 1"
                )
        names = [label for label, _ in self.labels]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise DeploymentError(f"the label {twice!r} is given twice; it stands for one version at a time")

    def _check_image(self) -> None:
        if self.image is None:
            return
        found = _IMAGE.fullmatch(self.image)
        if found is None:
            raise DeploymentError(f"the image is {self.image!r}; it must be NAME:TAG, as in tensorflow/serving:2.20.0")
        if found["digest"] is None and found["tag"] in (None, "latest", "latest-gpu"):
            raise DeploymentError(
                f"the image is {self.image!r}, which is another one tomorrow; name a tag or a digest that stays, as in "
                f"tensorflow/serving:{SERVING_VERSION}"
            )

    def _check_model(self) -> None:
        if claim := self.claim:
            _check(_KUBERNETES_NAME, claim.name, "the claim of the model's volume", "a-z, 0-9 and '-'")
            if claim.path and (not _PATH.fullmatch(claim.path) or ".." in claim.path.split("/")):
                raise DeploymentError(
                    f"the path in the model's volume is {claim.path!r}; it must be names of letters, digits, '_', '.' "
                    "and '-', divided by '/'"
                )

    def _check_target(self) -> None:
        for name, targets in _ONLY_FOR.items():
            if self.target not in targets and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise DeploymentError(
                    f"{self.target.value} takes no --{name.replace('_', '-')}: "
                    f"that is for {' and '.join(each.value for each in targets)}"
                )
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise DeploymentError(f"max_replicas is {self.max_replicas}; it must be at least replicas, {self.replicas}")
        if self.target is Target.compose:
            if self.model is None or "://" in self.model:
                raise DeploymentError(
                    f"the model is {self.model!r}; for compose it must be a directory of this machine, with one "
                    "numbered directory in it for each version"
                )
            return
        if self.model is None and self.image is None:
            raise DeploymentError(
                "it is not said where the model is: give --model pvc://CLAIM/PATH for a volume, or --image for an "
                "image with the model in it (serving/deploy/Dockerfile makes one)"
            )
        fetched = self.target is Target.kserve and _STORAGE.fullmatch(self.model or "")
        if self.model is not None and self.claim is None and not fetched:
            more = ", or an address that KServe fetches (gs://, s3://, hf://, https://)"
            raise DeploymentError(
                f"the model is {self.model!r}; for {self.target.value} it must be pvc://CLAIM/PATH"
                f"{more if self.target is Target.kserve else ', or inside the image'}"
            )


def _check(allowed: re.Pattern[str], value: str, name: str, rule: str) -> None:
    if not allowed.fullmatch(value):
        raise DeploymentError(f"{name} is {value!r}; it must be {rule}")
