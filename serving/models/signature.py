"""Signature of a model: checks the inputs of a request, and maps its names to tensors of the graph.

Checks of names and types, and all messages, are those of TensorFlow Serving. Shapes are checked here because a Python
session refuses a wrong rank before the graph does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from ..errors import LoadError, RequestError
from ..requests.tensors import MAX_UNSENT_BYTES, Array, TensorError, dtype_name, shape_of, to_array, unsent_bytes

_MAX_INPUTS = 1024
"""Most inputs of a request. A hostile message may have tens of millions."""


@dataclass(frozen=True)
class Endpoint:
    """A tensor of the graph: name, data type and shape (None: any size, or any rank)."""

    tensor_name: str
    dtype: int
    shape: tuple[int | None, ...] | None

    @classmethod
    def from_info(cls, info: meta_graph_pb2.TensorInfo) -> Endpoint:
        """Endpoint of a TensorInfo."""
        shape = info.tensor_shape
        sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
        return cls(info.name, info.dtype, sizes)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits.

        >>> Endpoint("x:0", 1, (None, 3)).accepts((7, 3)), Endpoint("x:0", 1, (None, 3)).accepts((3,))
        (True, False)
        """
        if self.shape is None:
            return True
        if len(shape) != len(self.shape):
            return False
        return all(want is None or want == have for want, have in zip(self.shape, shape, strict=True))


class Signature:
    """A signature with the defaults of its SignatureDef.

    Raises:
        LoadError: A default is not a tensor.
    """

    def __init__(self, name: str, definition: meta_graph_pb2.SignatureDef) -> None:
        self.name = name
        self.method_name = definition.method_name
        self.inputs = {alias: Endpoint.from_info(info) for alias, info in sorted(definition.inputs.items())}
        self.outputs = {alias: Endpoint.from_info(info) for alias, info in sorted(definition.outputs.items())}
        try:
            self.defaults = {alias: to_array(proto) for alias, proto in definition.defaults.items()}
        except TensorError as error:
            raise LoadError(f"a default of signature {name} is not a tensor: {error}") from error

    def check(self, inputs: Mapping[str, tensor_pb2.TensorProto], output_filter: Iterable[str]) -> None:
        """Checks names, types and shapes of a request. No value is read.

        Raises:
            RequestError: An input is missing, unknown, or of the wrong type or shape, or an output is unknown.
        """
        if len(inputs) > _MAX_INPUTS:  # too many to sort and list
            raise RequestError(f"input size does not match signature: {len(inputs)}!={len(self.inputs)}")
        self._check_names(set(inputs))
        self.fetches(output_filter)
        feeds = sorted(endpoint.tensor_name for endpoint in self.inputs.values())
        for alias, endpoint in self.inputs.items():
            if alias in inputs:
                _check_shape(alias, feeds.index(endpoint.tensor_name), endpoint, inputs[alias])

    def check_lengths(self, inputs: Mapping[str, tensor_pb2.TensorProto]) -> None:
        """Checks that the data of inputs fits their shapes, and limits the memory for values that were not sent.

        Raises:
            RequestError: The data does not fit, or more than `MAX_UNSENT_BYTES` were not sent.
        """
        unsent = 0
        for alias in self.inputs.keys() & inputs.keys():
            try:
                unsent += unsent_bytes(inputs[alias])
            except TensorError as error:
                raise RequestError(f"tensor parsing error: {alias}") from error
            if unsent > MAX_UNSENT_BYTES:
                raise RequestError(
                    f"tensor parsing error: {alias}; the shapes need {unsent} bytes beyond what was sent, and allowed "
                    f"are {MAX_UNSENT_BYTES}"
                )

    def feeds(self, inputs: Mapping[str, tensor_pb2.TensorProto]) -> dict[str, Array]:
        """Arrays by tensor name for a checked request, with defaults.

        Raises:
            RequestError: An input is corrupt.
        """
        return {
            endpoint.tensor_name: _parsed(alias, inputs[alias]) if alias in inputs else self.defaults[alias]
            for alias, endpoint in self.inputs.items()
        }

    def fetches(self, output_filter: Iterable[str]) -> dict[str, str]:
        """Tensor names by alias of the requested outputs, or of all.

        Raises:
            RequestError: An output is unknown or requested twice.
        """
        requested = list(output_filter)
        for position, alias in enumerate(requested):
            if alias not in self.outputs:
                raise RequestError(
                    f"output tensor alias not found in signature: {alias} "
                    f"Outputs expected to be in the set {_braces(self.outputs)}."
                )
            if alias in requested[:position]:
                raise RequestError(f"duplicate output tensor alias: {alias}")
        return {alias: self.outputs[alias].tensor_name for alias in requested or self.outputs}

    def _check_names(self, sent: set[str]) -> None:
        """Checks names like `GetInputValues` of TensorFlow, with its messages for signatures with defaults."""
        known = set(self.inputs)
        if len(sent) > len(known) or (len(sent) < len(known) and not self.defaults):
            raise RequestError(
                f"input size does not match signature: {len(sent)}!={len(known)} "
                f"len({_braces(sent)}) != len({_braces(known)}). "
                f"Sent extra: {_braces(sent - known)}. Missing but required: {_braces(known - sent)}."
            )
        if missing := sorted(known - sent - set(self.defaults)):
            raise RequestError(
                f"Signature input alias: {missing[0]}(feed name: {self.inputs[missing[0]].tensor_name}) not found in "
                f"request and no default value provided. Inputs expected to be in the request {_braces(sent)}, or "
                f"default input alias set: {','.join(sorted(self.defaults))}"
            )
        if sent - known:
            raise RequestError(
                f"Inputs contains invalid name. Used request inputs: {','.join(sorted(sent & known))}, "
                f"request input: {','.join(sorted(sent))}"
            )


def _check_shape(alias: str, position: int, endpoint: Endpoint, proto: tensor_pb2.TensorProto) -> None:
    provided = dtype_name(proto.dtype)
    if provided and proto.dtype != endpoint.dtype:
        raise RequestError(f"Expects arg[{position}] to be {dtype_name(endpoint.dtype)} but {provided} is provided")
    try:
        shape = shape_of(proto)
    except TensorError as error:
        raise RequestError(f"tensor parsing error: {alias}") from error
    if not provided:
        raise RequestError(f"tensor parsing error: {alias}")
    if not endpoint.accepts(shape):
        argument = f"_arg_{endpoint.tensor_name.replace(':', '_')}_{position}"
        expected = ",".join("?" if size is None else str(size) for size in endpoint.shape or ())
        came = ",".join(str(size) for size in shape)
        raise RequestError(f"Shape of tensor {argument} [{came}] is not compatible with expected shape [{expected}].")


def _parsed(alias: str, proto: tensor_pb2.TensorProto) -> Array:
    try:
        return to_array(proto)
    except TensorError as error:
        raise RequestError(f"tensor parsing error: {alias}") from error


def _braces(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
