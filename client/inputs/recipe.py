"""Recipe of a result: the inputs that repeat its run, as JSON in the metadata of its file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from styleserve import __version__, contract

from ..errors import ImageError, RecipeError, StyleServeError
from .controls import Controls, controls_of
from .picture_set import PictureSet
from .pictures import PictureFacts, facts_from_json, facts_to_json
from .print_size import checked_dpi

RECIPE_KEY: Final = "Recipe"
"""Name of the recipe in the metadata of a picture file."""


@dataclass(frozen=True, repr=False)
class Recipe:
    """Controls, model and pictures of a run.

    Attributes:
        controls: Controls of the run.
        model_name: Name of the model.
        model_version: Version of the model.
        pictures: Facts about the pictures.
        dpi: Resolution in the file of the result, in pixels per inch; None where it has none.
    """

    controls: Controls
    model_name: str
    model_version: int
    pictures: PictureSet[PictureFacts]
    dpi: int | None = None

    def __repr__(self) -> str:
        return f"<Recipe: {len(self.pictures.styles)} styles, {self.controls}, {self.model_name}>"

    def to_text(self, folder: Path | None = None) -> str:
        """Recipe as JSON.

        Args:
            folder: Folder of the result, to which the paths of the pictures are relative; None leaves them absolute.
        """
        return json.dumps(
            {
                "styleserve": __version__,
                "contract": contract.CONTRACT_VERSION,
                "model": {"name": self.model_name, "version": self.model_version},
                "controls": self.controls.given(),
                "pictures": facts_to_json(self.pictures, folder),
                **({} if self.dpi is None else {"dpi": self.dpi}),
            }
        )

    @classmethod
    def from_text(cls, text: str, folder: Path) -> Recipe:
        """Recipe from its JSON.

        Args:
            text: Text that `to_text` returned.
            folder: Folder of the result.

        Raises:
            ValueError: The text is not a recipe; also `KeyError`, `TypeError`, `AttributeError` and `ControlError`.
        """
        written = cast("dict[str, Any]", json.loads(text))
        if written["contract"] != contract.CONTRACT_VERSION:
            raise ValueError(f"its contract is {written['contract']}, not {contract.CONTRACT_VERSION}")
        return cls(
            controls_of(written["controls"]),
            str(written["model"]["name"]),
            int(written["model"]["version"]),
            facts_from_json(written["pictures"], folder),
            None if written.get("dpi") is None else checked_dpi(written["dpi"]),
        )

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Recipe in the file of a result.

        Raises:
            RecipeError: The file cannot be read, or holds no recipe.
        """
        from ..images.metadata import read_text  # noqa: PLC0415 - slow

        try:
            text = read_text(path, RECIPE_KEY)
        except (OSError, ImageError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            raise RecipeError(f"{path} cannot be read: {reason}", hint="Name a result of styleserve.") from error
        if text is None:
            raise RecipeError(
                f"{path} holds no recipe",
                hint="Name a result of `styleserve stylize`; one saved as .bmp holds none.",
            )
        try:
            return cls.from_text(text, path.absolute().parent)
        except (ValueError, KeyError, TypeError, AttributeError, StyleServeError) as error:
            reason = error.message if isinstance(error, StyleServeError) else error
            raise RecipeError(f"the recipe in {path} cannot be used: {reason}") from error
