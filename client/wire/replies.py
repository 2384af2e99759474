"""Replies of the server, read into `results`. A reply that does not fit the contract is a `BadReply`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image

from styleserve import contract

from ..errors import BadReply, ImageError, NonFiniteResult
from ..images.reading import ReadOptions, picture_from_file
from .messages import (
    ErrorCode,
    GetModelMetadataResponse,
    GetModelStatusResponse,
    ModelVersionState,
    PredictResponse,
    SignatureDefMap,
    TensorInfo,
    TensorProto,
)
from .results import (
    Default,
    Description,
    Floats,
    LayerDescription,
    Metadata,
    SignatureDescription,
    TensorDescription,
    VersionStatus,
)
from .tensors import Array, to_array, type_name

SIGNATURE_DEF: Final = "signature_def"
"""The only metadata that TensorFlow Serving has."""


def output(reply: PredictResponse, field: contract.Field) -> Array:
    """Output of a request for one example, without the batch dimension.

    Raises:
        BadReply: It is missing or damaged, or has another type or shape than in the contract.
    """
    if field.name not in reply.outputs:
        raise BadReply(f"the reply has no {field.name!r}; it has {sorted(reply.outputs)}")
    tensor = reply.outputs[field.name]
    if type_name(tensor.dtype) != field.dtype:
        raise BadReply(f"the reply's {field.name!r} is {type_name(tensor.dtype)}; it must be {field.dtype}")
    array = to_array(tensor, field.name)
    shape = (1, *field.shape[1:])
    if array.ndim != len(shape) or any(size not in (None, came) for size, came in zip(shape, array.shape, strict=True)):
        raise BadReply(f"the reply's {field.name!r} has the shape {list(array.shape)}; it must be {list(shape)}")
    return array[0]


def finite_output(reply: PredictResponse, field: contract.Field) -> Array:
    """Output of a request for one example, in which every number must be finite.

    Raises:
        NonFiniteResult: It has NaN or infinity.
        BadReply: As for `output`.
    """
    array = output(reply, field)
    if not np.isfinite(array).all():
        raise NonFiniteResult(
            f"the reply's {field.name!r} holds {_count_non_finite(array)}",
            hint="See the server's log; try other pictures.",
        )
    return array


def losses(reply: PredictResponse, steps: int, optimizer: str, *, before: int = 0) -> Floats:
    """Losses of each step, `[steps, 5]` float32, finite; columns as in `contract.LOSS_COLUMNS`.

    Args:
        reply: Reply to a request for one example.
        steps: Steps that were asked for.
        optimizer: Optimiser that was asked for.
        before: Steps of the same run that were done before.

    Raises:
        NonFiniteResult: The optimisation diverged.
        BadReply: There are not as many rows as steps.
    """
    table = output(reply, contract.LOSSES)
    # A server that batches requests sends as many rows as the longest of them has, filled up with NaN.
    if np.isnan(table[steps:]).all():
        table = table[:steps]
    if len(table) != steps:
        raise BadReply(f"the reply has {len(table)} rows of losses; {steps} steps were asked for")
    rows, columns = np.nonzero(~np.isfinite(table))
    if len(rows):
        row, column = rows[0], columns[0]
        adam = optimizer == "adam"
        when = f"{'before' if adam else 'after'} step {before + row + 1} of {before + len(table)}"
        raise NonFiniteResult(
            f"the optimisation diverged: {when}, the {contract.LOSS_COLUMNS[column]} loss is {table[row, column]:g}",
            hint=f"Give {'a smaller learning rate or ' if adam else ''}smaller weights.",
        )
    return table


def state(reply: PredictResponse) -> bytes:
    """State of the run, for the next call.

    Raises:
        BadReply: It is missing, or empty.
    """
    if not (state := bytes(output(reply, contract.STATE))):
        raise BadReply(f"the reply's {contract.STATE.name!r} is empty")
    return state


def painted_file(reply: PredictResponse) -> bytes:
    """Picture of the result, as the file that the server encoded.

    Raises:
        BadReply: It is missing.
    """
    return bytes(output(reply, contract.IMAGE_BYTES))


def painted_image(file: bytes) -> Image.Image:
    """Picture of the result, 8-bit RGB.

    Raises:
        BadReply: It is not a picture.
    """
    try:
        options = ReadOptions(max_pixels=contract.MAX_REPLY_PIXELS, reduce=False)
        return picture_from_file(file, "the result", options).image
    except ImageError as error:
        raise BadReply(f"the reply's {contract.IMAGE_BYTES.name!r} cannot be used: {error.message}") from error


def description(reply: PredictResponse, notes: tuple[str, ...]) -> Description:
    """Description of the picture of the request.

    Raises:
        BadReply: An output is missing, or does not fit the contract.
    """
    names = [bytes(name).decode("utf-8", "replace") for name in output(reply, contract.LAYER_NAMES)]
    shapes, statistics = output(reply, contract.LAYER_SHAPES), finite_output(reply, contract.LAYER_STATISTICS)
    if not len(names) == len(shapes) == len(statistics):
        raise BadReply(
            f"the reply names {len(names)} layers, with {len(shapes)} shapes and {len(statistics)} statistics"
        )
    sobel = finite_output(reply, contract.SOBEL_EDGES)
    return Description(
        width=sobel.shape[1],
        height=sobel.shape[0],
        layers=tuple(
            LayerDescription(name, *map(int, shape), *map(float, row), gram=_gram(reply, name))
            for name, shape, row in zip(names, shapes, statistics, strict=True)
        ),
        total_variation=float(finite_output(reply, contract.TOTAL_VARIATION)),
        high_pass_x=finite_output(reply, contract.HIGH_PASS_X),
        high_pass_y=finite_output(reply, contract.HIGH_PASS_Y),
        sobel_edges=sobel,
        model_version=reply.model_spec.version.value,
        notes=notes,
    )


def versions(reply: GetModelStatusResponse) -> tuple[VersionStatus, ...]:
    """Versions of a model, newest first."""
    found = [
        VersionStatus(
            version=status.version,
            state=_member_name(ModelVersionState, status.state),
            error=""
            if status.status.error_code == ErrorCode.OK
            else f"{_member_name(ErrorCode, status.status.error_code)}: {status.status.error_message}",
        )
        for status in reply.model_version_status
    ]
    return tuple(sorted(found, key=lambda status: -status.version))


def metadata(reply: GetModelMetadataResponse) -> Metadata:
    """Signatures that a model declares, by name.

    Raises:
        BadReply: They are missing or damaged.
    """
    if SIGNATURE_DEF not in reply.metadata:
        raise BadReply(f"the reply has no {SIGNATURE_DEF!r}; it has {sorted(reply.metadata)}")
    try:
        signatures = SignatureDefMap.FromString(reply.metadata[SIGNATURE_DEF].value).signature_def
    except DecodeError as error:
        raise BadReply(f"the reply's {SIGNATURE_DEF!r} is damaged") from error
    return Metadata(
        model_name=reply.model_spec.name,
        model_version=reply.model_spec.version.value,
        signatures=tuple(
            SignatureDescription(
                name,
                tuple(
                    _tensor(key, info, _default(signature.defaults[key], key) if key in signature.defaults else None)
                    for key, info in sorted(signature.inputs.items())
                ),
                tuple(_tensor(key, info) for key, info in sorted(signature.outputs.items())),
            )
            for name, signature in sorted(signatures.items())
            if not name.startswith("__")  # internal, as `__saved_model_init_op`
        ),
    )


class DeclaredLimits(NamedTuple):
    """Reply of the signature `limits`.

    Attributes:
        limits: Limits of the model, by the names of `contract.LIMIT_FIELDS`; others are left out.
        fingerprint: Fingerprint of the model; None for a model of an older version without one.
    """

    limits: dict[str, float]
    fingerprint: str | None


def limits(reply: PredictResponse) -> DeclaredLimits:
    """Limits and fingerprint of the model.

    Raises:
        BadReply: One of them does not fit the contract.
    """
    numbers = {field.name: output(reply, field) for field in contract.LIMIT_FIELDS if field.name in reply.outputs}
    fingerprint = None
    if contract.FINGERPRINT.name in reply.outputs:
        fingerprint = bytes(output(reply, contract.FINGERPRINT)).decode(errors="replace")
    return DeclaredLimits(
        # The text of a float32 is the decimal number that it was made from.
        {name: float(str(number)) if number.dtype.kind == "f" else int(number) for name, number in numbers.items()},
        fingerprint,
    )


def _gram(reply: PredictResponse, layer: str) -> Floats | None:
    name = contract.gram_name(layer)
    if name not in reply.outputs:
        return None
    return finite_output(reply, contract.Field(name, "float32", (None, None, None), "Gram matrix."))


def _tensor(name: str, info: TensorInfo, default: Default | None = None) -> TensorDescription:
    sizes = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return TensorDescription(name, type_name(info.dtype), None if info.tensor_shape.unknown_rank else sizes, default)


def _default(tensor: TensorProto, name: str) -> Default:
    values = to_array(tensor, name)
    if not any(values.flat) and (values.dtype == object or not values.size):
        return ""
    if values.size != 1:
        raise BadReply(
            f"the default of {name!r} has the shape {list(values.shape)}; one value, or nothing, was expected"
        )
    value = values.reshape(()).item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _member_name(members: type[ErrorCode] | type[ModelVersionState], value: int) -> str:
    return members(value).name if value in [int(member) for member in members] else f"code {value}"


def _count_non_finite(array: Array) -> str:
    bad: Any = np.count_nonzero(~np.isfinite(array))
    return f"{bad} of {array.size} numbers that are NaN or infinite"
