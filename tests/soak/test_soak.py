"""The soak in short: two minutes of load, with a new version every five seconds or as fast as they load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from styleserve import contract

from .load import Load
from .run import export_sources, soak

SECONDS = 120.0


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return export_sources(tmp_path_factory.mktemp("sources"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at the server's process in Linux' /proc")
@pytest.mark.timeout(1800)
def test_mixed_load_while_versions_come_and_go(sources: tuple[Path, Path], tmp_path: Path) -> None:
    seen = soak(sources, tmp_path, seconds=SECONDS, swap_every_s=5.0)
    assert seen.swaps >= 3
    kinds = {kind for kind, _ in seen.calls}
    assert kinds == {
        *("latest", "pinned", "label", "files", "regions", "chunks"),
        *("cancelled", "late", "refused", "status", "metadata"),
    }


def test_a_picture_of_another_version_is_noticed(tmp_path: Path) -> None:
    load = Load("127.0.0.1:1", 0, tmp_path, (tmp_path, tmp_path))
    try:
        load._pictures = {("tensor", n): np.full((2, 2, 3), 0.25 + 0.5 * n, np.float32) for n in (0, 1)}
        reply = predict_pb2.PredictResponse()
        reply.model_spec.version.value = 4
        proto = reply.outputs[contract.STYLIZED_IMAGE.name]
        proto.float_val.extend([0.25] * 12)
        for size in (1, 2, 2, 3):
            proto.tensor_shape.dim.add(size=size)
        load._check("tensor", reply, [4])
        with pytest.raises(AssertionError, match="answered by version 4, where \\[5\\] were right"):
            load._check("tensor", reply, [5])
        reply.model_spec.version.value = 5
        with pytest.raises(AssertionError, match=r"version 5 is off its picture by 0\.5"):
            load._check("tensor", reply, [5])
    finally:
        load.close()
