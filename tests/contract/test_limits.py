"""What a model takes: told by it, and refused alike by the graph and by what stands in front of it."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from styleserve import contract
from styleserve.serving.call import Call
from styleserve.serving.errors import GraphError, RequestError
from styleserve.serving.servable import Servable, SessionSettings

if TYPE_CHECKING:
    from .conftest import Target


def test_limits_are_told(server: Target) -> None:
    request = server.request(contract.LIMITS, example=np.zeros(3, np.int32))
    told = {name: tf.make_ndarray(proto) for name, proto in server.predict(request).outputs.items()}
    wanted = {**contract.Limits(max_side=64).numbers(), "min_side": 2}
    assert {name: value.tolist() for name, value in told.items()} == {
        name: [pytest.approx(value)] * 3 for name, value in wanted.items()
    }
    assert server.predict(server.request(contract.LIMITS)).outputs["max_side"].int_val == [64]


def png(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(file, "PNG")
    return file.getvalue()


def bomb(side: int) -> bytes:
    data = bytearray(png(8, 8))
    data[16:24] = side.to_bytes(4, "big") * 2
    return bytes(data)


IMAGES = (contract.SERVING_DEFAULT, contract.STYLIZE_LBFGS)
FILES = (
    *(contract.STYLIZE_ENCODED, contract.STYLIZE_LBFGS_ENCODED),
    *(contract.STYLIZE_RESUMABLE, contract.STYLIZE_LBFGS_RESUMABLE),
)
REFUSED: list[tuple[str, dict[str, Any]]] = [
    *((name, {"content_image": np.zeros((1, 65, 32, 3), np.float32)}) for name in IMAGES),
    *((name, {"style_image": np.zeros((1, 32, 1, 3), np.float32)}) for name in IMAGES),
    *((name, {"style_image": np.zeros((9, 8, 8, 3), np.float32)}) for name in IMAGES),
    *((name, {"content_image": np.zeros((2, 64, 64, 3), np.float32)}) for name in IMAGES),
    *((name, {"style_image": np.zeros((2, 33, 64, 3), np.float32)}) for name in IMAGES),
    (contract.DESCRIBE, {"image": np.zeros((3, 64, 32, 3), np.float32)}),
    (contract.STYLIZE_ENCODED, {"content_bytes": [bomb(100_000)]}),
    (contract.STYLIZE_LBFGS_ENCODED, {"style_bytes": [bomb(2**31 - 1)]}),
    (contract.STYLIZE_LBFGS_ENCODED, {"content_bytes": [png(3, 300)]}),
    (contract.STYLIZE_RESUMABLE, {"content_bytes": [png(3, 300)]}),
    (contract.DESCRIBE, {"image": np.zeros((1, 65, 64, 3), np.float32)}),
    *((name, {"content_weight": np.ones(9, np.float32)}) for name in (*IMAGES, *FILES)),
    (contract.SERVING_DEFAULT, {"steps": np.ones(9, np.int32)}),
    (contract.STYLIZE_ENCODED, {"max_side": np.full(9, 32, np.int32)}),
    *((name, {"steps": np.array([99999], np.int32)}) for name in (*IMAGES, *FILES)),
    *((name, {"max_side": np.array([2000], np.int32)}) for name in FILES),
    (contract.SERVING_DEFAULT, {"style_weight": np.array([-0.1], np.float32)}),
    (contract.STYLIZE_LBFGS, {"content_weight": np.array([np.nan], np.float32)}),
    (contract.STYLIZE_RESUMABLE, {"learning_rate": np.array([1.5], np.float32)}),
    (contract.STYLIZE_ENCODED, {"content_bytes": [b"no picture"]}),
    (contract.STYLIZE_LBFGS_RESUMABLE, {"style_bytes": [b"II*\0 is a TIFF file"]}),
    (contract.SERVING_DEFAULT, {"content_image": np.zeros((2, 8, 8, 3), np.float32), "steps": np.ones(3, np.int32)}),
    (contract.LIMITS, {"example": np.zeros(9, np.int32)}),
]


def good(target: Target, signature: str) -> Any:
    if signature in (contract.DESCRIBE, contract.LIMITS):
        return target.request(signature)
    return target.images(signature) if signature in IMAGES else target.files(signature, png(8, 8))


@pytest.fixture(scope="module")
def servable(tiny_model_base: Path) -> Iterator[Servable]:
    path = next(path for path in tiny_model_base.iterdir() if path.name.isdigit())
    servable = Servable(path, 1, SessionSettings(max_calls=1))
    yield servable
    servable.close()


def test_limits_of_an_older_export_are_read(servable: Servable, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = servable.limits
    assert limits is not None
    assert limits.max_batch_pixels == 64 * 64
    outputs: Any = servable.signatures[contract.LIMITS].outputs
    monkeypatch.delitem(outputs, "max_batch_pixels")
    older = servable._read_limits()  # pyright: ignore[reportPrivateUsage]
    assert older == replace(limits, max_batch_pixels=None)
    monkeypatch.delitem(outputs, "max_pixels")
    assert servable._read_limits() is None  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("signature", "inputs"), REFUSED)
def test_the_graph_and_what_stands_before_it_say_the_same(
    server: Target, servable: Servable, monkeypatch: pytest.MonkeyPatch, signature: str, inputs: dict[str, Any]
) -> None:
    request = good(server, signature)
    for name, proto in server.request(signature, **inputs).inputs.items():
        request.inputs[name].CopyFrom(proto)
    with pytest.raises(RequestError) as before:
        servable.prepare(request)
    with pytest.raises(grpc.RpcError) as served:
        server.predict(request)
    assert served.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    # A real server adds where in the graph it was.
    assert before.value.message in (served.value.details() or "")
    monkeypatch.setattr(servable, "limits", None)
    with pytest.raises(GraphError) as graph:
        servable.predict(request, Call(60.0), 0)
    assert graph.value.message == before.value.message


def test_what_cannot_be_is_refused_while_there_is_no_place_to_wait(single: Target) -> None:
    running = single.start()
    image = np.zeros((1, 8, 8, 3), np.float32)
    refusals = {
        "steps must be from 0 to 5000; got": single.images(steps=99999),
        "max_side must be from 16 to 64; got": single.files(
            contract.STYLIZE_ENCODED, png(8, 8), max_side=np.array([2000], np.int32)
        ),
        "content_image must have sides from 2 to 64": single.images(content_image=np.zeros((1, 65, 8, 3), np.float32)),
        "Expects arg": single.images(style_weight=np.array([1.0])),
        "is not compatible with expected shape": single.images(content_image=image[0]),
        "not found in request": single.request(
            contract.SERVING_DEFAULT, content_image=np.zeros((1, 8, 8, 3), np.float32)
        ),
        "Inputs contains invalid name": single.images(foo=np.ones(1, np.float32)),
    }
    for text, request in refusals.items():
        with pytest.raises(grpc.RpcError) as caught:
            single.predict(request)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert text in (caught.value.details() or "")
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("name", ["content_weight", "content_image", "steps"])
@pytest.mark.parametrize("limited", [True, False])
def test_what_one_value_claims_takes_no_memory_before_it_is_refused(
    server: Target, servable: Servable, monkeypatch: pytest.MonkeyPatch, name: str, limited: bool
) -> None:
    """Of a model that tells no limits a control of any length goes on to its graph; a wrong rank does not."""
    request = server.images()
    shape = [50_000_000] if limited or name == "content_image" else [1, 50_000_000]
    request.inputs[name].CopyFrom(tf.make_tensor_proto(1, tf.int32 if name == "steps" else tf.float32, [1]))
    request.inputs[name].ClearField("tensor_shape")
    for size in shape:
        request.inputs[name].tensor_shape.dim.add(size=size)
    if not limited:
        monkeypatch.setattr(servable, "limits", None)
    tracemalloc.start()
    with pytest.raises(RequestError):
        servable.prepare(request)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
