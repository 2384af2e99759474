"""Runs in chunks through a server: nothing is kept there, and what does not fit is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from styleserve.contract import (
    SERVING_DEFAULT,
    STYLIZE_ENCODED,
    STYLIZE_LBFGS_ENCODED,
    STYLIZE_LBFGS_RESUMABLE,
    STYLIZE_RESUMABLE,
)

if TYPE_CHECKING:
    from .conftest import Target

BOTH = pytest.mark.parametrize("signature", [STYLIZE_RESUMABLE, STYLIZE_LBFGS_RESUMABLE])
IN_ONE_CALL = {STYLIZE_RESUMABLE: STYLIZE_ENCODED, STYLIZE_LBFGS_RESUMABLE: STYLIZE_LBFGS_ENCODED}


def _losses(response: Any) -> np.ndarray[Any, Any]:
    return tf.make_ndarray(response.outputs["losses"])[0, :, 0]


def _going_on(server: Target, signature: str, state: bytes, *, steps: int, outputs: tuple[str, ...] = ()) -> Any:
    request = server.request(signature, state=[state], steps=np.array([steps], np.int32))
    request.output_filter.extend(outputs)
    return server.predict(request)


def _state(response: Any) -> bytes:
    return response.outputs["state"].string_val[0]


@BOTH
def test_in_chunks_as_in_one_call(server: Target, png: bytes, signature: str) -> None:
    whole = server.predict(server.files(IN_ONE_CALL[signature], png, steps=12))
    found = [server.predict(server.files(signature, png, steps=4))]
    found += [_going_on(server, signature, _state(found[-1]), steps=4)]
    found += [_going_on(server, signature, _state(found[-1]), steps=4)]
    losses = np.concatenate([_losses(each) for each in found])
    if signature == STYLIZE_RESUMABLE:
        assert losses.tolist() == _losses(whole).tolist()
        assert found[-1].outputs["png_bytes"] == whole.outputs["png_bytes"]
    else:
        np.testing.assert_allclose(losses[-1], _losses(whole)[-1], rtol=0.02)


@BOTH
def test_only_what_is_asked_for_comes_back(server: Target, png: bytes, signature: str) -> None:
    state = _state(server.predict(server.files(signature, png, steps=1)))
    assert set(_going_on(server, signature, state, steps=1).outputs) == {"state", "losses", "png_bytes"}
    assert set(_going_on(server, signature, state, steps=1, outputs=("state", "losses")).outputs) == {"state", "losses"}
    picture = _going_on(server, signature, state, steps=0, outputs=("png_bytes",))
    assert picture.outputs["png_bytes"].string_val[0].startswith(b"\x89PNG")


@BOTH
def test_a_call_may_be_repeated_and_go_anywhere(server: Target, png: bytes, signature: str) -> None:
    state = _state(server.predict(server.files(signature, png, steps=2)))
    once, again = (_going_on(server, signature, state, steps=2) for _ in range(2))
    assert once.outputs["state"] == again.outputs["state"]


@BOTH
@pytest.mark.parametrize(
    ("state", "text"),
    [
        (b"no state", "state must be one that this model and this signature gave"),
        (b"\0" * 200_000, "state must be one that this model and this signature gave"),
        (b"", "give either state, or content_bytes and style_bytes, or content_image and style_image"),
    ],
    ids=["short", "long", "none"],
)
def test_refused_state(server: Target, signature: str, state: bytes, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        _going_on(server, signature, state, steps=1)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert text in (caught.value.details() or "")
    assert server.predict(server.images(SERVING_DEFAULT, steps=0)), "the server goes on"


@BOTH
def test_state_and_pictures_at_once_are_refused(server: Target, png: bytes, signature: str) -> None:
    state = _state(server.predict(server.files(signature, png, steps=1)))
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(server.files(signature, png, state=[state]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "give either state" in (caught.value.details() or "")


@BOTH
def test_wrong_kinds_are_refused(server: Target, png: bytes, signature: str) -> None:
    numbers = server.files(signature, png, state=np.zeros([1], np.float32))
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(numbers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    flat = server.images(signature, content_image=np.zeros([8, 8, 3], np.float32))
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(flat)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "is not compatible with expected shape" in (caught.value.details() or "")
