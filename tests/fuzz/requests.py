"""Requests that no honest client would send, as the bytes that go over the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from hypothesis import strategies as st
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from styleserve import contract

from .good import GOOD, OPTIONAL, paint_request
from .inputs import NEAR, any_tensor, near_state

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
"""Statuses of each method, beside OK, for a permitted client."""

NO_OUTPUT = "does not have output 0"
"""The one refusal that TensorFlow Serving calls OUT_OF_RANGE: of a SavedModel's initialiser as a signature."""


@dataclass(frozen=True)
class Aim:
    """Target of an attack.

    Attributes:
        base_path: Path of the model that is served.
        version: Version that is served.
        token: Token that the server accepts.
        states: a state of a run of the model, by loss and optimiser.
    """

    base_path: str
    version: int
    token: str
    states: dict[tuple[str, str], bytes] = field(repr=False)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        # When Hypothesis tells of a draw it would print the megabytes of the states all the same, and warn of it.
        printer.text(repr(self))


@dataclass(frozen=True)
class Case:
    """A call.

    Attributes:
        method: Method that is called.
        message: the bytes of the request.
        metadata: Metadata of the call, with or without a token.
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
        """Fault of an answer; None if it is valid."""
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


def _fill_spec(draw: st.DrawFn, spec: model_pb2.ModelSpec) -> None:
    spec.name = contract.DEFAULT_MODEL_NAME if draw(st.integers(0, 9)) else draw(_NAMES)
    if draw(st.integers(0, 9)) == 0:
        spec.version.value = draw(_INT64)
    elif draw(st.integers(0, 9)) == 0:
        spec.version_label = draw(_NAMES)


def _fill_paint(draw: st.DrawFn, request: predict_pb2.PredictRequest, aim: Aim) -> None:
    """A run that begins, with a few of its options, or one that is resumed."""
    if draw(st.integers(0, 3)):
        for name, proto in paint_request().inputs.items():
            request.inputs[name].CopyFrom(proto)
        for name in draw(st.lists(st.sampled_from(list(OPTIONAL)), max_size=4)):
            request.inputs[name].CopyFrom(draw(st.sampled_from(OPTIONAL[name])))
        return
    loss, optimizer = variant = draw(st.sampled_from(list(aim.states)))
    resumed = paint_request(state=b"one", loss=loss, optimizer=optimizer)
    resumed.inputs[contract.STATE.name].CopyFrom(draw(near_state(aim.states[variant])))
    for name, proto in resumed.inputs.items():
        request.inputs[name].CopyFrom(proto)


@st.composite
def _predicts(draw: st.DrawFn, aim: Aim) -> bytes:
    request = predict_pb2.PredictRequest()
    if draw(st.integers(0, 30)):
        _fill_spec(draw, request.model_spec)
    # Half of all are for `paint`, which has most inputs.
    signature = draw(st.sampled_from([*contract.SIGNATURES.values(), *[contract.SIGNATURES[contract.PAINT]] * 3]))
    known = draw(st.integers(0, 15)) > 0
    request.model_spec.signature_name = signature.name if known else draw(_NAMES)
    names = [field.name for field in signature.inputs]
    if signature.name == contract.PAINT:
        _fill_paint(draw, request, aim)
    else:
        for name in GOOD.keys() & set(names):
            request.inputs[name].CopyFrom(GOOD[name])
    # One or two inputs are attacked, so that the others do not have all refused for them.
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        request.inputs[name].CopyFrom(draw(NEAR[name] if draw(st.integers(0, 3)) else any_tensor()))
    if draw(st.integers(0, 15)) == 0:
        request.inputs[draw(st.one_of(_NAMES, st.sampled_from(_INPUTS)))].CopyFrom(draw(any_tensor()))
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
        PREDICT: _predicts(aim),
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
