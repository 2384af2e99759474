"""Chunks of runs over simulated links and servers, in simulated time."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from PIL import Image

from styleserve.client import ConnectionSettings, load_picture
from styleserve.client.api.chunk_size import TARGETS_WORK, CallCost, ChunkSizer
from styleserve.client.api.chunked_run import ChunkedRun
from styleserve.client.api.model_queries import ModelQueries
from styleserve.client.api.run_plan import RunOptions
from styleserve.client.api.state_size import StateSize
from styleserve.client.inputs.controls import Controls
from styleserve.client.inputs.pictures import picture_set
from styleserve.client.transport.actions import Call, Operation, Sleep
from styleserve.client.transport.call import RpcClient
from styleserve.client.wire import messages
from styleserve.client.wire.requests import Target
from styleserve.client.wire.tensors import bytes_tensor, number_tensor, to_array

MBIT = 1e6 / 8


@dataclass
class World:
    """A server behind a link, with a clock of its own.

    Attributes:
        bytes_per_s: Throughput of the link, each way.
        delay_s: Delay of the link, each way.
        step_s: Seconds of an evaluation of the whole picture; less for an octave, by its pixels.
        side: Sides of the picture, in pixels.
        drift: Largest change of the speed of the server from one call to the next, as a share.
    """

    bytes_per_s: float
    delay_s: float
    step_s: float
    side: int
    drift: float = 0.0
    now_s: float = 0.0
    octave_side: int = 0
    steps: list[int] = field(default_factory=list[int])
    call_s: list[float] = field(default_factory=list[float])

    @cached_property
    def picture(self) -> bytes:
        """A PNG of a size that pictures have: a byte a pixel."""
        rows = np.random.default_rng(0).integers(0, 256, (self.side, self.side // 3, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(rows).resize((self.side, self.side), Image.Resampling.NEAREST).save(file, "PNG")
        return file.getvalue()

    def answer(self, call: Call) -> bytes:
        """The reply to a call; the clock moves on by what it takes."""
        if call.method != messages.PREDICT:
            self.now_s += 2 * self.delay_s
            return messages.GetModelStatusResponse().SerializeToString()
        request = messages.PredictRequest.FromString(call.request)
        steps = int(to_array(request.inputs["steps"], "")[0])
        if "max_side" in request.inputs:
            self.octave_side = int(to_array(request.inputs["max_side"], "")[0])
        outputs: dict[str, Any] = {
            "losses": number_tensor(np.ones((1, steps, 5), np.float32)),
            "state": bytes_tensor([bytes(StateSize("lbfgs").usual_bytes(self.octave_side**2))]),
            "image_bytes": bytes_tensor([self.picture]),
        }
        reply = messages.PredictResponse(
            outputs={name: outputs[name] for name in request.output_filter}
        ).SerializeToString()
        work = steps if "state" in request.inputs else steps + TARGETS_WORK
        step_s = self.step_s * (self.octave_side / self.side) ** 2
        step_s *= 1 + self.drift * np.random.default_rng(len(self.steps)).uniform(-1, 1)
        seconds = 2 * self.delay_s + (len(call.request) + len(reply)) / self.bytes_per_s + work * step_s
        self.now_s += seconds
        self.steps.append(steps)
        self.call_s.append(seconds)
        return reply

    def run(self, operation: Operation[Any]) -> Any:
        """Result of an operation: a driver without network or waiting."""
        try:
            action = next(operation)
            while True:
                if isinstance(action, Call):
                    outcome: object = self.answer(action)
                elif isinstance(action, Sleep):
                    self.now_s += action.seconds
                    outcome = None
                else:
                    outcome = action.function()
                action = operation.send(outcome)
        except StopIteration as end:
            return end.value

    def painted(
        self,
        steps: int,
        *,
        sizer: ChunkSizer | None = None,
        chunk_steps: int | None = None,
        octaves: int = 1,
        **more: Any,
    ) -> list[Any]:
        """Progress of a whole run."""
        picture = load_picture(self.picture)
        run = ChunkedRun(
            ModelQueries(RpcClient(ConnectionSettings()), Target("style_transfer")),
            sources=picture_set(picture, picture),
            saved=None,
            controls=Controls(steps=steps, max_side=self.side, octaves=octaves),
            options=RunOptions(images=True, chunk_steps=chunk_steps, timeout_s=more.get("timeout_s")),
            sizer=ChunkSizer() if sizer is None else sizer,
            clock=lambda: self.now_s,
        )
        found: list[Any] = []
        while not run.done:
            found.append(self.run(run.advance()))
        return found


def seconds(make: Callable[[], World], steps: int, **more: Any) -> tuple[float, World]:
    world = make()
    world.painted(steps, **more)
    return world.now_s, world


LINKS = {  # bytes per second, delay each way
    "20 Mbit/s": (20 * MBIT, 0.02),
    "100 Mbit/s": (100 * MBIT, 0.01),
    "1 Gbit/s": (1000 * MBIT, 0.0002),
    "loopback": (5e8, 0.0001),
}
STEP_S = {"CPU": 7e-6, "GPU": 4e-8}
"""Seconds of an evaluation, per pixel: two cores; a GPU with 10 ms at 512 pixels."""


@pytest.mark.parametrize("steps", [10, 40, 200])
@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("server", STEP_S)
@pytest.mark.parametrize("link", LINKS)
def test_progress_costs_little(link: str, server: str, side: int, steps: int) -> None:
    def make() -> World:
        return World(*LINKS[link], STEP_S[server] * side**2, side)

    whole_s, _ = seconds(make, steps, chunk_steps=steps)
    found_s, world = seconds(make, steps)
    # A tenth. A look before the first chunk costs three round trips, the pictures, and two passes of the network.
    look_s = 8 * world.delay_s + world.step_s + 3 * len(world.picture) / world.bytes_per_s
    assert found_s <= 1.1 * whole_s + look_s
    assert max(world.call_s) <= whole_s
    assert sum(world.steps) == steps


def test_a_local_server_shows_progress_every_two_seconds() -> None:
    _, world = seconds(lambda: World(*LINKS["loopback"], 0.5, 256), 40)
    assert world.steps[0] == 0, "a look without a state"
    assert max(world.call_s) <= 3.5, world.call_s
    assert len(world.steps) >= 8


@pytest.mark.parametrize(("delay_s", "longest_s"), [(0.0001, 2.5), (0.01, 35.0)])
def test_a_first_chunk_of_a_few_steps_is_no_slow_link(delay_s: float, longest_s: float) -> None:
    """Its time may be explained by its bytes alone; the rest of the run is still not one chunk, of 200 s."""
    world, sizer = World(5e8, delay_s, 0.01, 64), ChunkSizer()
    world.painted(4, sizer=sizer, chunk_steps=4)
    before = len(world.call_s)
    world.painted(20_000, sizer=sizer)
    assert max(world.call_s[before:]) <= longest_s, world.call_s
    assert sum(world.steps) == 20_004


@pytest.mark.parametrize("drift", [0.2, 0.4])
def test_a_local_server_whose_speed_drifts_shows_progress(drift: float) -> None:
    """Slow moments are not taken for transfer, which would make chunks long."""
    _, world = seconds(lambda: World(*LINKS["loopback"], 0.1, 128, drift), 400)
    assert max(world.call_s) <= 6.0, world.call_s
    assert len(world.steps) >= 10


def test_a_first_call_that_takes_longer_than_its_work_is_no_slow_link() -> None:
    """Measured on loopback: decoding and the targets of a small picture, then 12 evaluations."""
    sizer = ChunkSizer()
    sizer.round_trip_s = 0.003
    sizer.add(CallCost(252_799, 8_602, 0.126, has_steps=False))
    sizer.add(CallCost(3_840_699, 156_058, 1.555))
    assert sizer.next_steps(138, pixels=12_288, state_bytes=3_579_532, chunk_s=2.0) <= 20


def test_a_look_at_a_busy_local_server_is_no_slow_link() -> None:
    """Measured on loopback beside three busy processes: 20,000 evaluations were one chunk, of many minutes."""
    sizer = ChunkSizer()
    sizer.round_trip_s = 0.0142
    sizer.add(CallCost(700_000, TARGETS_WORK * 3_072, 0.12, has_steps=False))
    assert sizer.next_steps(20_000, pixels=3_072, state_bytes=960_000, chunk_s=2.0) <= 100


def test_a_long_run_over_a_slow_link_shows_progress() -> None:
    found_s, world = seconds(lambda: World(*LINKS["20 Mbit/s"], 0.5, 256), 1000)
    assert world.steps[0] == 0, "a look without a state"
    assert len(world.steps) >= 4
    assert found_s < 1.08 * 1000 * 0.5


def test_a_slow_link_that_looked_fast_is_found_out() -> None:
    """Throttled, but next door: the first chunks pay for it, the others do not."""
    whole_s, _ = seconds(lambda: World(20 * MBIT, 0.0001, 0.5, 256), 200, chunk_steps=200)
    found_s, world = seconds(lambda: World(20 * MBIT, 0.0001, 0.5, 256), 200)
    assert len(world.steps) >= 2
    assert found_s <= 1.2 * whole_s


def test_a_second_run_needs_no_look() -> None:
    world, sizer = World(*LINKS["20 Mbit/s"], 0.5, 256), ChunkSizer()
    world.painted(1000, sizer=sizer)
    world.steps.clear()
    started_s = world.now_s
    world.painted(1000, sizer=sizer)
    assert 0 not in world.steps
    assert sum(world.steps) == 1000
    assert world.now_s - started_s < 1.08 * 1000 * 0.5


def test_a_chunk_fits_into_the_deadline() -> None:
    _, world = seconds(lambda: World(*LINKS["20 Mbit/s"], 0.5, 256), 200, timeout_s=30.0)
    assert max(world.call_s) < 30.0
    assert sum(world.steps) == 200


def test_chunk_steps_are_kept_at_any_cost() -> None:
    _, world = seconds(lambda: World(*LINKS["20 Mbit/s"], 0.5, 256), 35, chunk_steps=10)
    assert world.steps == [10, 10, 10, 5]


@pytest.mark.parametrize("round_trip_s", [0.0001, 0.05])
@pytest.mark.parametrize("byte_s", [1e-9, 1e-8, 4e-7])
@pytest.mark.parametrize("work_s", [1e-7, 1e-5])
def test_chunks_are_as_long_as_the_true_rates_demand(round_trip_s: float, byte_s: float, work_s: float) -> None:
    """With any guess, once a call of mostly transfer and one of mostly work were measured."""
    sizer = ChunkSizer()
    sizer.round_trip_s = round_trip_s
    for moved, work in ((20_000_000, 2e3), (8_000_000, 2e6), (1_000_000, 9e7)):
        sizer.add(CallCost(moved, work, round_trip_s + moved * byte_s + work * work_s))
    assert sizer.seconds(10, 1000) == pytest.approx(10_000 * work_s, rel=0.05)
    steps = sizer.next_steps(10**9, pixels=1000, state_bytes=10**6, chunk_s=1.0)
    assert steps * 1000 * work_s == pytest.approx(max(1.0, 2e6 * byte_s / 0.06), rel=0.2)


def test_a_call_that_took_no_time_is_no_measurement() -> None:
    sizer = ChunkSizer()
    sizer.add(CallCost(10, 10.0, 0.0))
    assert not sizer.measured
    assert math.isfinite(sizer.seconds(1, 1))


def test_octaves_share_the_measurements() -> None:
    """The first octave is one call, or is measured first; the chunks of the others follow from that."""
    world = World(*LINKS["loopback"], 0.5, 256)
    world.painted(40, octaves=3)
    assert world.steps.count(0) <= 1
    assert sum(world.steps) == 24 + 16 + 10
    assert len(world.steps) >= 5


@pytest.mark.parametrize("chunk_steps", [None, 3])
def test_the_time_left_is_that_of_all_octaves(chunk_steps: int | None) -> None:
    progress = World(*LINKS["loopback"], 0.5, 256).painted(40, octaves=3, chunk_steps=chunk_steps)
    assert {each.octave for each in progress} == {1, 2, 3}
    for each in progress:
        assert each.seconds_left == pytest.approx(progress[-1].seconds - each.seconds, rel=0.12)


def test_the_time_left_includes_transfer() -> None:
    """Once a chunk has both sent and returned a state."""
    progress = World(*LINKS["100 Mbit/s"], 0.01, 256).painted(60, chunk_steps=3)
    for each in progress[4:]:
        assert each.seconds_left == pytest.approx(progress[-1].seconds - each.seconds, rel=0.05)
