# Fields of the messages in proto/*.proto, for type checkers.
from collections.abc import Mapping, MutableSequence, Sequence
from enum import IntEnum
from typing import Final

from google.protobuf.message import Message

class DataType(IntEnum):
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

class ModelVersionState(IntEnum):
    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50

class ErrorCode(IntEnum):
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

class AnyMessage(Message):
    type_url: str
    value: bytes

class Int64Value(Message):
    value: int

class TensorShapeProto(Message):
    class Dim(Message):
        size: int
        name: str

    dim: Sequence[Dim]
    unknown_rank: bool

class TensorProto(Message):
    dtype: int
    tensor_shape: TensorShapeProto
    version_number: int
    tensor_content: bytes
    float_val: MutableSequence[float]
    double_val: MutableSequence[float]
    int_val: MutableSequence[int]
    string_val: MutableSequence[bytes]
    int64_val: MutableSequence[int]
    bool_val: MutableSequence[bool]
    half_val: MutableSequence[int]
    uint32_val: MutableSequence[int]
    uint64_val: MutableSequence[int]

class TensorInfo(Message):
    name: str
    dtype: int
    tensor_shape: TensorShapeProto

class SignatureDef(Message):
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str
    defaults: Mapping[str, TensorProto]

class SignatureDefMap(Message):
    signature_def: Mapping[str, SignatureDef]

class ModelSpec(Message):
    name: str
    version: Int64Value
    signature_name: str
    version_label: str

class PredictRequest(Message):
    model_spec: ModelSpec
    inputs: Mapping[str, TensorProto]
    output_filter: MutableSequence[str]

class PredictResponse(Message):
    outputs: Mapping[str, TensorProto]
    model_spec: ModelSpec

class GetModelMetadataRequest(Message):
    model_spec: ModelSpec
    metadata_field: MutableSequence[str]

class GetModelMetadataResponse(Message):
    model_spec: ModelSpec
    metadata: Mapping[str, AnyMessage]

class GetModelStatusRequest(Message):
    model_spec: ModelSpec

class StatusProto(Message):
    error_code: int
    error_message: str

class ModelVersionStatus(Message):
    version: int
    state: int
    status: StatusProto

class GetModelStatusResponse(Message):
    model_version_status: Sequence[ModelVersionStatus]

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA: Final = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
