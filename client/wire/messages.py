"""TensorFlow Serving's messages, as far as this client uses them: the same bytes on the wire, without TensorFlow.

`proto/*.proto` define them, and `make protos` compiles these files to the descriptor set that is loaded here. Types of
the fields are in `messages.pyi`; tests compare both with the descriptors, and the descriptors with the original ones.

The descriptors live in a pool of their own: two definitions of one message clash in protobuf's default pool, which
TensorFlow uses. Protobuf keeps the fields of a message that are not defined here.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Final, cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

_DESCRIPTORS: Final = Path(__file__).with_name("proto") / "tensorflow_serving.protoset"
_POOL: Final = descriptor_pool.DescriptorPool()
for _file in FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file:
    _POOL.Add(_file)  # imported files come first


def _message(full_name: str) -> type[Message]:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))


def _enum(name: str, full_name: str) -> type[IntEnum]:
    members = {value.name: value.number for value in _POOL.FindEnumTypeByName(full_name).values}
    return cast("type[IntEnum]", IntEnum(name, members, module=__name__))


DataType: Final = _enum("DataType", "tensorflow.DataType")
ModelVersionState: Final = _enum("ModelVersionState", "tensorflow.serving.ModelVersionStatus.State")
ErrorCode: Final = _enum("ErrorCode", "tensorflow.error.Code")

AnyMessage: Final = _message("google.protobuf.Any")
Int64Value: Final = _message("google.protobuf.Int64Value")
TensorShapeProto: Final = _message("tensorflow.TensorShapeProto")
TensorProto: Final = _message("tensorflow.TensorProto")
TensorInfo: Final = _message("tensorflow.TensorInfo")
SignatureDef: Final = _message("tensorflow.SignatureDef")
SignatureDefMap: Final = _message("tensorflow.serving.SignatureDefMap")
ModelSpec: Final = _message("tensorflow.serving.ModelSpec")
PredictRequest: Final = _message("tensorflow.serving.PredictRequest")
PredictResponse: Final = _message("tensorflow.serving.PredictResponse")
GetModelMetadataRequest: Final = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse: Final = _message("tensorflow.serving.GetModelMetadataResponse")
GetModelStatusRequest: Final = _message("tensorflow.serving.GetModelStatusRequest")
StatusProto: Final = _message("tensorflow.serving.StatusProto")
ModelVersionStatus: Final = _message("tensorflow.serving.ModelVersionStatus")
GetModelStatusResponse: Final = _message("tensorflow.serving.GetModelStatusResponse")

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA: Final = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
