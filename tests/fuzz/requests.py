"""Requests that no honest client would send, as the bytes that go over the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from styleserve import contract
from styleserve.serving.tensors import _varint

from .files import SERVED, good_file, hostile_files

PREDICTION = "/tensorflow.serving.PredictionService/"
MODELS = "/tensorflow.serving.ModelService/"
PREDICT, METADATA = PREDICTION + "Predict", PREDICTION + "GetModelMetadata"
STATUS, RELOAD = MODELS + "GetModelStatus", MODELS + "HandleReloadConfigRequest"

_CODE = grpc.StatusCode
REFUSALS = {
    PREDICT: {_CODE.INVALID_ARGUMENT, _CODE.NOT_FOUND, _CODE.FAILED_PRECONDITION},
    METADATA: {_CODE.INVALID_ARGUMENT, _CODE.NOT_FOUND},
    STATUS: {_CODE.INVALID_ARGUMENT, _CODE.NOT_FOUND},
    # TensorFlow Serving's own status for a model that does not become available.
    RELOAD: {_CODE.INVALID_ARGUMENT, _CODE.FAILED_PRECONDITION, _CODE.UNKNOWN},
}
"""What each method may answer, beside OK, to a client that may come in."""

NO_OUTPUT = "does not have output 0"
"""The one refusal that TensorFlow Serving calls OUT_OF_RANGE: of a SavedModel's initialiser as a signature."""


@dataclass(frozen=True)
class Aim:
    """What is attacked.

    Attributes:
        base_path: of the model that is served.
        version: that is served.
        token: that the server accepts.
        states: of resumable runs of the model.
    """

    base_path: str
    version: int
    token: str
    states: list[bytes] = field(repr=False)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        # When Hypothesis tells of a draw it would print the megabytes of the states all the same, and warn of it.
        printer.text(repr(self))


@dataclass(frozen=True)
class Case:
    """A call.

    Attributes:
        method: that is called.
        message: the bytes of the request.
        metadata: that go with it; a token among them or not.
        welcome: whether the token is the right one.
    """

    method: str
    message: bytes
    metadata: tuple[tuple[str, str], ...]
    welcome: bool

    def __repr__(self) -> str:
        """Short enough to be read, whole enough to be sent again."""
        return f"{self.method} {self.message.hex()} {self.metadata}"

    def fault(self, code: grpc.StatusCode, text: str) -> str | None:
        """What is wrong with an answer; None where nothing is."""
        if not self.welcome:
            return None if code is _CODE.UNAUTHENTICATED else f"a stranger got {code}: {text}"
        if code is _CODE.OK or code in REFUSALS[self.method]:
            return None if code is _CODE.OK or text else f"{code} without a text"
        if code is _CODE.OUT_OF_RANGE and text.endswith(NO_OUTPUT):
            return None
        return f"{code}: {text}"


_NAMES = st.one_of(
    st.sampled_from(
        ["", "nosuch", "\0", "../..", "%s%n", "\N{GRINNING FACE}" * 400, "a" * 5000, "__saved_model_init_op"]
    ),
    st.text(max_size=20),
)
_INPUTS = [field.name for signature in contract.SIGNATURES.values() for field in signature.inputs]
_OUTPUTS = [field.name for signature in contract.SIGNATURES.values() for field in signature.outputs]
_INT64 = st.integers(-(2**63), 2**63 - 1)
_SIZES = st.one_of(st.integers(0, 40), st.sampled_from([-1, -(2**63), 2**31, 2**62, 2**63 - 1, 10**6, 16, 32]))


@st.composite
def _tensors(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """A tensor of any type whose shape and data need not fit together."""
    proto = tensor_pb2.TensorProto()
    proto.dtype = draw(st.one_of(st.sampled_from([1, 3, 7]), st.sampled_from(types_pb2.DataType.values()), st.just(77)))
    for size in draw(st.lists(_SIZES, max_size=draw(st.sampled_from([1, 4, 5, 40])))):
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.unknown_rank = draw(st.integers(0, 20)) == 0
    if draw(st.booleans()):
        proto.tensor_content = draw(st.binary(max_size=64)) * draw(st.sampled_from([0, 1, 7, 1000]))
    times = draw(st.sampled_from([0, 1, 1, 2, 3 * 16 * 16]))
    values: dict[str, st.SearchStrategy[Any]] = {
        "float_val": st.floats(width=32),
        "double_val": st.floats(),
        "int_val": st.integers(-(2**31), 2**31 - 1),
        "int64_val": _INT64,
        "bool_val": st.booleans(),
        "half_val": st.integers(0, 2**31 - 1),
        "uint32_val": st.integers(0, 2**32 - 1),
        "uint64_val": st.integers(0, 2**64 - 1),
        "string_val": st.binary(max_size=8),
    }
    kind = draw(st.sampled_from(list(values)))
    getattr(proto, kind).extend([draw(values[kind])] * times)
    return proto


def _strings(values: list[bytes]) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=values)
    proto.tensor_shape.dim.add(size=len(values))
    return proto


def _strings_in_content(values: list[bytes]) -> tensor_pb2.TensorProto:
    content = b"".join([*(_varint(len(value)) for value in values), *values])
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=content)
    proto.tensor_shape.dim.add(size=len(values))
    return proto


def _numbers(array: np.ndarray[Any, Any]) -> tensor_pb2.TensorProto:
    dtype = types_pb2.DT_FLOAT if array.dtype == np.float32 else types_pb2.DT_INT32
    proto = tensor_pb2.TensorProto(dtype=dtype, tensor_content=array.tobytes())
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@st.composite
def _images(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """Images that are right but for their sizes or a few values."""
    sides = st.sampled_from([0, 1, 2, 4, 5, 16, 17, 33, 64, 65])
    shape = (
        draw(st.sampled_from([0, 1, 1, 1, 2, 5])),
        draw(sides),
        draw(sides),
        draw(st.sampled_from([3, 3, 3, 1, 4])),
    )
    image = np.full(shape, 0.5, np.float32)
    if image.size and draw(st.booleans()):
        image.reshape(-1)[draw(st.integers(0, image.size - 1))] = draw(st.floats(width=32))
    return _numbers(image)


_FLOATS = st.lists(
    st.one_of(st.floats(width=32), st.sampled_from([0.0, 1.0, float(np.float32(0.02)), 1e12, float(np.float32(3e38))])),
    min_size=0,
    max_size=3,
).map(lambda values: _numbers(np.array(values, np.float32)))
_STEPS = st.lists(st.one_of(st.integers(0, 3), st.integers(-(2**31), 2**31 - 1)), min_size=0, max_size=3).map(
    lambda values: _numbers(np.array(values, np.int32))
)
_SIDES = st.lists(st.one_of(st.integers(16, 64), st.integers(-(2**31), 2**31 - 1)), min_size=0, max_size=3).map(
    lambda values: _numbers(np.array(values, np.int32))
)


def _states(aim: Aim) -> st.SearchStrategy[tensor_pb2.TensorProto]:
    """Real states with a few bytes of the header or of the numbers changed, cut short or too long; and other bytes."""

    def changed(state: bytes, at: int, what: bytes, length: int) -> bytes:
        at %= len(state) - len(what)
        return (state[:at] + what + state[at + len(what) :])[: len(state) + length] + bytes(max(0, length))

    nan = np.array([np.nan, np.inf], np.float32).tobytes()
    what = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([nan, b"\xff" * 4, b"\xff\xff\xff\x7f", b""]))
    places = st.one_of(st.integers(32, 47), st.integers(0, 2**30))
    real = st.builds(
        changed,
        st.sampled_from(range(len(aim.states))).map(aim.states.__getitem__),
        places,
        what,
        st.sampled_from([0, 0, 0, -1, 1, -4, 4]),
    )
    return st.lists(st.one_of(real, real, st.binary(max_size=60)), min_size=1, max_size=2).map(_strings)


def _inputs(aim: Aim) -> dict[str, st.SearchStrategy[tensor_pb2.TensorProto]]:
    """Of each input what is nearly right; `_tensors` are mostly refused at the door."""
    contents = st.lists(hostile_files(SERVED), min_size=1, max_size=2)
    files = st.one_of(contents.map(_strings), contents.map(_strings_in_content))
    near: dict[str, st.SearchStrategy[tensor_pb2.TensorProto]] = {}
    for name in _INPUTS:
        if name.endswith("_image") or name == contract.IMAGE.name:
            near[name] = _images()
        elif name.endswith("_bytes"):
            near[name] = files
        else:
            near[name] = _FLOATS
    near[contract.STEPS.name] = _STEPS
    near[contract.MAX_SIDE.name] = _SIDES
    near[contract.EXAMPLE.name] = _SIDES
    near[contract.STATE.name] = _states(aim)
    return near


_GOOD: dict[str, tensor_pb2.TensorProto] = {
    contract.CONTENT_IMAGE.name: _numbers(np.full((1, 16, 20, 3), 0.5, np.float32)),
    contract.STYLE_IMAGE.name: _numbers(np.full((1, 20, 16, 3), 0.25, np.float32)),
    contract.IMAGE.name: _numbers(np.full((1, 16, 20, 3), 0.5, np.float32)),
    contract.CONTENT_BYTES.name: _strings([good_file("png")]),
    contract.STYLE_BYTES.name: _strings([good_file("jpeg")]),
    contract.STEPS.name: _numbers(np.array([1], np.int32)),
    contract.MAX_SIDE.name: _numbers(np.array([24], np.int32)),
}


def _fill_spec(draw: st.DrawFn, spec: model_pb2.ModelSpec) -> None:
    spec.name = contract.DEFAULT_MODEL_NAME if draw(st.integers(0, 9)) else draw(_NAMES)
    if draw(st.integers(0, 9)) == 0:
        spec.version.value = draw(_INT64)
    elif draw(st.integers(0, 9)) == 0:
        spec.version_label = draw(_NAMES)


@st.composite
def _predicts(draw: st.DrawFn, near: dict[str, st.SearchStrategy[tensor_pb2.TensorProto]]) -> bytes:
    request = predict_pb2.PredictRequest()
    if draw(st.integers(0, 30)):
        _fill_spec(draw, request.model_spec)
    signature = draw(st.sampled_from(list(contract.SIGNATURES.values())))
    known = draw(st.integers(0, 15)) > 0
    request.model_spec.signature_name = signature.name if known else draw(_NAMES)
    names = [field.name for field in signature.inputs]
    if signature.name in (contract.STYLIZE_RESUMABLE, contract.STYLIZE_LBFGS_RESUMABLE):
        ways = [("content_image", "style_image"), ("content_bytes", "style_bytes"), ("state",)]
        names = [*draw(st.sampled_from(ways)), "steps", "max_side"]
    for name in names:
        if name in _GOOD:
            request.inputs[name].CopyFrom(_GOOD[name])
        elif name == contract.STATE.name:
            request.inputs[name].CopyFrom(draw(near[name]))
    # One or two inputs are attacked, so that the others do not have all refused for them.
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        request.inputs[name].CopyFrom(draw(near[name] if draw(st.integers(0, 3)) else _tensors()))
    if draw(st.integers(0, 15)) == 0:
        request.inputs[draw(st.one_of(_NAMES, st.sampled_from(_INPUTS)))].CopyFrom(draw(_tensors()))
    if draw(st.integers(0, 7)) == 0:
        outputs = st.one_of(
            st.sampled_from([field.name for field in signature.outputs]), st.sampled_from(_OUTPUTS), _NAMES
        )
        request.output_filter.extend(draw(st.lists(outputs, max_size=3)))
    return request.SerializeToString()


@st.composite
def _metadata_requests(draw: st.DrawFn) -> bytes:
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    if draw(st.integers(0, 9)):
        _fill_spec(draw, request.model_spec)
    request.metadata_field.extend(draw(st.lists(st.one_of(st.just("signature_def"), _NAMES), max_size=3)))
    return request.SerializeToString()


@st.composite
def _status_requests(draw: st.DrawFn) -> bytes:
    request = get_model_status_pb2.GetModelStatusRequest()
    if draw(st.integers(0, 9)):
        _fill_spec(draw, request.model_spec)
    return request.SerializeToString()


@st.composite
def _reloads(draw: st.DrawFn, aim: Aim) -> bytes:
    """Configurations that change nothing: they are refused, or say again what is the case."""
    request = model_management_pb2.ReloadConfigRequest()
    if draw(st.booleans()):
        path = st.one_of(
            st.sampled_from(["/nosuch", "/dev/null", "/a\0b", "/" + "x" * 5000, "/../..", "//", ""]), _NAMES
        )
        for _ in range(draw(st.integers(1, 3))):
            config = request.config.model_config_list.config.add()
            config.name, config.base_path = draw(_NAMES), draw(path)
            config.model_platform = draw(st.one_of(st.just("tensorflow"), _NAMES))
            for label in draw(st.lists(_NAMES, max_size=2)):
                config.version_labels[label] = draw(_INT64)
    else:
        config = request.config.model_config_list.config.add()
        config.name, config.base_path = contract.DEFAULT_MODEL_NAME, aim.base_path
        config.model_platform = "tensorflow"
        for label in draw(st.lists(_NAMES, max_size=2)):
            config.version_labels[label] = draw(st.one_of(st.just(aim.version), _INT64))
        if draw(st.booleans()):
            config.model_version_policy.specific.versions.extend([aim.version, *draw(st.lists(_INT64, max_size=3))])
        elif draw(st.booleans()):
            config.model_version_policy.latest.num_versions = draw(st.integers(0, 2**32 - 1))
    return request.SerializeToString()


def _damage(message: bytes, at: int, what: bytes, kind: str) -> bytes:
    at %= len(message) + 1
    if kind == "cut":
        return message[:at]
    if kind == "insert":
        return message[:at] + what + message[at:]
    return message[:at] + what + message[at + len(what) :]


# A field of a number that no message has, with a varint in it, a length, a fixed number, and a group that never ends.
_UNKNOWN_FIELDS = [b"\xf8\xff\x01\x05", b"\xfa\xff\x01\x03abc", b"\xfd\xff\x01abcd", b"\xfb\xff\x01"]

_DAMAGES = st.tuples(
    st.integers(0, 2**20),
    st.one_of(st.binary(min_size=1, max_size=6), st.sampled_from(_UNKNOWN_FIELDS)),
    st.sampled_from(["cut", "insert", "overwrite"]),
)
_IDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)


@st.composite
def _headers(draw: st.DrawFn, token: str) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Metadata, and whether it holds the right token."""
    ids = [("x-request-id", value.strip()) for value in draw(st.lists(_IDS, max_size=2))]
    right = [("authorization", f"Bearer {token}")]
    if draw(st.integers(0, 19)):
        return tuple(ids + right), True
    wrong = st.one_of(
        st.sampled_from(["", "Bearer", "Bearer ", f"Basic {token}", token, f"Bearer {token}x", f"Bearer {token[:-1]}"]),
        _IDS.map(lambda value: f"Bearer {value}".strip()),
    )
    return tuple(ids + [("authorization", value) for value in draw(st.lists(wrong, max_size=3))]), False


@st.composite
def cases(draw: st.DrawFn, aim: Aim) -> Case:
    """Calls of every kind, most of them Predict."""
    method = draw(st.sampled_from([PREDICT] * 12 + [METADATA, STATUS, RELOAD]))
    messages = {
        PREDICT: _predicts(_inputs(aim)),
        METADATA: _metadata_requests(),
        STATUS: _status_requests(),
        RELOAD: _reloads(aim),
    }
    message = draw(messages[method])
    # A damaged configuration might be one that changes what is served, so it is cut alone.
    if draw(st.integers(0, 5)) == 0:
        at, what, kind = draw(_DAMAGES)
        message = _damage(message, at, what, "cut" if method == RELOAD else kind)
    metadata, welcome = draw(_headers(aim.token))
    return Case(method, message, metadata, welcome)
