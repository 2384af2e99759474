"""Controls of a run, checked against the wire contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, cast

from styleserve import contract

from ..errors import ControlError
from ..representation import changed_fields
from .control_values import Value, checked_value, plain_number

_LONGEST_S: Final = 30 * 24 * 3600

Loss: TypeAlias = Literal["painter", "tutorial"]
Optimizer: TypeAlias = Literal["lbfgs", "adam"]
Colors: TypeAlias = Literal["style", "content", "matched"]
ImageFormat: TypeAlias = Literal["png", "png16", "jpeg"]

OPTIMIZER_NAMES: Final[dict[str, str]] = {"lbfgs": "L-BFGS", "adam": "Adam"}
"""Names of the optimisers in texts."""

OCTAVES: Final = "octaves"
"""Name of the control that only the client knows."""


class Unset(Enum):
    """Type of `UNSET`."""

    UNSET = "the server's default"

    def __repr__(self) -> str:
        return self.name


UNSET: Final = Unset.UNSET
"""Value of a control that is not sent; the model's default counts. (None could be a value.)"""


@dataclass(frozen=True, kw_only=True, repr=False)
class Controls:
    """Controls of one run; each field but `octaves` is described by the `contract.Control` of its name.

    Numbers of other types, such as NumPy's, become ints and floats. Values for each style or layer become a tuple; one
    number counts for all.

    >>> Controls(steps=50), Controls(steps=50, style_scale=0.5).sent()
    (Controls(steps=50), {'style_scale': (0.5,), 'steps': 50})

    Attributes:
        octaves: Number of sizes of a coarse-to-fine run, at least 1; if unset, `octaves.plan` chooses it.

    Raises:
        ControlError: A value has another type, or is out of range. The server checks the model's upper bounds of steps
            and sides.
    """

    style_weight: float | Unset = UNSET
    content_weight: float | Unset = UNSET
    total_variation_weight: float | Unset = UNSET
    reference_weight: float | Unset = UNSET
    style_blend: float | Sequence[float] | Unset = UNSET
    style_scale: float | Sequence[float] | Unset = UNSET
    style_layer_weights: float | Sequence[float] | Unset = UNSET
    start_noise: float | Unset = UNSET
    seed: int | Unset = UNSET
    colors: Colors | Unset = UNSET
    loss: Loss | Unset = UNSET
    optimizer: Optimizer | Unset = UNSET
    steps: int | Unset = UNSET
    learning_rate: float | Unset = UNSET
    max_side: int | Unset = UNSET
    image_format: ImageFormat | Unset = UNSET
    octaves: int | Unset = UNSET

    def __repr__(self) -> str:
        return changed_fields(self)

    def __post_init__(self) -> None:
        for control in contract.CONTROLS:
            value: object = getattr(self, control.name)
            if value is not UNSET:
                object.__setattr__(self, control.name, checked_value(control, value))
        blend = cast("tuple[float, ...] | Unset", self.style_blend)
        if not isinstance(blend, Unset) and not any(blend):
            shares = ",".join(f"{share:g}" for share in blend)
            raise ControlError(
                f"style_blend is {shares}; at least one share must be over 0", hint=contract.STYLE_BLEND.help
            )
        if not isinstance(self.octaves, Unset):
            number = plain_number(self.octaves, whole=True)
            if number is None or number < 1:
                raise ControlError(f"octaves is {self.octaves!r}; it must be a whole number from 1")
            object.__setattr__(self, OCTAVES, number)

    def given(self) -> dict[str, Value]:
        """Controls that are set, by name."""
        values = {name: getattr(self, name) for name in (*_NAMES, OCTAVES)}
        return {name: value for name, value in values.items() if value is not UNSET}

    def sent(self) -> dict[str, Value]:
        """Controls that are set, by their names on the wire."""
        return {name: value for name, value in self.given().items() if name != OCTAVES}

    def over(self, base: Controls) -> Controls:
        """Controls of `base`, such as a preset, with those that are set here in their place.

        >>> Controls(steps=50).over(Controls(steps=1000, octaves=1))
        Controls(steps=50, octaves=1)
        """
        return controls_of({**base.given(), **self.given()})

    @property
    def expected_optimizer(self) -> str:
        """Optimiser of the run; if unset, the default."""
        return str(contract.OPTIMIZER.relative) if isinstance(self.optimizer, Unset) else self.optimizer

    @property
    def expected_loss(self) -> str:
        """Loss of the run; if unset, the default."""
        return str(contract.LOSS.relative) if isinstance(self.loss, Unset) else self.loss

    @property
    def expected_steps(self) -> int:
        """Steps of the run; if unset, those of a model with the usual limits."""
        return int(contract.STEPS.relative) if isinstance(self.steps, Unset) else self.steps

    @property
    def expected_max_side(self) -> int:
        """Longest side of the result; if unset, that of a model with the usual limits."""
        return int(contract.MAX_SIDE.relative) if isinstance(self.max_side, Unset) else self.max_side


_NAMES: Final = tuple(control.name for control in contract.CONTROLS)

SHORT_NAMES: Final[Mapping[str, str]] = {
    "total_variation_weight": "tv_weight",
    "style_blend": "blend",
    "style_layer_weights": "layer_weights",
    "start_noise": "noise",
}
"""Shorter names of controls, for options and columns of job lists."""


def option_of(name: str) -> str:
    """Command-line option of a control.

    >>> option_of("style_blend"), option_of("max_side")
    ('--blend', '--max-side')
    """
    return f"--{SHORT_NAMES.get(name, name).replace('_', '-')}"


def control_of_name(name: str) -> str:
    """Name of a control in the contract, from that name or its short name, with hyphens or underscores.

    >>> control_of_name("blend"), control_of_name("tv-weight"), control_of_name("octaves")
    ('style_blend', 'total_variation_weight', 'octaves')

    Raises:
        ControlError: There is no such control.
    """
    names = {each: SHORT_NAMES.get(each, each) for each in (*_NAMES, OCTAVES)}
    for each, short_name in names.items():
        if name.replace("-", "_") in (each, short_name):
            return each
    raise ControlError(f"there is no control {name!r}", hint=f"Controls are: {', '.join(names.values())}.")


def controls_of(values: Mapping[str, Any]) -> Controls:
    """Controls with these values, by name.

    Raises:
        ControlError: A name is unknown, or a value is not allowed.
    """
    return Controls(**{control_of_name(name): value for name, value in values.items()})


def refuse_foreign_controls(controls: Controls) -> None:
    """Refuses a learning rate for L-BFGS.

    Raises:
        ControlError: A learning rate is set, and the optimiser is L-BFGS.
    """
    if controls.expected_optimizer == "lbfgs" and not isinstance(controls.learning_rate, Unset):
        raise ControlError(
            f"learning_rate is {controls.learning_rate:g}, but L-BFGS has none: it belongs to Adam",
            hint="Ask for Adam with --optimizer adam (in Python, optimizer='adam'), or leave the learning rate out.",
        )


def check_count(name: str, count: int, styles: int) -> None:
    """Refuses a number of values, or masks, that is neither 1 nor the number of styles.

    Raises:
        ControlError: The number is another one.
    """
    if count not in (1, styles):
        these = f"{styles} style{'' if styles == 1 else 's'}"
        raise ControlError(f"{name} has {count} values for {these}", hint="Give one for each style, or one for all.")


def check_styles(controls: Controls, styles: int) -> None:
    """Refuses controls with neither one value nor one for each style.

    Raises:
        ControlError: A control has another number of values.
    """
    for control in contract.CONTROLS:
        values = getattr(controls, control.name)
        if control.per == "style" and not isinstance(values, Unset):
            check_count(control.name, len(values), styles)


def checked_timeout_s(timeout_s: float) -> float:
    """Timeout of a call in seconds, if it is allowed.

    Raises:
        ControlError: The timeout is not positive, or longer than a month.
    """
    if not 0 < timeout_s < _LONGEST_S:
        raise ControlError(f"the timeout is {timeout_s} s; it must be over 0 and under {_LONGEST_S:,} (a month)")
    return timeout_s
