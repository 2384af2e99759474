"""Every part runs at tiny sizes and gives finite numbers under the names that people compare. No speed is asserted."""

import contextlib
import json
import math
import shutil
import socket
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import link, mixed, prints, quality, scale, serving, soak, startup, step, styles, worker
from benchmarks.bench import TINY_CONTENT_LAYER, TINY_STYLE_LAYERS, Bench
from benchmarks.results import Table
from benchmarks.settings import (
    FULL,
    SHORT,
    LinkSettings,
    MixedSettings,
    PrintsSettings,
    QualitySettings,
    ScaleSettings,
    ServingSettings,
    SoakSettings,
    StartupSettings,
    StepSettings,
    StylesSettings,
)
from benchmarks.throttle import ThrottledLink
from benchmarks.worker import Found, Job
from styleserve.export.precision import PrecisionChoice
from styleserve.model import random_weights
from styleserve.server_process import ServerProcess

pytestmark = pytest.mark.slow


class TinyBench(Bench):
    """Has one model, exported already."""

    def __init__(self, base_path: Path) -> None:
        super().__init__(quiet=True)
        self.base_path = base_path

    def model(self, max_side: int, *, tiny: bool = False) -> Path:  # noqa: ARG002 - there is only the one
        return self.base_path


@pytest.fixture(scope="module")
def bench(tiny_model_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    base_path = tmp_path_factory.mktemp("cold") / "style_transfer"
    # Without warm-up requests, which would take longer than all that is tested here.
    shutil.copytree(tiny_model_base, base_path, ignore=shutil.ignore_patterns("assets.extra"))
    with TinyBench(base_path) as bench:
        yield bench


@pytest.fixture(scope="module")
def server(bench: Bench) -> Iterator[ServerProcess]:
    with ServerProcess(bench.model(64)) as server:
        yield server


@pytest.fixture
def one_server(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the parts share a server, where its start is not what they measure."""

    @contextlib.contextmanager
    def running(_: Path, **_options: object) -> Generator[ServerProcess]:
        yield server

    for part in (serving, soak, link, mixed):
        monkeypatch.setattr(part, "ServerProcess", running)


def assert_finite(table: Table, *columns: str) -> None:
    """There are rows, all with the same columns; these hold numbers, and no number is NaN or infinite."""
    assert table.rows
    for row in table.rows:
        assert list(row) == list(table.rows[0])
        for column in columns:
            # Of any sign: at sizes as tiny as these, a step is the difference of two times that noise makes up.
            assert isinstance(row[column], int | float), column
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    assert table.text().startswith(table.title)


def test_step(bench: Bench) -> None:
    settings = StepSettings((16,), 1, 1, "bfloat16", style_layers=TINY_STYLE_LAYERS, content_layer=TINY_CONTENT_LAYER)
    (table,) = step.measure(settings, bench)
    assert [str(row["loop"]).split(":")[0] for row in table.rows] == [
        "tutorial, Keras float32",
        "ours, serving_default, float32",
        "ours, serving_default, bfloat16",
        "ours, stylize_lbfgs, float32",
        "ours, stylize_lbfgs, bfloat16",
        "PyTorch, float32",
        "PyTorch, bfloat16 channels-last",
    ]
    assert_finite(table, "convolutions alone s")
    assert_finite(Table("", table.rows[:5]), "times as fast as the tutorial", "step / convolutions alone")


def test_step_leaves_out_a_precision_that_is_slower_here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "precision", PrecisionChoice("float32", "no units"))
    settings = StepSettings((16,), 1, 1, style_layers=TINY_STYLE_LAYERS, content_layer=TINY_CONTENT_LAYER)
    (table,) = step.measure(settings, bench)
    assert [row["loop"] for row in table.rows if "bfloat16" in str(row["loop"])] == []
    assert "without bfloat16: no units" in table.text()


def test_quality(bench: Bench, tmp_path: Path) -> None:
    settings = QualitySettings(
        (24,),
        steps=6,
        most_steps=40,
        repeats=1,
        adam=True,
        style_layers=TINY_STYLE_LAYERS,
        content_layer=TINY_CONTENT_LAYER,
        picture=tmp_path / "curves.png",
        images=tmp_path / "images",
    )
    (table,) = quality.measure(settings, bench)
    assert_finite(table, "steps", "s", "loss", "loss / tutorial's")
    assert (tmp_path / "curves.png").stat().st_size > 0
    assert len(list((tmp_path / "images").iterdir())) == len(table.rows) == len(table.curves)


@pytest.mark.usefixtures("one_server")
def test_serving(bench: Bench) -> None:
    (table,) = serving.measure(ServingSettings(side=32, steps=1, rounds=1, concurrent=2), bench)
    assert [row["wanted"] for row in table.rows] == ["<= 1.03x", "<= 2.0x", "< 50 ms"]
    assert_finite(table, "measured", "baseline", "ratio")


@pytest.mark.usefixtures("one_server")
def test_link(bench: Bench) -> None:
    (table,) = link.measure(LinkSettings(sides=(32,), steps=2, mbit_s=200.0, delay_ms=1.0), bench)
    assert [(row["link"], row["wanted"]) for row in table.rows] == [
        ("200 Mbit/s, 1 ms each way", "<= 1.2x"),
        ("loopback", "<= 1.08x"),
    ]
    assert_finite(table, "one call s", "progress s", "chunks", "ratio")


def test_a_throttled_link_passes_every_byte_on_and_takes_its_time() -> None:
    sent = bytes(range(256)) * 400

    def answer(connection: socket.socket) -> None:
        got = b""
        while len(got) < len(sent):
            got += connection.recv(65_536)
        connection.sendall(got[::-1])
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: answer(listener.accept()[0]), daemon=True)
        thread.start()
        with ThrottledLink(listener.getsockname()[1], mbit_s=8.0, delay_ms=10.0) as throttled:
            host, _, port = throttled.address.rpartition(":")
            started = time.monotonic()
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(sent)
                got = b""
                while data := connection.recv(65_536):
                    got += data
            took_s = time.monotonic() - started
            assert throttled.moved_bytes == 2 * len(sent)
    assert got == sent[::-1]
    assert took_s >= 2 * (len(sent) / 1e6 + 0.01), "a lower bound: it may take longer on a busy machine"


@pytest.mark.usefixtures("one_server")
def test_soak(bench: Bench) -> None:
    (table,) = soak.measure(SoakSettings(requests=5, side=32, steps=1), bench)
    assert [row["requests"] for row in table.rows] == [1, 2, 3, 4, 5]
    assert_finite(table, "ms a request")


@pytest.mark.usefixtures("one_server")
def test_mixed(bench: Bench) -> None:
    (table,) = mixed.measure(MixedSettings(requests=12, concurrent=2, side=32), bench)
    assert [row["requests"] for row in table.rows] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 12]
    assert_finite(table, "ms a request", "server MB")
    assert "sides 16 to 32 px, 2 at a time" in table.text()
    assert (
        f"3 inter-op threads; a deployment of so many has {(1280 + 3 * 256 + 2 * 184) * 2**20 / 1e6:.0f} MB"
        in table.text()
    )


@pytest.mark.parametrize(("give_back", "said"), [(False, "freed memory is kept"), (True, "freed memory is given back")])
def test_scale(bench: Bench, give_back: bool, said: str) -> None:
    by_side, by_batch = scale.measure(ScaleSettings(sides=(16,), batches=(), give_back=give_back), bench)
    assert said in by_side.text()
    assert_finite(by_side, "s a step", "peak MB", "us a pixel and step", "ratio to the baseline")
    assert not by_batch.rows


def test_prints(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are those of `scale`; here a tile of half the side takes twice the time of the whole image."""

    def measured(job: Job, *_: object) -> Found:
        tile = job.tile or job.side
        return Found(1e-6 * job.side**2 * (2.0 if tile < job.side else 1.0), 500.0, 600.0, None)

    monkeypatch.setattr(prints, "measured", measured)
    by_tile, by_side = prints.measure(PrintsSettings(side=64, tiles=(48, 32), sides=(64, 128)), bench)
    assert [(row["tile px"], row["ratio to the whole"]) for row in by_tile.rows] == [
        ("whole", 1.0),
        ("48 x 48", 2.0),
        ("32 x 32", 2.0),
    ]
    assert [(row["side px"], row["tile px"], row["us a pixel"], row["ratio"]) for row in by_side.rows] == [
        (64, 32, pytest.approx(2.0), 1.0),
        (128, 32, pytest.approx(2.0), pytest.approx(1.0)),
    ]


def test_a_worker_tiles_and_reads_weights(tmp_path: Path) -> None:
    kernel, bias = random_weights(0).layers["block1_conv1"]
    file = tmp_path / "weights.npz"
    np.savez(file, **{"block1_conv1/kernel": kernel, "block1_conv1/bias": bias})
    job = Job(48, 1, 1, 1, "paint", "float32", give_back=True, style_scale=0.5, tile=36, weights=str(file))
    assert worker.work(job).step_s > 0


def test_styles(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes for memory are those of `scale`, and each takes half a minute to build its model."""
    monkeypatch.setattr(styles, "measured", lambda job, *_: Found(0.1, 500.0, 600.0 + 10 * job.styles, None))
    (table,) = styles.measure(StylesSettings(side=16, styles=(1, 2), steps=1, rounds=1, precision="float32"), bench)
    assert [(row["run"], row["peak MB"], row["MB more than one style"]) for row in table.rows] == [
        ("stylize_lbfgs, the tutorial's loss", 610, 0),
        ("paint, 1 style", 610, 0),
        ("paint, 2 styles", 620, 10),
        ("paint, 3 styles in 3 regions", 630, 20),
    ]
    assert_finite(table, "s a step", "ratio to one style", "s before the first step")
    assert table.rows[1]["ratio to one style"] == 1.0


def test_startup(bench: Bench) -> None:
    commands, server = startup.measure(StartupSettings(repeats=1, side=32, steps=1), bench)
    assert_finite(commands, "s", "baseline s", "ratio")
    assert_finite(server, "s", "baseline s", "ratio")


@pytest.mark.parametrize("wanted", range(8))
@pytest.mark.parametrize("error", [0.0, 0.8, -0.8, 2.2, -2.2])
def test_fewest_steps_are_found_though_own_losses_err(wanted: int, error: float) -> None:
    def loss_after(steps: int) -> float:
        return 90.0 - steps

    found = quality.fewest_steps(
        loss_after, lambda steps: [loss_after(i + 1) + error for i in range(steps)], 10.0 + wanted, most=100
    )
    assert found == 80 - wanted


def test_fewest_steps_give_up() -> None:
    assert quality.fewest_steps(lambda _: 2.0, lambda steps: [2.0] * steps, 1.0, most=70) == 70


@pytest.mark.parametrize("settings", [*SHORT.values(), *FULL.values()])
def test_every_setting_explains_itself(settings: StepSettings) -> None:
    assert replace(settings) == settings
    assert all(field.metadata["help"] for field in fields(settings))


def test_results_folder_holds_documents_only() -> None:
    for path in (Path(step.__file__).parent / "results").glob("*.json"):
        assert {"date", "machine", "parts"} <= set(json.loads(path.read_text()))
