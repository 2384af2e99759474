"""Number and size of the workers for the nodes of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from styleserve.bulk.cluster import Workers, workers_on
from styleserve.bulk.settings import BulkSettings

HEAD: dict[str, float] = {"memory": 4e9}
"""Ray leaves out resources of which a node has none."""
CPU: dict[str, float] = {"CPU": 4.0}
GPU: dict[str, float] = {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "settings", "workers"),
    [
        ([CPU], {}, Workers(1, 3.0, 0.0)),
        ([HEAD, CPU, CPU], {}, Workers(2, 3.0, 0.0)),
        ([{"CPU": 0.0}, CPU], {}, Workers(1, 3.0, 0.0)),
        ([HEAD, CPU, {"CPU": 2.0}], {}, Workers(2, 1.0, 0.0)),
        ([HEAD, CPU, CPU], {"workers": 2}, Workers(2, 3.0, 0.0)),
        ([HEAD, CPU, CPU], {"workers": 6}, Workers(6, 1.0, 0.0)),
        ([HEAD], {}, Workers(1, 1.0, 0.0)),
        ([HEAD, GPU, GPU], {}, Workers(4, 1.0, 1.0)),
        ([HEAD, GPU], {"gpus_per_worker": 0.5}, Workers(4, 1.0, 0.5)),
        ([HEAD, GPU], {"gpus_per_worker": 0.0}, Workers(1, 7.0, 0.0)),
        ([HEAD, GPU, CPU], {"workers": 1}, Workers(1, 1.0, 1.0)),
    ],
)
def test_workers_of_a_cluster(nodes: list[dict[str, float]], settings: dict[str, Any], workers: Workers) -> None:
    assert workers_on(nodes, BulkSettings(model=Path("m"), **settings)) == workers


def test_a_worker_for_each_server() -> None:
    assert workers_on([HEAD, GPU], BulkSettings(servers=("a:1", "b:1"))) == Workers(2, 0.5, 0.0)
