"""The command `again`: repeats the run of a result from the recipe in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..errors import RecipeError
from ..inputs.controls import Controls
from ..inputs.picture_set import PictureSet
from .options import Json, Timeout
from .picture_options import Reference, ReferenceMask, Region, Start, StyleRegion, masks, picture_option
from .print_options import Dpi, PrintOptions, Size
from .printing import print_message
from .progress_display import Progress, Quiet
from .stylize import run_and_print

if TYPE_CHECKING:
    from ..api.client import StyleClient
    from ..inputs.pictures import PictureFacts

_OPTIONS: Final = {
    "content": "--content",
    "styles": "--style",
    "content_regions": "--region",
    "style_regions": "--style-region",
    "start": "--start",
    "reference": "--reference",
    "reference_mask": "--reference-mask",
}
"""Option that replaces each picture."""


def again(
    client: StyleClient,
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result of `stylize` or `batch`.", show_default=False)
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="New result.", show_default="RESULT-again"),
    ] = None,
    content: Annotated[Path | None, picture_option("--content", "FILE", "Paint this picture instead.")] = None,
    style: Annotated[
        list[Path] | None,
        picture_option("--style", "FILE", "Follow this painting instead; repeatable."),
    ] = None,
    region: Region = None,
    style_region: StyleRegion = None,
    start: Start = None,
    reference: Reference = None,
    reference_mask: ReferenceMask = None,
    controls: Controls,
    dpi: Dpi = None,
    size: Size = None,
    timeout: Timeout = None,
    progress: Progress = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Repeat the run that made RESULT; options replace its pictures and controls."""
    from ..inputs.recipe import Recipe  # noqa: PLC0415 - brings NumPy

    recipe = Recipe.load(result)
    named: dict[str, Path | Sequence[Path | None] | None] = {
        "content": content,
        "styles": style,
        "content_regions": masks(region),
        "style_regions": masks(style_region),
        "start": start,
        "reference": reference,
        "reference_mask": reference_mask,
    }
    pictures = pictures_of_recipe(recipe.pictures, {name: value for name, value in named.items() if value})
    painted = run_and_print(
        client,
        pictures,
        controls.over(recipe.controls),
        output or result.with_name(f"{result.stem}-again{result.suffix}"),
        prints=PrintOptions.given(recipe.dpi if dpi is None else dpi, size, controls),
        timeout_s=timeout,
        progress=progress and not quiet,
        as_json=as_json,
    )
    made_by = f"{recipe.model_name} version {recipe.model_version}"
    if (painted.model_name, painted.model_version) != (recipe.model_name, recipe.model_version):
        print_message(f"Note: {result} was made by {made_by}; another version may paint it differently.")


def pictures_of_recipe(
    facts: PictureSet[PictureFacts], named: Mapping[str, Path | Sequence[Path | None]]
) -> PictureSet[Path]:
    """Paths of the pictures of a run: replacements, or the files of the recipe, which have not changed.

    Args:
        facts: Facts about the pictures of the recipe.
        named: Paths of replacements, by the fields of `PictureSet`.

    Raises:
        RecipeError: A file is missing or differs; the hint names the option that replaces it.
        ControlError: The number of masks is not that of the styles.
    """

    def path_of(fact: PictureFacts, role: str, option: str) -> Path:
        from ..batch.manifest import file_digest  # noqa: PLC0415 - not for --help

        hint = f"Name it with {option} FILE."
        if fact.path is None:
            raise RecipeError(f"the {role} of the run came from memory, not from a file", hint=hint)
        digest = file_digest(fact.path)
        if digest is None:
            raise RecipeError(f"the {role} of the run is missing: {fact.path}", hint=hint)
        if digest != fact.sha256:
            raise RecipeError(f"the {role} of the run has changed since: {fact.path}", hint=hint)
        return fact.path

    values: dict[str, object] = {}
    for name, option in _OPTIONS.items():
        kept: PictureFacts | tuple[PictureFacts | None, ...] | None = getattr(facts, name)
        role = name.replace("_", " ").removesuffix("s")
        if name in named:
            given = named[name]
            values[name] = given if isinstance(given, Path) else tuple(given)
        elif isinstance(kept, tuple):
            roles = [role] if len(kept) == 1 else [f"{role} {number}" for number in range(1, len(kept) + 1)]
            values[name] = tuple(
                None if fact is None else path_of(fact, each, option) for fact, each in zip(kept, roles, strict=True)
            )
        else:
            values[name] = None if kept is None else path_of(kept, role, option)
    return PictureSet[Path](**values)  # pyright: ignore[reportArgumentType] - of the fields above
