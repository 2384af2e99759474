"""Our own messages against the original ones."""

from __future__ import annotations

from typing import Any, cast

import pytest
from google.protobuf import wrappers_pb2
from google.protobuf.any_pb2 import Any as OriginalAny
from google.protobuf.descriptor import FieldDescriptor

from styleserve.client.wire import messages


def original(module: str) -> Any:
    """A module of TensorFlow's messages, which have no types."""
    return pytest.importorskip(module, reason="compares with TensorFlow's messages")


tensor_pb2 = original("tensorflow.core.framework.tensor_pb2")
tensor_shape_pb2 = original("tensorflow.core.framework.tensor_shape_pb2")
types_pb2 = original("tensorflow.core.framework.types_pb2")
error_codes_pb2 = original("tensorflow.core.protobuf.error_codes_pb2")
meta_graph_pb2 = original("tensorflow.core.protobuf.meta_graph_pb2")
get_model_metadata_pb2 = original("tensorflow_serving.apis.get_model_metadata_pb2")
get_model_status_pb2 = original("tensorflow_serving.apis.get_model_status_pb2")
model_pb2 = original("tensorflow_serving.apis.model_pb2")
predict_pb2 = original("tensorflow_serving.apis.predict_pb2")
status_pb2 = original("tensorflow_serving.apis.status_pb2")
prediction_service_pb2_grpc = original("tensorflow_serving.apis.prediction_service_pb2_grpc")

PAIRS: list[tuple[Any, Any]] = [
    (messages.AnyMessage, OriginalAny),
    (messages.Int64Value, wrappers_pb2.Int64Value),
    (messages.TensorShapeProtoDim, tensor_shape_pb2.TensorShapeProto.Dim),
    (messages.TensorShapeProto, tensor_shape_pb2.TensorShapeProto),
    (messages.TensorProto, tensor_pb2.TensorProto),
    (messages.TensorInfo, meta_graph_pb2.TensorInfo),
    (messages.SignatureDef, meta_graph_pb2.SignatureDef),
    (messages.SignatureDefMap, get_model_metadata_pb2.SignatureDefMap),
    (messages.ModelSpec, model_pb2.ModelSpec),
    (messages.PredictRequest, predict_pb2.PredictRequest),
    (messages.PredictResponse, predict_pb2.PredictResponse),
    (messages.GetModelMetadataRequest, get_model_metadata_pb2.GetModelMetadataRequest),
    (messages.GetModelMetadataResponse, get_model_metadata_pb2.GetModelMetadataResponse),
    (messages.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest),
    (messages.StatusProto, status_pb2.StatusProto),
    (messages.ModelVersionStatus, get_model_status_pb2.ModelVersionStatus),
    (messages.GetModelStatusResponse, get_model_status_pb2.GetModelStatusResponse),
]
ORIGINAL_NAME = {ours.DESCRIPTOR.full_name: theirs.DESCRIPTOR.full_name for ours, theirs in PAIRS}
ENUM_NAMES = {"tensorflow.serving.ModelVersionState": "tensorflow.serving.ModelVersionStatus.State"}


def facts(field: Any, *, ours: bool) -> dict[str, Any]:
    """Everything about a field that is on the wire or in a program's source."""

    def message_name(message: Any) -> str | None:
        if message is None or message.GetOptions().map_entry:
            return None
        return ORIGINAL_NAME[message.full_name] if ours else message.full_name

    def enum_name(enum: Any) -> str | None:
        return None if enum is None else ENUM_NAMES.get(enum.full_name, enum.full_name)

    entry = field.message_type if field.message_type and field.message_type.GetOptions().map_entry else None
    return {
        "number": field.number,
        "type": field.type,
        "repeated": field.is_repeated,
        "oneof": field.containing_oneof and field.containing_oneof.name,
        "message": message_name(field.message_type),
        "enum": enum_name(field.enum_type),
        "packed": field.is_packed,
        "map": entry
        and [facts(part, ours=ours) for part in (entry.fields_by_name["key"], entry.fields_by_name["value"])],
    }


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda message: message.DESCRIPTOR.name)
def test_every_field_is_the_original_one(ours: Any, theirs: Any) -> None:
    assert ours.DESCRIPTOR.fields
    for field in cast("list[FieldDescriptor]", ours.DESCRIPTOR.fields):
        assert facts(field, ours=True) == facts(theirs.DESCRIPTOR.fields_by_name[field.name], ours=False)


def test_no_message_is_left_out_of_the_comparison() -> None:
    public = {value for name, value in vars(messages).items() if isinstance(value, type) and not name.startswith("_")}
    ours_public = {value for value in public if issubclass(value, messages.Message)}
    assert ours_public - {messages.Message} == {ours for ours, _ in PAIRS}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (messages.DataType, types_pb2.DataType),
        (messages.ModelVersionState, get_model_status_pb2.ModelVersionStatus.State),
        (messages.ErrorCode, error_codes_pb2.Code),
    ],
)
def test_every_enum_value_is_the_original_one(ours: Any, theirs: Any) -> None:
    for member in ours:
        assert theirs.Value(member.name) == member.value


def test_both_read_what_the_other_wrote() -> None:
    ours = messages.PredictRequest(
        model_spec=messages.ModelSpec(name="m", version=messages.Int64Value(value=3), signature_name="s"),
        inputs={"x": messages.TensorProto(dtype=1, float_val=[1.5, 2.5])},
        output_filter=["y"],
    )
    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert theirs.model_spec.version.value == 3
    assert list(theirs.inputs["x"].float_val) == [1.5, 2.5]
    theirs.client_id = b"unknown to us, and kept"
    again = messages.PredictRequest.FromString(theirs.SerializeToString())
    assert again.inputs["x"].float_val == [1.5, 2.5]
    assert predict_pb2.PredictRequest.FromString(again.SerializeToString()) == theirs


def test_a_version_takes_the_place_of_a_label() -> None:
    spec = messages.ModelSpec(version_label="stable")
    spec.version.CopyFrom(messages.Int64Value(value=1))
    assert not spec.version_label


def test_method_paths_are_the_original_ones() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.paths: set[str] = set()

        def unary_unary(self, path: str, **_: object) -> None:
            self.paths.add(path)

        def unary_stream(self, path: str, **_: object) -> None:
            self.paths.add(path)

    recorder = Recorder()
    prediction_service_pb2_grpc.PredictionServiceStub(recorder)
    assert {messages.PREDICT, messages.GET_MODEL_METADATA} <= recorder.paths
