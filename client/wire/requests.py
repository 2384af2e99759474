"""Requests: model, signature and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from styleserve import contract

from ..errors import TooLarge
from ..images.picture import Picture
from ..inputs.control_values import Value
from ..inputs.controls import Controls
from ..inputs.picture_set import PictureSet
from .messages import Int64Value, ModelSpec, PredictRequest, TensorProto
from .tensors import MAX_MESSAGE_BYTES, bytes_tensor, number_tensor

_NOT_RESENT: Final = {
    control.name
    for control in (
        contract.MAX_SIDE,
        contract.STYLE_BLEND,
        contract.STYLE_SCALE,
        contract.START_NOISE,
        contract.SEED,
    )
}
"""Controls that are part of a state."""
_OTHER_BYTES: Final = 2**16
"""Bytes of a request beside its files, rounded up."""


@dataclass(frozen=True)
class Target:
    """A model on a server.

    Attributes:
        model_name: Name of the model.
        version: Number of the version; the newest one if neither this nor `version_label` is given.
        version_label: Label of the version, in place of its number.

    Raises:
        ValueError: Both `version` and `version_label` are given.
    """

    model_name: str
    version: int | None = None
    version_label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.version_label is not None:
            raise ValueError("give version or version_label, not both")

    @property
    def names_version(self) -> bool:
        """Whether a version is named, by number or by label."""
        return self.version is not None or self.version_label is not None

    def pinned(self, version: int) -> Target:
        """Same model, in this version."""
        return Target(self.model_name, version)

    def spec(self, signature: str = "") -> ModelSpec:
        """Message for the model and one of its signatures."""
        spec = ModelSpec(name=self.model_name, signature_name=signature)
        if self.version is not None:
            spec.version.CopyFrom(Int64Value(value=self.version))
        if self.version_label is not None:
            spec.version_label = self.version_label
        return spec


def paint_request(
    target: Target,
    pictures: PictureSet[Picture],
    controls: Controls,
    *,
    start: bytes | None = None,
    return_state: bool = False,
) -> PredictRequest:
    """Request that begins a run.

    Args:
        target: Model to call.
        pictures: Pictures of the run.
        controls: Controls of the call.
        start: File to start from, in place of the start among the pictures.
        return_state: Whether the reply has the state of the run.

    Raises:
        TooLarge: The pictures do not fit into one request.
    """
    files: dict[contract.Field, tuple[Picture | None, ...]] = {
        contract.CONTENT_BYTES: (pictures.content,),
        contract.STYLE_BYTES: pictures.styles,
        contract.STYLE_REGION_BYTES: pictures.style_regions,
        contract.CONTENT_REGION_BYTES: pictures.content_regions,
        contract.REFERENCE_BYTES: (pictures.reference,),
        contract.REFERENCE_WEIGHT_BYTES: (pictures.reference_mask,),
        contract.START_BYTES: (None if start else pictures.start,),
    }
    sizes = [len(picture.encoded) for given in files.values() for picture in given if picture is not None]
    size, most = sum(sizes) + len(start or b""), MAX_MESSAGE_BYTES - _OTHER_BYTES
    if size > most:
        raise TooLarge(
            f"the pictures of a call have {size:,} bytes together; a request holds {most:,}",
            hint="Send smaller pictures, or JPEG files in place of PNG.",
        )
    inputs: dict[str, TensorProto] = {}
    for field, given in files.items():
        if any(given):
            encoded = [b"" if picture is None else picture.encoded for picture in given]
            inputs[field.name] = bytes_tensor(encoded, [1, len(encoded)] if len(field.shape) == 2 else None)
    if start:
        inputs[contract.START_BYTES.name] = bytes_tensor([start])
    return _paint(target, inputs, controls.sent(), return_state=return_state)


def resume_request(target: Target, state: bytes, controls: Controls, *, return_state: bool = False) -> PredictRequest:
    """Request that resumes a run from its state, without pictures and without the controls that the state holds."""
    values = {name: value for name, value in controls.sent().items() if name not in _NOT_RESENT}
    return _paint(target, {contract.STATE.name: bytes_tensor([state])}, values, return_state=return_state)


def _paint(
    target: Target, inputs: dict[str, TensorProto], values: Mapping[str, Value], *, return_state: bool
) -> PredictRequest:
    """Request with these inputs; loss and optimiser, which must be those of a state, are always sent."""
    fixed = {control.name: control.relative for control in (contract.LOSS, contract.OPTIMIZER)}
    numbers = {contract.CONTRACT_VERSION_INPUT: contract.CONTRACT_VERSION}
    if return_state:
        numbers[contract.RETURN_STATE] = 1
    own = {field.name: number_tensor(np.array([number], np.int32)) for field, number in numbers.items()}
    sent = {**inputs, **own, **control_tensors({**fixed, **values})}
    return PredictRequest(model_spec=target.spec(contract.PAINT), inputs=sent)


def describe_request(target: Target, picture: Picture, size: tuple[int, int]) -> PredictRequest:
    """Request for the description of a picture, resized to width and height."""
    inputs = {contract.IMAGE.name: number_tensor(picture.pixels(size))}
    return PredictRequest(model_spec=target.spec(contract.DESCRIBE), inputs=inputs)


def limits_request(target: Target) -> PredictRequest:
    """Request for the limits of the model."""
    inputs = {contract.EXAMPLE.name: number_tensor(np.zeros(1, np.int32))}
    return PredictRequest(model_spec=target.spec(contract.LIMITS), inputs=inputs)


def control_tensors(values: Mapping[str, Value]) -> dict[str, TensorProto]:
    """Tensors of controls of one example: vectors of one value, or a row with a value for each style or layer."""
    controls = {control.name: control for control in contract.CONTROLS}
    return {name: _control_tensor(controls[name], value) for name, value in values.items()}


def _control_tensor(control: contract.Control, value: Value) -> TensorProto:
    if control.dtype == "string":
        return bytes_tensor([str(value).encode()])
    values = np.atleast_1d(np.array(value, control.dtype))
    return number_tensor(values[None] if control.per else values)
