from __future__ import annotations

import pytest
from tensorflow_serving.config import model_server_config_pb2

from styleserve.serving.errors import RequestError
from styleserve.serving.models.version_policy import VersionPolicy, configs_from_proto


@pytest.mark.parametrize(
    ("policy", "want"),
    [
        (VersionPolicy(), {10}),
        (VersionPolicy("latest", 2), {9, 10}),
        (VersionPolicy("latest", 9), {1, 9, 10}),
        (VersionPolicy("all"), {1, 9, 10}),
        (VersionPolicy("specific", specific=(1, 4)), {1}),
    ],
)
def test_policies(policy: VersionPolicy, want: set[int]) -> None:
    assert policy.choose({1, 9, 10}) == want
    assert policy.choose(set()) == set()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": ""}, "has no name"),
        ({"base_path": "models"}, "absolute path"),
        ({"base_path": "/models\0"}, "absolute path"),
        ({"model_platform": ""}, "neither"),
        ({"model_platform": "pytorch"}, "unsupported platform pytorch"),
    ],
)
def test_bad_configurations(changes: dict[str, str], text: str) -> None:
    good = {"name": "m", "base_path": "/models/m", "model_platform": "tensorflow"}
    config = model_server_config_pb2.ModelConfig(**{**good, **changes})
    with pytest.raises(RequestError, match=text):
        configs_from_proto(model_server_config_pb2.ModelConfigList(config=[config]))


def test_a_name_twice() -> None:
    config = model_server_config_pb2.ModelConfig(name="m", base_path="/m", model_platform="tensorflow")
    with pytest.raises(RequestError, match="multiple times"):
        configs_from_proto(model_server_config_pb2.ModelConfigList(config=[config, config]))
