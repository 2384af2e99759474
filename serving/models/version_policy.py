"""Configuration of models: base paths, version policies and labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from styleserve.version_directories import misplaced, versions_on_disk

from ..errors import RequestError, StartError

_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class VersionPolicy:
    """Policy for the versions to serve: the latest few, all, or specific ones."""

    kind: Literal["latest", "all", "specific"] = "latest"
    latest: int = 1
    specific: tuple[int, ...] = ()

    @classmethod
    def from_proto(
        cls, proto: file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
    ) -> VersionPolicy:
        """Policy of a ModelConfig; by default the latest version."""
        if proto.HasField("all"):
            return cls("all")
        if proto.HasField("specific"):
            return cls("specific", specific=tuple(proto.specific.versions))
        return cls("latest", latest=proto.latest.num_versions or 1)

    def choose(self, present: set[int]) -> set[int]:
        """Versions to serve of those present.

        >>> sorted(VersionPolicy("latest", 2).choose({1, 2, 3}))
        [2, 3]
        """
        if self.kind == "all":
            return set(present)
        if self.kind == "specific":
            return present & set(self.specific)
        return set(sorted(present)[-self.latest :])


@dataclass(frozen=True)
class ModelConfig:
    """Configuration of a model.

    Attributes:
        name: Name of the model in requests.
        base_path: Directory with one sub-directory for each version.
        policy: Policy for the versions to serve.
        labels: Version of each label.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_proto(cls, proto: model_server_config_pb2.ModelConfig) -> ModelConfig:
        """Configuration of an entry of a ModelConfigList.

        Raises:
            RequestError: The entry has no name, no absolute path, or another platform than "tensorflow".
        """
        if not proto.name:
            raise RequestError("A model in the config list has no name.")
        # Python raises a ValueError for a path with a NUL character.
        if not Path(proto.base_path).is_absolute() or "\0" in proto.base_path:
            raise RequestError(
                f"Expected model {proto.name} to have an absolute path or URI; got base_path()={proto.base_path}"
            )
        if not proto.model_platform:
            raise RequestError(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) "
                "nor ModelServerConfig::model_platform."
            )
        if proto.model_platform != _PLATFORM:
            raise RequestError(f"Model {proto.name} requests unsupported platform {proto.model_platform}")
        return cls(
            proto.name,
            Path(proto.base_path),
            VersionPolicy.from_proto(proto.model_version_policy),
            tuple(sorted(proto.version_labels.items())),
        )

    def aspired_versions(self) -> dict[int, Path]:
        """Directories of the versions on disk that the policy chooses, by number.

        Raises:
            OSError: The base path does not exist or is not readable.
        """
        present = versions_on_disk(self.base_path)
        return {version: present[version] for version in sorted(self.policy.choose(set(present)))}


def configs_from_proto(proto: model_server_config_pb2.ModelConfigList) -> dict[str, ModelConfig]:
    """Configurations of a list, by name.

    Raises:
        RequestError: An entry is invalid, or a name occurs twice.
    """
    configs: dict[str, ModelConfig] = {}
    for entry in proto.config:
        config = ModelConfig.from_proto(entry)
        if config.name in configs:
            raise RequestError(f"Illegal to list model {config.name} multiple times in config list")
        configs[config.name] = config
    return configs


def check_base_path(base_path: Path) -> None:
    """Checks that a base path has a version.

    Raises:
        StartError: The base path has none, or is not readable.
    """
    try:
        fault = "" if versions_on_disk(base_path) else "has no version in it"
    except (FileNotFoundError, NotADirectoryError):
        fault = "is not a directory"
    except OSError as error:
        raise StartError(
            f"cannot read {base_path}: {error.strerror or error}. Check that this user may read the directory."
        ) from error
    if not fault:
        return
    near = misplaced(base_path)
    if near is None:
        raise StartError(f"{base_path} {fault}. Export a model first: styleserve export --output {base_path}")
    remedy = "" if near.base_path is None else f": --model-base-path {near.base_path}"
    raise StartError(f"{base_path} {near.fault}{remedy}")
