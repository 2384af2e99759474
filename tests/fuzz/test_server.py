"""The embedded server under hostile requests: `make fuzz` in short, with the same cases at each run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from styleserve.serving.picture_headers import picture_size

from .attack import BATCHING, export_target, run_attack
from .files import good_file, resized
from .requests import METADATA, PREDICT, RELOAD, STATUS, Case

CASES = 300
"""About ten seconds on two processors, beside a start of the server and an export."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base_path = tmp_path_factory.mktemp("fuzz") / "model"
    export_target(base_path)
    return base_path


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("count", "options"), [(CASES, ()), (CASES // 2, BATCHING)], ids=["alone", "joined"])
def test_every_case_is_answered_as_it_should_be(
    target: Path, tmp_path: Path, count: int, options: Sequence[str]
) -> None:
    outcome = run_attack(target, tmp_path, count=count, seed=0, options=options)
    assert sum(outcome.answers.values()) >= count
    seen = {method for method, _ in outcome.answers}
    assert seen == {method.rpartition("/")[2] for method in (PREDICT, METADATA, STATUS, RELOAD)}
    # Cases that are all refused at the door would prove little.
    assert outcome.answers["Predict", "OK"] > count / 20


@pytest.mark.parametrize(
    ("welcome", "code", "text", "fault"),
    [
        (True, grpc.StatusCode.OK, "", False),
        (True, grpc.StatusCode.INVALID_ARGUMENT, "bad", False),
        (True, grpc.StatusCode.INVALID_ARGUMENT, "", True),
        (True, grpc.StatusCode.INTERNAL, "The server failed unexpectedly", True),
        (True, grpc.StatusCode.UNKNOWN, "oops", True),
        (True, grpc.StatusCode.UNAVAILABLE, "Socket closed", True),
        (True, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", True),
        (False, grpc.StatusCode.UNAUTHENTICATED, "no token", False),
        (False, grpc.StatusCode.OK, "", True),
        (False, grpc.StatusCode.INVALID_ARGUMENT, "bad", True),
    ],
)
def test_what_counts_as_a_fault(welcome: bool, code: grpc.StatusCode, text: str, fault: bool) -> None:
    assert (Case(PREDICT, b"", (), welcome).fault(code, text) is not None) is fault


@pytest.mark.parametrize("kind", ["png", "bmp", "jpeg", "webp", "webp lossless", "webp extended"])
def test_bombs_tell_the_size_they_were_given(kind: str) -> None:
    more = kind in ("webp lossless", "webp extended")  # they count from 1
    assert picture_size(resized(good_file(kind), 12_345, 9_876)) == (9_876 + more, 12_345 + more)
