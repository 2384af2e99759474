"""Facts about a model that a run depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from styleserve import contract

from ..images.picture import MAX_PIXELS
from ..inputs.controls import Controls
from .results import Metadata

_BEFORE_PAINT = 1
"""Version of the contract of models without the signature `paint`."""


@dataclass(frozen=True)
class ModelFacts:
    """Facts about one version of a model.

    Attributes:
        version: Version of the model.
        contract_version: Version of the wire contract that it was exported with.
        max_side: Longest side of a result, where a request names none.
        steps: Steps of a run, where a request names none.
        limits: Limits, by the names of `contract.LIMIT_FIELDS`.
    """

    version: int
    contract_version: int
    max_side: int
    steps: int
    limits: Mapping[str, float]

    @property
    def smallest_octave(self) -> int:
        """Shortest `max_side` at which a coarse-to-fine run may begin; 0 for one size only."""
        return int(self.limits.get(contract.SMALLEST_OCTAVE, 0))

    @property
    def max_encoded_pixels(self) -> int:
        """Most pixels of a picture, before it is resized."""
        return int(self.limits.get("max_encoded_pixels", MAX_PIXELS))


def facts_of_model(metadata: Metadata) -> ModelFacts:
    """Facts that a model declares."""
    declared = {signature.name: signature for signature in metadata.signatures}
    usual = Controls()

    def default(name: str, otherwise: int) -> int:
        found = [
            int(tensor.default)
            for signature in declared.values()
            for tensor in signature.inputs
            if tensor.name == name and isinstance(tensor.default, int | float)
        ]
        return min([otherwise, *found])

    limits = metadata.limits or {}
    spoken = contract.CONTRACT_VERSION if contract.PAINT in declared else _BEFORE_PAINT
    return ModelFacts(
        version=metadata.model_version,
        contract_version=int(limits.get("contract_version", spoken)),
        max_side=default(contract.MAX_SIDE.name, usual.expected_max_side),
        steps=default(contract.STEPS.name, usual.expected_steps),
        limits=limits,
    )
