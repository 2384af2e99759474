"""Our own messages against the original ones."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf import wrappers_pb2
from google.protobuf.any_pb2 import Any as OriginalAny
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from styleserve.client.wire import messages

STUB = Path(messages.__file__).with_suffix(".pyi")
PROTOSET = STUB.parent / "proto" / "tensorflow_serving.protoset"
FOREIGN_WRAPPERS = {
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}
"""Messages of an imported file that nothing here uses."""


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
model_service_pb2_grpc = original("tensorflow_serving.apis.model_service_pb2_grpc")
prediction_service_pb2_grpc = original("tensorflow_serving.apis.prediction_service_pb2_grpc")

PAIRS: list[tuple[Any, Any]] = [
    (messages.AnyMessage, OriginalAny),
    (messages.Int64Value, wrappers_pb2.Int64Value),
    (messages.TensorShapeProto.Dim, tensor_shape_pb2.TensorShapeProto.Dim),
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


def facts(field: Any) -> dict[str, Any]:
    """Everything about a field that is on the wire, in JSON or in a program's source."""
    message = field.message_type
    parts = message.fields_by_name if message and message.GetOptions().map_entry else {}
    return {
        "number": field.number,
        "type": field.type,
        "repeated": field.is_repeated,
        "oneof": field.containing_oneof and field.containing_oneof.name,
        "message": message and message.full_name,
        "enum": field.enum_type and field.enum_type.full_name,
        "packed": field.is_packed,
        "json": field.json_name,
        "map": [facts(parts[name]) for name in parts],
    }


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda message: message.DESCRIPTOR.name)
def test_every_field_is_the_original_one(ours: Any, theirs: Any) -> None:
    assert ours.DESCRIPTOR.fields
    for field in cast("list[FieldDescriptor]", ours.DESCRIPTOR.fields):
        assert facts(field) == facts(theirs.DESCRIPTOR.fields_by_name[field.name])
    assert ours.DESCRIPTOR.full_name == theirs.DESCRIPTOR.full_name


def test_no_message_is_left_out_of_the_comparison() -> None:
    names = {ours.DESCRIPTOR.full_name for ours, _ in PAIRS}
    assert names == set(messages_of(FileDescriptorSet.FromString(PROTOSET.read_bytes()))) - FOREIGN_WRAPPERS


def messages_of(descriptors: FileDescriptorSet) -> Iterator[str]:
    """Full names of all messages but the entries of maps."""
    for file in descriptors.file:
        waiting = [(f"{file.package}.{message.name}", message) for message in file.message_type]
        while waiting:
            name, message = waiting.pop()
            if not message.options.map_entry:
                yield name
            waiting += [(f"{name}.{nested.name}", nested) for nested in message.nested_type]


def test_the_descriptor_set_is_compiled_from_the_proto_files(tmp_path: Path) -> None:
    compiled = tmp_path / PROTOSET.name
    # A process of its own: TensorFlow in the same one has other symbols of protobuf, and the compiler crashes.
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOSET.parent}", "--include_imports"]
    subprocess.run([*command, f"--descriptor_set_out={compiled}", f"{PROTOSET.stem}.proto"], check=True)
    assert compiled.read_bytes() == PROTOSET.read_bytes(), "run `make protos`"


def test_types_for_checkers_name_the_fields_of_the_descriptors() -> None:
    classes = [node for node in ast.walk(ast.parse(STUB.read_text())) if isinstance(node, ast.ClassDef)]
    declared = {
        node.name: {ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign)}
        for node in classes
    }
    values = {node.name: {ast.unparse(each) for each in node.body if isinstance(each, ast.Assign)} for node in classes}
    for ours, _ in PAIRS:
        name = {"Any": "AnyMessage"}.get(ours.DESCRIPTOR.name, ours.DESCRIPTOR.name)
        assert declared.pop(name) == set(ours.DESCRIPTOR.fields_by_name)
    for enum in (messages.DataType, messages.ModelVersionState, messages.ErrorCode):
        assert values[enum.__name__] == {f"{member.name} = {member.value}" for member in enum}
        del declared[enum.__name__]
    assert declared == {}


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
    model_service_pb2_grpc.ModelServiceStub(recorder)
    defined = FileDescriptorSet.FromString(PROTOSET.read_bytes()).file
    methods = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in defined
        for service in file.service
        for method in service.method
    }
    assert methods == {messages.PREDICT, messages.GET_MODEL_METADATA, messages.GET_MODEL_STATUS}
    assert methods <= recorder.paths
