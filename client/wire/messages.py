"""TensorFlow Serving's messages, as far as this client uses them: the same bytes on the wire, without TensorFlow.

Importing `tensorflow_serving.apis` brings all of TensorFlow with it. Here each message is one class whose body is at
once its typed form and the table its descriptor is made from. The descriptors live in a private pool, because
two definitions of one message in protobuf's default pool clash, and this client shall live beside TensorFlow.

A subset is enough: protobuf keeps what it does not know. A test holds every field against the original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal, TypeVar, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_Kind = str | type[Message] | type[IntEnum]
_M = TypeVar("_M", bound=Message)
_E = TypeVar("_E", bound=IntEnum)

_POOL: Final = descriptor_pool.DescriptorPool()
_ENUM_NAMES: Final[dict[type[IntEnum], str]] = {}
_Proto: Final = descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True)
class _Field:
    number: int
    kind: _Kind
    label: Literal["optional", "repeated", "map"] = "optional"
    oneof: str | None = None


def _one(number: int, kind: _Kind, *, oneof: str | None = None) -> Any:  # noqa: ANN401 - the annotation has the type
    return _Field(number, kind, oneof=oneof)


def _many(number: int, kind: _Kind) -> Any:  # noqa: ANN401
    return _Field(number, kind, "repeated")


def _map(number: int, kind: type[Message]) -> Any:  # noqa: ANN401
    return _Field(number, kind, "map")


def _file(full_name: str) -> descriptor_pb2.FileDescriptorProto:
    """An empty file of the pool for one type, whose name the file carries."""
    return descriptor_pb2.FileDescriptorProto(name=full_name, package=full_name.rpartition(".")[0], syntax="proto3")


def _enum(full_name: str) -> Callable[[type[_E]], type[_E]]:
    """Makes the members of a class an enum of the pool."""

    def register(members: type[_E]) -> type[_E]:
        file = _file(full_name)
        enum = file.enum_type.add(name=full_name.rpartition(".")[2])
        for member in members:
            enum.value.add(name=member.name, number=member.value)
        _POOL.AddSerializedFile(file.SerializeToString())
        _ENUM_NAMES[members] = full_name
        return members

    return register


def _message(full_name: str) -> Callable[[type[_M]], type[_M]]:
    """Makes the fields in the body of a class a message of the pool, and stands in for the class."""

    def register(body: type[_M]) -> type[_M]:
        file = _file(full_name)
        message = file.message_type.add(name=full_name.rpartition(".")[2])
        oneofs: list[str] = []
        imports: set[str] = set()
        for name, field in vars(body).items():
            if not isinstance(field, _Field):
                continue
            added = message.field.add(name=name, number=field.number)
            added.label = _Proto.LABEL_OPTIONAL if field.label == "optional" else _Proto.LABEL_REPEATED
            if field.oneof is not None:
                if field.oneof not in oneofs:
                    oneofs.append(field.oneof)
                    message.oneof_decl.add(name=field.oneof)
                added.oneof_index = oneofs.index(field.oneof)
            typed = added
            if field.label == "map":  # on the wire: a repeated message of key and value
                entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=_Proto.TYPE_STRING, label=_Proto.LABEL_OPTIONAL)
                typed = entry.field.add(name="value", number=2, label=_Proto.LABEL_OPTIONAL)
                added.type, added.type_name = _Proto.TYPE_MESSAGE, f".{full_name}.{entry.name}"
            if isinstance(field.kind, str):
                typed.type = _Proto.Type.Value(f"TYPE_{field.kind.upper()}")
                continue
            if issubclass(field.kind, Message):
                typed.type, imported = _Proto.TYPE_MESSAGE, field.kind.DESCRIPTOR.full_name
            else:
                typed.type, imported = _Proto.TYPE_ENUM, _ENUM_NAMES[field.kind]
            typed.type_name = f".{imported}"
            imports.add(imported)
        file.dependency.extend(sorted(imports))
        _POOL.AddSerializedFile(file.SerializeToString())
        return cast("type[_M]", message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name)))

    return register


@_enum("tensorflow.DataType")
class DataType(IntEnum):
    """Element types of a tensor."""

    DT_INVALID = 0
    DT_FLOAT = 1
    DT_DOUBLE = 2
    DT_INT32 = 3
    DT_UINT8 = 4
    DT_INT16 = 5
    DT_INT8 = 6
    DT_STRING = 7
    DT_INT64 = 9
    DT_BOOL = 10
    DT_BFLOAT16 = 14
    DT_UINT16 = 17
    DT_HALF = 19
    DT_UINT32 = 22
    DT_UINT64 = 23


@_enum("tensorflow.serving.ModelVersionState")
class ModelVersionState(IntEnum):
    """Where a version of a model is in its life (`ModelVersionStatus.State` in the original)."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@_enum("tensorflow.error.Code")
class ErrorCode(IntEnum):
    """Why a version of a model is not available; the numbers are gRPC's."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@_message("google.protobuf.Any")
class AnyMessage(Message):
    """A message of any type, as bytes."""

    type_url: str = _one(1, "string")
    value: bytes = _one(2, "bytes")


@_message("google.protobuf.Int64Value")
class Int64Value(Message):
    """A number that may be absent."""

    value: int = _one(1, "int64")


@_message("tensorflow.TensorShapeProtoDim")
class TensorShapeProtoDim(Message):
    """One dimension; the size -1 is unknown (`TensorShapeProto.Dim` in the original)."""

    size: int = _one(1, "int64")
    name: str = _one(2, "string")


@_message("tensorflow.TensorShapeProto")
class TensorShapeProto(Message):
    """A shape."""

    dim: Sequence[TensorShapeProtoDim] = _many(2, TensorShapeProtoDim)
    unknown_rank: bool = _one(3, "bool")


@_message("tensorflow.TensorProto")
class TensorProto(Message):
    """A tensor: raw in `tensor_content`, or as numbers in the list of its type."""

    dtype: int = _one(1, DataType)
    tensor_shape: TensorShapeProto = _one(2, TensorShapeProto)
    version_number: int = _one(3, "int32")
    tensor_content: bytes = _one(4, "bytes")
    float_val: MutableSequence[float] = _many(5, "float")
    double_val: MutableSequence[float] = _many(6, "double")
    int_val: MutableSequence[int] = _many(7, "int32")
    string_val: MutableSequence[bytes] = _many(8, "bytes")
    int64_val: MutableSequence[int] = _many(10, "int64")
    bool_val: MutableSequence[bool] = _many(11, "bool")
    half_val: MutableSequence[int] = _many(13, "int32")
    uint32_val: MutableSequence[int] = _many(16, "uint32")
    uint64_val: MutableSequence[int] = _many(17, "uint64")


@_message("tensorflow.TensorInfo")
class TensorInfo(Message):
    """An input or output of a signature."""

    name: str = _one(1, "string", oneof="encoding")
    dtype: int = _one(2, DataType)
    tensor_shape: TensorShapeProto = _one(3, TensorShapeProto)


@_message("tensorflow.SignatureDef")
class SignatureDef(Message):
    """One callable of a model."""

    inputs: Mapping[str, TensorInfo] = _map(1, TensorInfo)
    outputs: Mapping[str, TensorInfo] = _map(2, TensorInfo)
    method_name: str = _one(3, "string")
    defaults: Mapping[str, TensorProto] = _map(4, TensorProto)


@_message("tensorflow.serving.SignatureDefMap")
class SignatureDefMap(Message):
    """The signatures of a model; travels inside an `AnyMessage`."""

    signature_def: Mapping[str, SignatureDef] = _map(1, SignatureDef)


@_message("tensorflow.serving.ModelSpec")
class ModelSpec(Message):
    """Which model, which of its versions, and which signature."""

    name: str = _one(1, "string")
    version: Int64Value = _one(2, Int64Value, oneof="version_choice")
    signature_name: str = _one(3, "string")
    version_label: str = _one(4, "string", oneof="version_choice")


@_message("tensorflow.serving.PredictRequest")
class PredictRequest(Message):
    """Tensors in."""

    model_spec: ModelSpec = _one(1, ModelSpec)
    inputs: Mapping[str, TensorProto] = _map(2, TensorProto)
    output_filter: MutableSequence[str] = _many(3, "string")


@_message("tensorflow.serving.PredictResponse")
class PredictResponse(Message):
    """Tensors out."""

    outputs: Mapping[str, TensorProto] = _map(1, TensorProto)
    model_spec: ModelSpec = _one(2, ModelSpec)


@_message("tensorflow.serving.GetModelMetadataRequest")
class GetModelMetadataRequest(Message):
    """Asks for the signatures of a model."""

    model_spec: ModelSpec = _one(1, ModelSpec)
    metadata_field: MutableSequence[str] = _many(2, "string")


@_message("tensorflow.serving.GetModelMetadataResponse")
class GetModelMetadataResponse(Message):
    """The signatures of a model."""

    model_spec: ModelSpec = _one(1, ModelSpec)
    metadata: Mapping[str, AnyMessage] = _map(2, AnyMessage)


@_message("tensorflow.serving.GetModelStatusRequest")
class GetModelStatusRequest(Message):
    """Asks whether the versions of a model are available."""

    model_spec: ModelSpec = _one(1, ModelSpec)


@_message("tensorflow.serving.StatusProto")
class StatusProto(Message):
    """Success or an error."""

    error_code: int = _one(1, ErrorCode)
    error_message: str = _one(2, "string")


@_message("tensorflow.serving.ModelVersionStatus")
class ModelVersionStatus(Message):
    """Whether one version of a model is available."""

    version: int = _one(1, "int64")
    state: int = _one(2, ModelVersionState)
    status: StatusProto = _one(3, StatusProto)


@_message("tensorflow.serving.GetModelStatusResponse")
class GetModelStatusResponse(Message):
    """Whether the versions of a model are available."""

    model_version_status: Sequence[ModelVersionStatus] = _many(1, ModelVersionStatus)


PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA: Final = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
