"""One signature of a model: from the named tensors of a request to what the session is fed, and back.

Checks and texts are those of TensorFlow Serving, which looks at names and types; the shape check is our own, because a
session in Python refuses a wrong rank before the graph can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from .errors import LoadError, RequestError, ServingError
from .tensors import TensorError, dtype_name, to_array

METHOD_NAMES = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")

_MOST_INPUTS = 1024
"""Of a request. No model has so many, and a message may have tens of millions."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Endpoint:
    """A tensor of the graph: its name, data type and shape (None: any size, or any rank)."""

    tensor_name: str
    dtype: int
    shape: tuple[int | None, ...] | None

    @classmethod
    def from_info(cls, info: meta_graph_pb2.TensorInfo) -> Endpoint:
        """The endpoint a TensorInfo describes."""
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
    """A callable of the model, with the defaults that stand in its SignatureDef.

    Raises:
        LoadError: a default is not a tensor.
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

    @property
    def callable(self) -> bool:
        """Whether Predict may run it; a SavedModel also lists its initialiser as a signature."""
        return self.method_name in METHOD_NAMES

    def check_method(self) -> None:
        """Refuses a signature that is not there to be called.

        Raises:
            ServingError: as TensorFlow Serving, with INTERNAL.
        """
        if not self.callable:
            names = ", ".join(METHOD_NAMES)
            raise ServingError(
                f"Expected prediction signature method_name to be one of {{{names}}}. Was: {self.method_name}"
            )

    def feeds(self, inputs: Mapping[str, tensor_pb2.TensorProto]) -> dict[str, Array]:
        """Tensor name to array, the defaults filled in.

        Raises:
            RequestError: an input is missing, unknown, corrupt, or of the wrong type or shape.
        """
        if len(inputs) > _MOST_INPUTS:  # whose names would be sorted, and then cut from the text
            raise RequestError(f"input size does not match signature: {len(inputs)}!={len(self.inputs)}")
        self._check_names(set(inputs))
        feeds: dict[str, Array] = {}
        for position, (alias, endpoint) in enumerate(self.inputs.items()):
            if alias in inputs:
                feeds[endpoint.tensor_name] = _parse(alias, position, endpoint, inputs[alias])
            else:
                feeds[endpoint.tensor_name] = self.defaults[alias]
        return feeds

    def fetches(self, output_filter: Iterable[str]) -> dict[str, str]:
        """Output alias to tensor name: those asked for, or all.

        Raises:
            RequestError: an output is unknown or asked for twice.
        """
        wanted = list(output_filter)
        for position, alias in enumerate(wanted):
            if alias not in self.outputs:
                raise RequestError(
                    f"output tensor alias not found in signature: {alias} "
                    f"Outputs expected to be in the set {_braces(self.outputs)}."
                )
            if alias in wanted[:position]:
                raise RequestError(f"duplicate output tensor alias: {alias}")
        return {alias: self.outputs[alias].tensor_name for alias in wanted or self.outputs}

    def _check_names(self, sent: set[str]) -> None:
        extra = sent - set(self.inputs)
        missing = set(self.inputs) - sent - set(self.defaults)
        if missing or (extra and not self.defaults):
            raise RequestError(
                f"input size does not match signature: {len(sent)}!={len(self.inputs)} "
                f"len({_braces(sent)}) != len({_braces(self.inputs)}). "
                f"Sent extra: {_braces(extra)}. Missing but required: {_braces(missing)}."
            )
        if extra:
            used = ",".join(sorted(sent - extra))
            raise RequestError(
                f"Inputs contains invalid name. Used request inputs: {used}, request input: {','.join(sorted(sent))}"
            )


def _parse(alias: str, position: int, endpoint: Endpoint, proto: tensor_pb2.TensorProto) -> Array:
    provided = dtype_name(proto.dtype)
    if provided and proto.dtype != endpoint.dtype:
        raise RequestError(f"Expects arg[{position}] to be {dtype_name(endpoint.dtype)} but {provided} is provided")
    try:
        array = to_array(proto)
    except TensorError as error:
        raise RequestError(f"tensor parsing error: {alias}") from error
    if not endpoint.accepts(array.shape):
        expected = ",".join("?" if size is None else str(size) for size in endpoint.shape or ())
        came = ",".join(str(size) for size in array.shape)
        raise RequestError(f"Shape of tensor {alias} [{came}] is not compatible with expected shape [{expected}].")
    return array


def _braces(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
