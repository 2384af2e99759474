"""The server of a worker ends, while several threads paint on it."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from styleserve.bulk.engines import ModelSource, OwnServer
from styleserve.client import Controls, PictureSet, ServerUnavailable
from styleserve.client.images.source import PictureSource

from .conftest import save_noise

pytestmark = pytest.mark.timeout(300)


def test_calls_wait_while_the_server_is_started_again(tiny_model_base: Path, tmp_path: Path) -> None:
    picture = save_noise(tmp_path / "picture.png", 32, 0).read_bytes()
    pictures: PictureSet[PictureSource] = PictureSet(content=picture, styles=(picture,))
    controls = Controls(steps=1, max_side=32)
    engine = ModelSource.of(tiny_model_base).start()
    assert isinstance(engine, OwnServer)
    try:
        before = engine.paint(pictures, controls)
        os.kill(engine.pid, signal.SIGKILL)
        os.waitid(os.P_PID, engine.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ServerUnavailable):
            engine.paint(pictures, controls)
        with ThreadPoolExecutor(1) as other:
            recovered = other.submit(engine.recover)
            time.sleep(0.5)  # a start takes seconds
            assert not recovered.done()
            after = engine.paint(pictures, controls)
            assert recovered.result()
        assert after.image_bytes == before.image_bytes
        assert not engine.recover(), "it runs"
    finally:
        engine.close()
