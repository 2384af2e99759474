"""The messages that are sent: which model, which signature, which tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from styleserve import contract

from .controls import Controls
from .images import Picture
from .protos import Int64Value, ModelSpec, PredictRequest, TensorProto
from .signatures import ResumableSignature, StylizeSignature, sends_files
from .sources import Pair
from .tensors import bytes_tensor, number_tensor


@dataclass(frozen=True)
class Target:
    """A model on a server.

    Attributes:
        model_name: under which the server has it.
        version: its number; the newest one if neither this nor `version_label` is given.
        version_label: in place of a number.

    Raises:
        ValueError: both `version` and `version_label` are given.
    """

    model_name: str
    version: int | None = None
    version_label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.version_label is not None:
            raise ValueError("give version or version_label, not both")

    @property
    def names_version(self) -> bool:
        """Whether it is one version that is meant, by number or by label, and not the newest."""
        return self.version is not None or self.version_label is not None

    def pinned(self, version: int) -> Target:
        """The same model, in just this version."""
        return Target(self.model_name, version)

    def spec(self, signature: str = "") -> ModelSpec:
        """The model, and which of its signatures."""
        spec = ModelSpec(name=self.model_name, signature_name=signature)
        if self.version is not None:
            spec.version.CopyFrom(Int64Value(value=self.version))
        if self.version_label is not None:
            spec.version_label = self.version_label
        return spec


def stylize_request(
    target: Target, signature: StylizeSignature | ResumableSignature, pair: Pair, controls: Controls
) -> PredictRequest:
    """A request for style transfer, in whichever form the signature takes pictures."""
    inputs: dict[str, TensorProto]
    if sends_files(signature):
        inputs = {
            contract.CONTENT_BYTES.name: bytes_tensor([pair.content.encoded]),
            contract.STYLE_BYTES.name: bytes_tensor([pair.style.encoded]),
        }
    else:
        side = controls.expected_max_side
        inputs = {
            contract.CONTENT_IMAGE.name: number_tensor(pair.content.pixels(pair.content.size_within(side))),
            contract.STYLE_IMAGE.name: number_tensor(pair.style.pixels(pair.style.size_within(side))),
        }
    inputs.update(control_tensors(signature, controls.sent()))
    return PredictRequest(model_spec=target.spec(signature), inputs=inputs)


def resume_request(target: Target, signature: ResumableSignature, state: bytes, controls: Controls) -> PredictRequest:
    """A request to go on from a state, for which the pictures are not sent again."""
    inputs = {contract.STATE.name: bytes_tensor([state]), **control_tensors(signature, controls.sent())}
    return PredictRequest(model_spec=target.spec(signature), inputs=inputs)


def describe_request(target: Target, picture: Picture, size: tuple[int, int]) -> PredictRequest:
    """A request for what the network sees in a picture, resized to width and height."""
    inputs = {contract.IMAGE.name: number_tensor(picture.pixels(size))}
    return PredictRequest(model_spec=target.spec(contract.DESCRIBE), inputs=inputs)


def limits_request(target: Target) -> PredictRequest:
    """A request for what the model takes."""
    inputs = {contract.EXAMPLE.name: number_tensor(np.zeros(1, np.int32))}
    return PredictRequest(model_spec=target.spec(contract.LIMITS), inputs=inputs)


def control_tensors(signature: str, values: Mapping[str, float | int]) -> dict[str, TensorProto]:
    """The controls that the signature takes, each a vector of one value."""
    taken = {field.name: field.dtype for field in contract.SIGNATURES[signature].inputs if field.control is not None}
    return {name: number_tensor(np.array([value], taken[name])) for name, value in values.items() if name in taken}
