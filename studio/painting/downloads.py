"""Downloads of a run: its recipe, and its TIFF, which is made when it is first asked for."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from styleserve.client.images.save import save_image
from styleserve.client.images.sixteen_bits import save_sixteen_bits
from styleserve.client.inputs.recipe import RECIPE_KEY

from ..store import RunFiles

_SIXTEEN_BITS = "png16"


def recipe_text(files: RunFiles) -> str:
    """Recipe of a result, as indented JSON."""
    recipe = json.loads(json.loads(files.facts.read_bytes())["text"][RECIPE_KEY])
    return json.dumps(recipe, indent=2) + "\n"


def tiff_file(files: RunFiles) -> Path:
    """Path of the result as TIFF, with 16 bits a channel if it was painted with them.

    Raises:
        OutputError: The folder cannot be written to.
    """
    if files.tiff.is_file():
        return files.tiff
    facts = json.loads(files.facts.read_bytes())
    if facts["format"] == _SIXTEEN_BITS:
        return save_sixteen_bits(files.png.read_bytes(), files.tiff, text=facts["text"])
    with Image.open(files.png) as image:
        return save_image(image.convert("RGB"), files.tiff, text=facts["text"])
