"""Limits of a model: its own numbers, and the same refusals by the graph and by the server in front of it."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from styleserve import contract
from styleserve.serving.call import Call
from styleserve.serving.errors import GraphError, RequestError
from styleserve.serving.models.servable import Servable
from styleserve.serving.models.session import SessionSettings

from .pictures import noise

if TYPE_CHECKING:
    from .conftest import Target


def test_limits(server: Target) -> None:
    request = server.request(contract.LIMITS, example=np.zeros(3, np.int32))
    found = {name: tf.make_ndarray(proto) for name, proto in server.predict(request).outputs.items()}
    fingerprints = set(found.pop("fingerprint").tolist())
    assert re.fullmatch(rb"[0-9a-f]{32}", fingerprints.pop())
    assert not fingerprints
    expected = {
        **contract.Limits(max_side=64).numbers(),
        "contract_version": contract.CONTRACT_VERSION,
        "min_side": 2,
        "style_layers": 2,
        "smallest_octave": 0,
    }
    assert {name: value.tolist() for name, value in found.items()} == {
        name: [pytest.approx(value)] * 3 for name, value in expected.items()
    }
    assert server.predict(server.request(contract.LIMITS)).outputs["max_side"].int_val == [64]


def bomb(side: int) -> bytes:
    data = bytearray(noise(8, 8))
    data[16:24] = side.to_bytes(4, "big") * 2
    return bytes(data)


def files_of(field: contract.Field, data: bytes) -> dict[str, Any]:
    """The input that has this file, and what it needs beside it."""
    picture = {contract.REFERENCE_BYTES.name: [noise(8, 8)]} if field is contract.REFERENCE_WEIGHT_BYTES else {}
    return {**picture, field.name: [[data]] if len(field.shape) > 1 else [data]}


def floats(*values: Any) -> Any:
    return np.array(values, np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int32)


PAINT = contract.PAINT
IMAGES = (contract.SERVING_DEFAULT, contract.STYLIZE_LBFGS)
STYLES = [noise(8, 8, seed=seed) for seed in range(3)]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    *((name, {"content_image": np.zeros((1, 65, 32, 3), np.float32)}) for name in IMAGES),
    *((name, {"style_image": np.zeros((1, 32, 1, 3), np.float32)}) for name in IMAGES),
    *((name, {"style_image": np.zeros((9, 8, 8, 3), np.float32)}) for name in IMAGES),
    *((name, {"content_image": np.zeros((2, 64, 64, 3), np.float32)}) for name in IMAGES),
    *((name, {"style_image": np.zeros((2, 33, 64, 3), np.float32)}) for name in IMAGES),
    *((name, {"content_weight": floats(*[1] * 9)}) for name in (*IMAGES, PAINT)),
    *((name, {"steps": ints(99999)}) for name in (*IMAGES, PAINT)),
    (contract.SERVING_DEFAULT, {"steps": ints(*[1] * 9)}),
    (contract.SERVING_DEFAULT, {"style_weight": floats(-0.1)}),
    (contract.SERVING_DEFAULT, {"content_image": np.zeros((2, 8, 8, 3), np.float32), "steps": ints(1, 1, 1)}),
    (contract.STYLIZE_LBFGS, {"content_weight": floats(np.nan)}),
    (contract.DESCRIBE, {"image": np.zeros((3, 64, 32, 3), np.float32)}),
    (contract.DESCRIBE, {"image": np.zeros((1, 65, 64, 3), np.float32)}),
    (contract.LIMITS, {"example": ints(*[1] * 9)}),
    *((PAINT, files_of(field, bomb(100_000))) for field in contract.FILES),
    *((PAINT, files_of(field, bomb(2**31 - 1))) for field in contract.FILES),
    *((PAINT, files_of(field, b"no picture")) for field in contract.FILES),
    (PAINT, {"style_bytes": [[b"II*\0 is a TIFF file"]]}),
    (PAINT, {"content_bytes": [noise(3, 300)]}),
    (PAINT, {"style_bytes": [[STYLES[0], noise(3, 300)]]}),
    (PAINT, {"style_bytes": [STYLES], "style_scale": floats([1, 3, 1])}),
    (PAINT, {"style_bytes": [STYLES * 3]}),
    (PAINT, {"style_bytes": np.empty((1, 0), object).tolist()}),
    (PAINT, {"style_bytes": [STYLES], "style_blend": floats([1, 1])}),
    (PAINT, {"style_bytes": [STYLES], "style_blend": floats([0, 0, 0])}),
    (PAINT, {"style_bytes": [STYLES], "style_blend": floats([1, -1, 1])}),
    (PAINT, {"style_bytes": [STYLES] * 2, "content_bytes": STYLES[:2], "style_blend": floats([0])}),
    (PAINT, {"style_bytes": [STYLES], "style_scale": floats([1, 1, 1, 1])}),
    (PAINT, {"style_bytes": [STYLES], "style_region_bytes": [[b""] * 2]}),
    (PAINT, {"style_bytes": [STYLES], "content_region_bytes": [[b""] * 2]}),
    (PAINT, {"style_scale": floats([0.1])}),
    (PAINT, {"style_layer_weights": floats([1, 1, 1])}),
    (PAINT, {"style_layer_weights": floats([np.inf, 1])}),
    (PAINT, {"start_noise": floats(1.5)}),
    (PAINT, {"start_noise": floats(np.nan)}),
    (PAINT, {"seed": ints(-1)}),
    (PAINT, {"max_side": ints(2000)}),
    (PAINT, {"max_side": ints(*[32] * 9)}),
    (PAINT, {"learning_rate": floats(1.5)}),
    (PAINT, {"reference_weight": floats(1e7)}),
    *(
        (PAINT, {control.name: [value]})
        for control in contract.CONTROLS
        if control.choices
        for value in (b"sepia", b"", "\N{SNOWMAN} 'quoted'\n".encode(), b"x" * 5000)
    ),
    *((PAINT, {"contract_version": ints(version)}) for version in (1, 3, 0, -(2**31))),
    (PAINT, {"contract_version": ints(1), "content_bytes": STYLES[:2]}),
]


def good(target: Target, signature: str) -> Any:
    if signature in (contract.DESCRIBE, contract.LIMITS):
        return target.request(signature)
    return target.images(signature) if signature in IMAGES else target.paint()


@pytest.fixture(scope="module")
def servable(tiny_model_base: Path) -> Iterator[Servable]:
    path = next(path for path in tiny_model_base.iterdir() if path.name.isdigit())
    servable = Servable(path, 1, SessionSettings(max_calls=1))
    yield servable
    servable.close()


def test_a_model_that_does_not_tell_all_its_limits_has_none(
    servable: Servable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of an older contract: its graph refuses by itself."""
    assert servable.limits is not None
    assert servable._read_limits() == servable.limits
    outputs: Any = servable.signatures[contract.LIMITS].outputs
    monkeypatch.delitem(outputs, "max_styles")
    assert servable._read_limits() is None


@pytest.mark.parametrize(("signature", "inputs"), REFUSED)
def test_the_graph_and_what_stands_before_it_say_the_same(
    server: Target, servable: Servable, monkeypatch: pytest.MonkeyPatch, signature: str, inputs: dict[str, Any]
) -> None:
    request = good(server, signature)
    for name, proto in server.request(signature, **inputs).inputs.items():
        request.inputs[name].CopyFrom(proto)
    with pytest.raises(RequestError) as before:
        servable.check(request)
    with pytest.raises(grpc.RpcError) as served:
        server.predict(request)
    assert served.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    # A real server adds where in the graph it was.
    assert before.value.message in (served.value.details() or "")
    monkeypatch.setattr(servable, "limits", None)
    with pytest.raises(GraphError) as graph:
        servable.predict(request, Call(60.0))
    assert graph.value.message == before.value.message


def test_bytes_that_are_no_text_are_refused_alike(
    server: Target, servable: Servable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph shows them, and TensorFlow's Python cannot read its text then."""
    request = server.paint(colors=[b"\xff\xfe"])
    with pytest.raises(RequestError) as before:
        servable.check(request)
    monkeypatch.setattr(servable, "limits", None)
    with pytest.raises(RequestError) as graph:
        servable.predict(request, Call(60.0))
    assert graph.value.message == before.value.message
    with pytest.raises(grpc.RpcError) as served:
        server.predict(request)
    assert served.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_what_cannot_be_is_refused_while_there_is_no_place_to_wait(single: Target) -> None:
    running = single.start()
    image = np.zeros((1, 8, 8, 3), np.float32)
    refusals = {
        "steps must be from 0 to 5000; got": single.images(steps=99999),
        "max_side must be from 16 to 64; got": single.paint(max_side=ints(2000)),
        "contract_version must be": single.paint(contract_version=ints(1)),
        "style_region_bytes must be a file of one": single.paint(style_region_bytes=[[b"no mask"]]),
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
    """A model without limits gets a control of any length; a wrong rank is refused before."""
    request = server.images()
    shape = [50_000_000] if limited or name == "content_image" else [1, 50_000_000]
    _claim(request, name, tf.int32 if name == "steps" else tf.float32, shape)
    if not limited:
        monkeypatch.setattr(servable, "limits", None)
    assert _peak_of_a_refusal(servable, request) < 1_000_000


@pytest.mark.parametrize("field", contract.SIGNATURES[PAINT].inputs, ids=lambda field: field.name)
def test_what_one_value_of_paint_claims_takes_no_memory(
    server: Target, servable: Servable, field: contract.Field
) -> None:
    shapes = [[50_000_000]] if len(field.shape) == 1 else [[1, 50_000_000], [50_000_000, 1], [50_000, 50_000]]
    for shape in shapes:
        request = server.paint()
        _claim(request, field.name, tf.as_dtype(field.dtype), shape)
        assert _peak_of_a_refusal(servable, request) < 1_000_000


def _claim(request: Any, name: str, dtype: tf.DType, shape: list[int]) -> None:
    request.inputs[name].CopyFrom(tf.make_tensor_proto("1" if dtype == tf.string else 1, dtype, [1]))
    request.inputs[name].ClearField("tensor_shape")
    for size in shape:
        request.inputs[name].tensor_shape.dim.add(size=size)


def _peak_of_a_refusal(servable: Servable, request: Any) -> int:
    """Most bytes of memory that Python took for it."""
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            servable.check(request)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
