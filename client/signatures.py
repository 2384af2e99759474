"""Which signature a request calls: an optimiser, and the form in which the pictures travel."""

from __future__ import annotations

from typing import Final, Literal

from styleserve import contract

from .controls import Controls, Unset
from .errors import ControlError

Optimizer = Literal["lbfgs", "adam"]
StylizeSignature = Literal["stylize_lbfgs_encoded", "stylize_lbfgs", "stylize_encoded", "serving_default"]
ResumableSignature = Literal["stylize_lbfgs_resumable", "stylize_resumable"]

DEFAULT_OPTIMIZER: Final[Optimizer] = "lbfgs"
OPTIMIZER_NAMES: Final[dict[Optimizer, str]] = {"lbfgs": "L-BFGS", "adam": "Adam"}
"""The optimisers, as people write them."""

_OPTIMIZERS: Final[dict[StylizeSignature, Optimizer]] = {
    contract.STYLIZE_LBFGS_ENCODED: "lbfgs",
    contract.STYLIZE_LBFGS: "lbfgs",
    contract.STYLIZE_ENCODED: "adam",
    contract.SERVING_DEFAULT: "adam",
}
_RESUMABLE: Final[dict[Optimizer, ResumableSignature]] = {
    "lbfgs": contract.STYLIZE_LBFGS_RESUMABLE,
    "adam": contract.STYLIZE_RESUMABLE,
}
_ENCODED: Final[dict[Optimizer, StylizeSignature]] = {
    "lbfgs": contract.STYLIZE_LBFGS_ENCODED,
    "adam": contract.STYLIZE_ENCODED,
}


def choose_signature(optimizer: Optimizer | None, signature: StylizeSignature | None) -> StylizeSignature:
    """The signature to call: the one that is named, or else the optimiser's own that takes files.

    >>> choose_signature(None, None), choose_signature("adam", None), choose_signature(None, "stylize_lbfgs")
    ('stylize_lbfgs_encoded', 'stylize_encoded', 'stylize_lbfgs')

    Raises:
        ControlError: one of the two is unknown, or they contradict each other.
    """
    _check_optimizer(optimizer)
    if signature is None:
        return _ENCODED[optimizer or DEFAULT_OPTIMIZER]
    if signature not in _OPTIMIZERS:
        raise ControlError(f"the signature is {signature!r}; it must be one of: {', '.join(_OPTIMIZERS)}")
    if optimizer not in (None, _OPTIMIZERS[signature]):
        fitting = " or ".join(name for name, its_own in _OPTIMIZERS.items() if its_own == optimizer)
        raise ControlError(
            f"the optimizer is {optimizer!r}, but the signature {signature} runs {_OPTIMIZERS[signature]!r}",
            hint=f"Leave one of the two out, or name the signature {fitting}.",
        )
    return signature


def choose_resumable_signature(optimizer: Optimizer | None) -> ResumableSignature:
    """The optimiser's signature for a run in chunks.

    >>> choose_resumable_signature("adam")
    'stylize_resumable'

    Raises:
        ControlError: the optimiser is unknown.
    """
    _check_optimizer(optimizer)
    return _RESUMABLE[optimizer or DEFAULT_OPTIMIZER]


def resumable_signature(name: object) -> ResumableSignature:
    """The signature of this name.

    Raises:
        ValueError: there is none.
    """
    for signature in _RESUMABLE.values():
        if name == signature:
            return signature
    raise ValueError(f"no signature for runs in chunks is named {name!r}")


def refuse_foreign_controls(signature: StylizeSignature | ResumableSignature, controls: Controls) -> None:
    """Refuses a learning rate for an optimiser that has none, rather than let it go unheard.

    Raises:
        ControlError: with the way to the optimiser that has one.
    """
    if optimizer_of(signature) == "lbfgs" and not isinstance(controls.learning_rate, Unset):
        raise ControlError(
            f"learning_rate is {controls.learning_rate:g}, but L-BFGS has none: it belongs to Adam",
            hint="Ask for Adam with --optimizer adam (in Python, optimizer='adam'), or leave the learning rate out.",
        )


def optimizer_of(signature: StylizeSignature | ResumableSignature) -> Optimizer:
    """The optimiser that a signature runs."""
    return "adam" if contract.LEARNING_RATE.name in _input_names(signature) else "lbfgs"


def sends_files(signature: StylizeSignature | ResumableSignature) -> bool:
    """Whether the pictures travel as files, and not as numbers."""
    return contract.CONTENT_BYTES.name in _input_names(signature)


def _input_names(signature: str) -> set[str]:
    return {field.name for field in contract.SIGNATURES[signature].inputs}


def _check_optimizer(optimizer: Optimizer | None) -> None:
    if optimizer is not None and optimizer not in OPTIMIZER_NAMES:
        raise ControlError(f"the optimizer is {optimizer!r}; it must be one of: {', '.join(OPTIMIZER_NAMES)}")
