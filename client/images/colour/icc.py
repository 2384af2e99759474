"""Conversion by ICC profiles, with Little CMS in Pillow."""

from __future__ import annotations

import io
from typing import Any, Final, cast

import numpy as np
from PIL import Image, ImageCms

_MODES: Final = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}  # an ICC profile's name of its space -> Pillow's

ProfileError: Final = ImageCms.PyCMSError

_UNSEEN: Final = 2
"""Levels of 255 by which two makers' sRGB profiles differ."""


def to_srgb(image: Image.Image, icc_profile: bytes, notes: list[str]) -> tuple[Image.Image, bool]:
    """The image as sRGB, and whether its colours had to change for that.

    Args:
        image: of the mode L, RGB or CMYK.
        icc_profile: profile that came with it.
        notes: gets a line if the profile changed the picture, or could not be used.
    """
    try:
        profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        space = str(profile.profile.xcolor_space).strip()
        if _MODES.get(space) != image.mode:
            notes.append(f"its colour profile is for {space} and was not used")
            return image.convert("RGB"), False
        srgb = cast("Any", ImageCms.createProfile("sRGB"))  # pyright: ignore[reportUnknownMemberType]
        transform = ImageCms.buildTransform(profile, srgb, image.mode, "RGB")
        if image.mode != "CMYK" and _changes_nothing(transform, image.mode):
            return image.convert("RGB"), False
        converted = _apply(transform, image)
        name = description(icc_profile)
    except (ProfileError, OSError, ValueError):
        notes.append("its colour profile is damaged and was not used")
        return image.convert("RGB"), False
    notes.append(f"converted from {name or 'its colour profile'} to sRGB")
    return converted, True


def description(icc_profile: bytes) -> str:
    """Name of a profile; empty if it has none.

    Raises:
        ProfileError, OSError: it is damaged.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
    return "".join(filter(str.isprintable, ImageCms.getProfileDescription(profile))).strip()


def _apply(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # by its type; only where told to work in place
        raise ImageCms.PyCMSError("no image")
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a profile is sRGB for all that can be seen. Its name is no proof: "linear sRGB" is not sRGB."""
    if mode == "L":
        levels = np.arange(256, dtype=np.uint8)[None]
    else:
        steps = np.linspace(0, 255, 18).astype(np.uint8)  # 15 levels apart
        levels = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    chart = Image.fromarray(levels)
    before = np.asarray(chart.convert("RGB"), dtype=np.int16)
    after = np.asarray(_apply(transform, chart), dtype=np.int16)
    return int(np.abs(after - before).max()) <= _UNSEEN
