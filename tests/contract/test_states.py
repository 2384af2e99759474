"""Hostile states: each is refused by name, or does no harm, and the server continues."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from styleserve.contract import LOSS, OPTIMIZER, PAINT
from styleserve.model.state import FINGERPRINT_BYTES, _hash

from .pictures import halves, levels, noise

if TYPE_CHECKING:
    from .conftest import Target

OTHER_RUN = "state must be one that this model returned, for the same loss and optimizer"
DAMAGED = "state is damaged"
DIMENSIONS = ("height", "width", "regions", "targets", "references", "pairs", "words")
HEADER = FINGERPRINT_BYTES + 4 * len(DIMENSIONS)

OPTIMIZERS = pytest.mark.parametrize("optimizer", OPTIMIZER.choices)


def text(value: str) -> list[bytes]:
    return [value.encode()]


@pytest.fixture(scope="module")
def states(server: Target) -> dict[str, bytes]:
    """State of a run with two regions and a reference, by optimiser."""
    regions = {"content_region_bytes": [[halves(24, 32), b""]], "style_bytes": [[noise(16, 16), noise(16, 16, seed=1)]]}
    requests = {
        name: server.paint(steps=4, optimizer=text(name), reference_bytes=[noise(8, 8)], **regions)
        for name in OPTIMIZER.choices
    }
    return {name: state_of(server.predict(request)) for name, request in requests.items()}


def state_of(response: Any) -> bytes:
    return response.outputs["state"].string_val[0]


def refusal(server: Target, request: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert server.predict(server.images(steps=0)).outputs, "the server continues"
    return caught.value.details() or ""


def flipped(state: bytes, at: int) -> bytes:
    return state[:at] + bytes([state[at] ^ 1]) + state[at + 1 :]


@OPTIMIZERS
def test_a_call_may_be_repeated(server: Target, states: dict[str, bytes], optimizer: str) -> None:
    """Nothing is kept on the server, so the same state gives the same answer."""
    request = server.resume(states[optimizer], steps=2, optimizer=text(optimizer))
    once, again = (server.predict(request) for _ in range(2))
    assert once.outputs == again.outputs


@OPTIMIZERS
def test_truncated(server: Target, states: dict[str, bytes], optimizer: str) -> None:
    state = states[optimizer]
    for length in (1, FINGERPRINT_BYTES - 1, FINGERPRINT_BYTES, HEADER, HEADER + 7):
        assert OTHER_RUN in refusal(server, server.resume(state[:length], optimizer=text(optimizer))), length
    for length in (HEADER + 8, len(state) // 2, len(state) - 8, len(state) - 1):
        assert DAMAGED in refusal(server, server.resume(state[:length], optimizer=text(optimizer))), length
    assert DAMAGED in refusal(server, server.resume(state + bytes(4), optimizer=text(optimizer)))


@OPTIMIZERS
def test_flipped_bits(server: Target, states: dict[str, bytes], optimizer: str) -> None:
    state = states[optimizer]
    places = np.random.default_rng(0).integers(FINGERPRINT_BYTES, len(state), 8).tolist()
    for at in (FINGERPRINT_BYTES, HEADER, len(state) - 8, len(state) - 1, *places):
        assert DAMAGED in refusal(server, server.resume(flipped(state, at), optimizer=text(optimizer))), at
    for at in (0, FINGERPRINT_BYTES - 1):
        assert OTHER_RUN in refusal(server, server.resume(flipped(state, at), optimizer=text(optimizer))), at


@OPTIMIZERS
def test_of_another_optimiser_or_loss(server: Target, states: dict[str, bytes], optimizer: str) -> None:
    other = next(name for name in OPTIMIZER.choices if name != optimizer)
    assert OTHER_RUN in refusal(server, server.resume(states[optimizer], optimizer=text(other)))
    tutorial = server.resume(states[optimizer], optimizer=text(optimizer), loss=text(LOSS.choices[1]))
    assert OTHER_RUN in refusal(server, tutorial)


@pytest.mark.parametrize("state", [b"no state", b"\0" * 200_000, b"\xff" * 200_000, noise(8, 8)])
def test_something_else(server: Target, state: bytes) -> None:
    assert OTHER_RUN in refusal(server, server.resume(state))


def test_either_a_state_or_pictures(server: Target, states: dict[str, bytes]) -> None:
    either = "give either state, or content_bytes and style_bytes"
    state = {"state": [states["lbfgs"]]}
    assert either in refusal(server, server.paint(**state))
    for name in ("content_bytes", "start_bytes", "reference_bytes"):
        assert either in refusal(server, server.request(PAINT, **state, **{name: [noise(8, 8)]}))
    for name in ("style_bytes", "style_region_bytes", "content_region_bytes"):
        assert either in refusal(server, server.request(PAINT, **state, **{name: [[noise(8, 8)]]}))
    assert either in refusal(server, server.request(PAINT))
    assert either in refusal(server, server.request(PAINT, content_bytes=[noise(8, 8)]))
    assert either in refusal(server, server.request(PAINT, style_bytes=[[noise(8, 8)]]))


def test_one_bad_state_of_a_batch(server: Target, states: dict[str, bytes]) -> None:
    good = states["lbfgs"]
    request = server.request(PAINT, state=[good, flipped(good, 1000)], steps=np.array([1], np.int32))
    assert DAMAGED in refusal(server, request)


def forged(state: bytes, at: int, what: bytes) -> bytes:
    """The state with other bytes at a place and the checksum of these: the key of the checksum is no secret."""
    body = (state[:at] + what + state[at + len(what) :])[:-8]
    return body + _hash(tf.constant(body)).numpy()


@OPTIMIZERS
@pytest.mark.parametrize("value", [-1, 0, 1, 7, 11, 63, 65, 2**16, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("name", DIMENSIONS)
def test_forged_sizes(server: Target, states: dict[str, bytes], optimizer: str, name: str, value: int) -> None:
    state, at = states[optimizer], FINGERPRINT_BYTES + 4 * DIMENSIONS.index(name)
    if struct.unpack_from("<i", state, at) == (value,) or (
        name == "pairs" and optimizer == "adam" and 0 <= value <= 10
    ):
        return  # Adam has no pairs, so nothing of its state depends on their number
    fake = forged(state, at, struct.pack("<i", value))
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(server.resume(fake, optimizer=text(optimizer)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "state" in (caught.value.details() or "")


@OPTIMIZERS
@pytest.mark.parametrize("what", [np.nan, np.inf, -np.inf, 1e30, -1.0], ids=str)
def test_forged_numbers(server: Target, states: dict[str, bytes], optimizer: str, what: float) -> None:
    """Anywhere in a state: refused, or an answer whose picture is one."""
    state, number = states[optimizer], np.array([what], np.float32).tobytes() * 3
    details = refusal(server, server.resume(forged(state, HEADER, number), optimizer=text(optimizer)))
    assert ("must hold no NaN" if np.isnan(what) else "must hold finite values in [0, 1]") in details
    for at in range(HEADER + 12, len(state) - 40, len(state) // 20):
        place = at - (at - HEADER) % 4
        request = server.resume(forged(state, place, number), steps=2, optimizer=text(optimizer))
        call = server.prediction.Predict.future(request, timeout=60.0)
        assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), call.details()
        if call.code() is grpc.StatusCode.OK:
            assert levels(call.result().outputs["image_bytes"].string_val[0]).shape == (24, 32, 3)
    assert server.predict(server.images(steps=0)).outputs
