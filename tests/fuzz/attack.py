"""Sends hostile requests to a server of its own, and looks at its answers, at its life and at its memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.memory import resident_mb
from styleserve import contract
from styleserve.contract import Limits
from styleserve.server_process import ServerProcess
from tests.exported import export_once

from .good import good_request, paint_request
from .replies import reply_fault
from .requests import PREDICT, Aim, Case, cases

TOKEN = "a-token-that-is-accepted"  # noqa: S105 - of a server that lives for a test
DEADLINE_S = 120.0
"""Deadline of every call. No call takes a second on a usual machine."""

SLOW_S = 60.0
"""A call that takes longer is a fault, although its deadline has not passed: something is looked through that should be
refused."""

SLACK_MB = 150.0
"""Allowed growth of the server's memory after the warm-up. In 15,000 calls it was seen to grow by 90 MB, which the
allocator keeps, and then to stay. In 10,000 a leak of 25 kB a call shows."""

AT_A_TIME = 2
"""Most cases under way at the same time: a third one that loads a configuration might be refused."""

LIMITS = Limits(max_side=64, max_steps=20, max_batch=4, max_styles=4, max_encoded_pixels=1_000_000)
"""Small, so that what is within them takes milliseconds, and what is over them is met often."""


@dataclass
class Outcome:
    """Results of an attack.

    Attributes:
        answers: by method and status.
        resident_mb: Memory of the server: before, after the warm-up, then after each sixth of the cases.
        took_s: for everything.
        slowest_s: Longest time of a call, or of calls sent at the same time.
    """

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    resident_mb: list[float] = field(default_factory=list)
    took_s: float = 0.0
    slowest_s: float = 0.0

    def __str__(self) -> str:
        lines = [f"{sum(self.answers.values())} calls in {self.took_s:.0f} s, the slowest in {self.slowest_s:.1f} s"]
        lines += [f"  {method:26} {status:20} {count}" for (method, status), count in sorted(self.answers.items())]
        return "\n".join([*lines, "resident MB: " + ", ".join(f"{size:.0f}" for size in self.resident_mb)])


class Attack:
    """Calls of one server.

    Args:
        address: Address of the server.
        pid: Its process.
        base_path: Path of its model.
    """

    def __init__(self, address: str, pid: int, base_path: Path) -> None:
        self._pid = pid
        self._base_path = base_path
        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self.outcome = Outcome()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def run(self, count: int, seed: int) -> None:
        """Sends this many cases or more, and raises AssertionError with the first that is answered wrongly, made small.

        Args:
            count: Number of cases, or of groups of them that are sent at the same time.
            seed: Seed of the choice.
        """
        aim = Aim(str(self._base_path), self._good().model_spec.version.value, TOKEN, self._states())

        @hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        @hypothesis.given(st.lists(cases(aim), min_size=1, max_size=AT_A_TIME))
        def send(several: list[Case]) -> None:
            self.send(several)

        began = time.monotonic()
        hypothesis.seed(seed)(send)()
        self.outcome.took_s += time.monotonic() - began

    def send(self, several: Sequence[Case]) -> None:
        """Sends cases at the same time, and raises AssertionError if one is answered wrongly."""
        began = time.monotonic()
        calls: list[Any] = [
            self._channel.unary_unary(case.method).future(case.message, timeout=DEADLINE_S, metadata=case.metadata)
            for case in several
        ]
        faults: list[str | None] = []
        for case, call in zip(several, calls, strict=True):
            code, text = call.code(), call.details() or ""
            self.outcome.answers[case.method.rpartition("/")[2], code.name] += 1
            faults.append(case.fault(code, text))
            if case.method == PREDICT and code is grpc.StatusCode.OK:
                fault = reply_fault(call.result())
                faults.append(fault and f"{fault}: {case}")
        took_s = time.monotonic() - began
        self.outcome.slowest_s = max(self.outcome.slowest_s, took_s)
        if took_s > SLOW_S:
            faults.append(f"took {took_s:.0f} s: {several}")
        assert not any(faults), faults

    def look(self) -> None:
        """Notes how much memory the server holds; it is alive, and serves."""
        self._good()
        self.outcome.resident_mb.append(resident_mb(self._pid) or 0.0)

    def _good(self) -> predict_pb2.PredictResponse:
        return self._predict(good_request(steps=3))

    def _predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        return stub.Predict(request, timeout=DEADLINE_S, metadata=[("authorization", f"Bearer {TOKEN}")])

    def _states(self) -> dict[tuple[str, str], bytes]:
        """A state of each loss and optimiser."""
        return {
            (loss, optimizer): self._predict(paint_request(steps=3, loss=loss, optimizer=optimizer))
            .outputs[contract.STATE.name]
            .string_val[0]
            for loss in contract.LOSS.choices
            for optimizer in contract.OPTIMIZER.choices
        }


def export_target(output: Path) -> None:
    """Exports the model that is attacked: two blocks of the network, and small limits."""
    from styleserve.export import ExportSettings  # noqa: PLC0415 - imports TensorFlow

    export_once(
        ExportSettings(
            output=output,
            weights="random",
            precision="float32",
            style_layers=("block1_conv1", "block2_conv1"),
            content_layer="block2_conv2",
            limits=LIMITS,
        )
    )


@contextmanager
def attacked(base_path: Path, folder: Path) -> Generator[Attack]:
    """A server that asks for a token, in a process of its own, and the attack on it.

    Args:
        base_path: Path of a model that `export_target` exported.
        folder: for the file of tokens.
    """
    tokens = folder / "tokens"
    tokens.write_text(TOKEN + "\n")
    with ServerProcess(base_path, options=["--token-file", str(tokens)]) as server:
        attack = Attack(server.address, server.pid, base_path)
        try:
            yield attack
        finally:
            attack.close()


def run_attack(base_path: Path, folder: Path, *, count: int, seed: int) -> Outcome:
    """A third of the cases for the server to warm up, the others, and what was seen.

    Args:
        base_path: Path of a model that `export_target` exported.
        folder: for the file of tokens.
        count: as for `Attack.run`.
        seed: Seed of the choice; the same seed gives the same cases.

    Raises:
        AssertionError: a case was answered wrongly, the server died, or its memory grew.
    """
    with attacked(base_path, folder) as attack:
        attack.look()
        for part in (count // 3, *[count // 6] * 3, count - count // 3 - count // 6 * 3):
            # Other cases in each part, or nothing new would be seen after the first.
            attack.run(part, seed)
            attack.look()
            seed += 1
        outcome = attack.outcome
    _, warm_mb, *_, end_mb = outcome.resident_mb
    assert end_mb <= warm_mb + SLACK_MB, f"the server's memory grew\n{outcome}"
    return outcome
