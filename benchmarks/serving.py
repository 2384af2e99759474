"""Cost of serving: a call against the loop in process, concurrent calls against one, and status calls under load."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import tensorflow as tf

from styleserve import contract
from styleserve.client import Controls, Picture, StyleClient, load_picture
from styleserve.server_process import ServerProcess

from .bench import Bench
from .results import Row, Table
from .settings import DEMO, ServingSettings, StartupSettings
from .timing import in_turn, median_ratio, seconds

Loop = Callable[[int], object]
"""Function that runs a number of steps."""

MODEL_SIDE: Final = StartupSettings().side
"""Longest side of the model, in pixels: that of `startup`, so that both parts share an export."""

STATUS_EVERY_S: Final = 0.25
"""Interval of status calls. Each takes 4 ms of a processor, so fifty a second would take a tenth of two processors."""

CALL_TIMEOUT_S: Final = 3600.0
WARM_UP_STEPS: Final = 2
"""Steps of a first run, which traces and prepares kernels."""

WANTED_CALL: Final = "<= 1.03x"
WANTED_CONCURRENT: Final = "<= {limit:.1f}x"
WANTED_STATUS_MS: Final = "< 50 ms"


def measure(settings: ServingSettings, bench: Bench) -> list[Table]:
    """One table, a row for each comparison."""
    content, style = load_picture(DEMO / "content.jpg"), load_picture(DEMO / "style.jpg")
    model_side = max(settings.side, MODEL_SIDE)
    base_path = bench.model(model_side)
    in_process = _loop_in_process(base_path, contract.STYLIZE_LBFGS, (content, style), settings.side)
    bench.say("serving: starting the server")
    with ServerProcess(base_path) as server, StyleClient(server.address) as client:

        def call(steps: int, client: StyleClient = client) -> None:
            # Encoded files, so that the time includes a user's whole call.
            controls = Controls(loss="tutorial", steps=steps, max_side=settings.side, octaves=1)
            client.stylize(content.encoded, style.encoded, controls, timeout_s=CALL_TIMEOUT_S)

        contestants: dict[str, Loop] = {"call": call, "loop": in_process}
        for contestant in contestants.values():
            contestant(WARM_UP_STEPS)
        bench.say("serving: a call and the loop, in turn")
        found = in_turn(
            {name: partial(seconds, partial(contestant, settings.steps)) for name, contestant in contestants.items()},
            settings.rounds,
        )
        bench.say(f"serving: {settings.concurrent} calls at a time")
        one_call = partial(call, settings.steps)
        idle_ms = _worst_status_ms(server.address, lambda: time.sleep(1.0))
        alone_s: list[float] = []
        together_s: list[float] = []
        busy_ms: list[float] = []
        before_s = seconds(one_call)
        for _ in range(settings.rounds):
            busy_ms.append(
                _worst_status_ms(
                    server.address,
                    lambda: together_s.append(_together_s(server.address, settings.concurrent, one_call)),
                )
            )
            after_s = seconds(one_call)
            alone_s.append((before_s + after_s) / 2)  # before and after, because a machine's speed drifts
            before_s = after_s
    rows = [
        _row("client call / the loop in process", "s", found["call"], found["loop"], WANTED_CALL),
        _row(
            f"{settings.concurrent} calls at a time / one, before and after",
            "s",
            together_s,
            alone_s,
            # Calls share the processors, and may cost a fortieth more: 8.2x for eight.
            WANTED_CONCURRENT.format(limit=settings.concurrent * 1.025),
        ),
        _row("worst status call meanwhile / without work", "ms", [max(busy_ms)], [idle_ms], WANTED_STATUS_MS),
    ]
    width, height = content.size_within(settings.side)
    title = f"Serving {width} x {height} px, {settings.steps} steps, {contract.PAINT}, by a model of {model_side} px"
    return [Table(title, rows)]


def _row(what: str, unit: str, values: Sequence[float], baseline: Sequence[float], wanted: str) -> Row:
    return {
        "what": what,
        "unit": unit,
        "measured": statistics.median(values),
        "baseline": statistics.median(baseline),
        "ratio": median_ratio(values, baseline),
        "wanted": wanted,
    }


def _loop_in_process(base_path: Path, signature: str, images: Sequence[Picture], side: int) -> Loop:
    """The loop of the served model, on the same pixels, without server, client, files and resizing."""
    (version,) = (path for path in base_path.iterdir() if path.name.isdecimal())
    model = tf.saved_model.load(str(version))
    function = model.signatures[signature]
    fields = contract.SIGNATURES[signature].inputs
    inputs = {
        field.name: tf.constant([field.control.default("relative")], field.dtype) for field in fields if field.control
    }
    for field, picture in zip((contract.CONTENT_IMAGE, contract.STYLE_IMAGE), images, strict=True):
        inputs[field.name] = tf.constant(picture.pixels(picture.size_within(side)))

    def loop(steps: int, _model: object = model) -> object:  # the default keeps the variables of the model alive
        tensors = inputs | {contract.STEPS.name: tf.constant([steps])}
        return function(**tensors)[contract.STYLIZED_IMAGE.name].numpy()

    return loop


def _together_s(address: str, count: int, call: Callable[..., None]) -> float:
    """Seconds from the first of `count` concurrent calls to the last reply, each over a connection of its own."""

    def one(_: int) -> None:
        with StyleClient(address) as client:
            call(client=client)

    with ThreadPoolExecutor(count) as pool:
        return seconds(lambda: list(pool.map(one, range(count))))


def _worst_status_ms(address: str, work: Callable[[], object]) -> float:
    """Latency of the slowest status call during some work, in milliseconds."""
    latencies: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with StyleClient(address) as client:
            client.status()  # connects
            while not done.is_set():
                latencies.append(seconds(client.status))
                done.wait(STATUS_EVERY_S)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            work()
        finally:
            done.set()
        asking.result()
    return 1000 * max(latencies)
