"""TensorFlow Serving's configuration files, in protobuf's text format.

Three of the messages are not in `tensorflow-serving-api`. They are defined here with the names, types and numbers of
`tensorflow_serving/config/{ssl,monitoring}_config.proto` and `servables/tensorflow/session_bundle_config.proto`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from .errors import StartError

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_KINDS: Final = {"string": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL, "int64": _FIELD.TYPE_INT64}
_MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "tensorflow.serving.PrometheusConfig")},
}
"""Fields of each message, with number and type."""


def _classes() -> dict[str, type[Message]]:
    pool = descriptor_pool.DescriptorPool()  # of our own: TensorFlow may bring the same messages one day
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="styleserve/config_files.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, declared) in fields.items():
            added = message.field.add(name=field, number=number)
            repeated, _, kind = declared.rpartition(" ")
            added.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if kind in _KINDS:
                added.type = _KINDS[kind]
            else:
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".{kind}"
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
        for name in _MESSAGES
    }


_CLASSES: Final = _classes()
SSLConfig: Final = _CLASSES["SSLConfig"]
MonitoringConfig: Final = _CLASSES["MonitoringConfig"]


def read_config(path: Path, kind: type[Message]) -> Any:  # noqa: ANN401 - its fields are known at run time only
    """Message of class `kind` in a file.

    Raises:
        StartError: The file is not readable, or holds no such message.
    """
    what = f"{path} is no {kind.DESCRIPTOR.name} in protobuf's text format"
    try:
        return text_format.Parse(path.read_text(), kind())
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        if kind is not SSLConfig:
            raise StartError(f"{what}: {error}") from error
        # protobuf quotes the invalid text, which may be a private key.
        fields = ", ".join(field.name for field in kind.DESCRIPTOR.fields)
        raise StartError(
            f"{what}: {_place(error)}. Its fields are {fields}; texts stand in quotes, with \\n for the end of a line."
        ) from None


def _place(error: text_format.ParseError | UnicodeDecodeError) -> str:
    """Place in a file of the parse error."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is no UTF-8"
    return f"reading stopped at line {error.GetLine()}, column {error.GetColumn()}"
