"""Values for the pictures of a run, by role: sources, pixels or paths. Free of NumPy and Pillow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from ..errors import ControlError
from ..representation import changed_fields
from .controls import Controls, Unset, check_count, check_styles

_T = TypeVar("_T")
_U = TypeVar("_U")

_ROLES: Final = {
    "content": "content",
    "styles": "style",
    "content_regions": "content region",
    "style_regions": "style region",
    "start": "start",
    "reference": "reference",
    "reference_mask": "reference mask",
}


@dataclass(frozen=True, kw_only=True, repr=False)
class PictureSet(Generic[_T]):
    """One value for each picture of a run, such as its source, its pixels or its path.

    Attributes:
        content: Picture to paint.
        styles: Paintings to follow.
        content_regions: Masks of where each style applies in the content: one for each style or one for all, or none.
            None in place of a mask means everywhere.
        style_regions: Masks of the parts of the styles to learn from, in the same form.
        start: Start of the optimisation; None for the content.
        reference: Picture whose pixels the result is pulled towards.
        reference_mask: Mask of where the reference counts; None for everywhere.

    Raises:
        ControlError: There is no style, a mask has no reference, or the masks are neither one nor one for each style.
    """

    content: _T
    styles: tuple[_T, ...]
    content_regions: tuple[_T | None, ...] = ()
    style_regions: tuple[_T | None, ...] = ()
    start: _T | None = None
    reference: _T | None = None
    reference_mask: _T | None = None

    def __repr__(self) -> str:
        return changed_fields(self)

    def __post_init__(self) -> None:
        if not self.styles:
            raise ControlError("there is no style", hint="Give one or more paintings to follow.")
        for name in ("content_regions", "style_regions"):
            if masks := getattr(self, name):
                check_count(name, len(masks), len(self.styles))
        if self.reference is None and self.reference_mask is not None:
            raise ControlError("reference_mask is given without a reference", hint="Give the reference picture, too.")

    @property
    def regions(self) -> int:
        """Number of regions, each with Gram matrices of its own."""
        return len(self.styles) if self.content_regions else 1

    def check(self, controls: Controls) -> None:
        """Refuses controls that do not suit these pictures.

        Raises:
            ControlError: A control has another number of values than there are styles, or needs a reference.
        """
        check_styles(controls, len(self.styles))
        if self.reference is None and not isinstance(controls.reference_weight, Unset):
            raise ControlError("reference_weight is given without a reference", hint="Give the reference picture, too.")

    def items(self) -> Iterator[tuple[str, _T]]:
        """Each value, after the role of its picture, as in "style 2".

        >>> list(PictureSet(content="lake", styles=("oil", "ink"), content_regions=(None, "sky")).items())
        [('content', 'lake'), ('style 1', 'oil'), ('style 2', 'ink'), ('content region 2', 'sky')]
        """
        for name, role in _ROLES.items():
            value = getattr(self, name)
            several = cast("tuple[_T | None, ...]", value) if name.endswith("s") else (value,)
            for number, each in enumerate(several, start=1):
                if each is not None:
                    yield (role if len(several) == 1 else f"{role} {number}"), each

    def map(self, function: Callable[[_T, str], _U]) -> PictureSet[_U]:
        """Results of a function of each value and the role of its picture."""
        results = iter([function(each, role) for role, each in self.items()])

        def one(value: object) -> object:
            return None if value is None else next(results)

        values = {
            name: tuple(map(one, getattr(self, name))) if name.endswith("s") else one(getattr(self, name))
            for name in _ROLES
        }
        return PictureSet(**cast("dict[str, Any]", values))

    def arguments(self) -> dict[str, Any]:
        """Values as arguments of `StyleClient.stylize`."""
        values = {name: getattr(self, name) for name in _ROLES}
        return {name: None if isinstance(value, tuple) and not value else value for name, value in values.items()}


def keeps_16_bits(role: str) -> bool:
    """Whether the picture of a role is sent with 16 bits a channel if its file has more than 8.

    They take twice the bytes. Only the content is worth them, since styles and masks become averages.

    >>> keeps_16_bits("content"), keeps_16_bits("style")
    (True, False)
    """
    return role == "content"
