"""ICC profiles: conversion of 8-bit images, and the profile of results, with the Little CMS in Pillow."""

from __future__ import annotations

import functools
import io
import struct
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_MODES: Final = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}  # colour space of a profile -> mode of an image

ProfileError: Final = ImageCms.PyCMSError

INVISIBLE_LEVELS: Final = 2
"""Largest difference of 255 levels that counts as none; sRGB profiles of two makers differ by it."""

_SRGB_DATE: Final = (1999, 10, 1, 0, 0, 0)
"""Publication of IEC 61966-2-1, the definition of sRGB."""


def to_srgb(image: Image.Image, icc_profile: bytes, notes: list[str]) -> tuple[Image.Image, bool]:
    """Image as sRGB, and whether its colours changed.

    Args:
        image: Image of the mode L, RGB or CMYK.
        icc_profile: Profile of its colours.
        notes: List that gets a note if the profile changed the colours, or could not be used.
    """
    try:
        profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        space = str(profile.profile.xcolor_space).strip()
        if _MODES.get(space) != image.mode:
            notes.append(f"its colour profile is for {space} and was not used")
            return image.convert("RGB"), False
        transform = ImageCms.buildTransform(profile, _srgb(), image.mode, "RGB")
        if image.mode != "CMYK" and _is_srgb(transform, image.mode):
            return image.convert("RGB"), False
        converted = _apply(transform, image)
        name = description(icc_profile)
    except (ProfileError, OSError, ValueError):
        notes.append("its colour profile is damaged and was not used")
        return image.convert("RGB"), False
    notes.append(f"converted from {name or 'its colour profile'} to sRGB")
    return converted, True


@functools.cache
def srgb_profile() -> bytes:
    """Profile of sRGB for the files of results: a matrix and a parametric curve, under 1 kB.

    Little CMS writes the time into it (ICC.1:2022, 7.2.10); a fixed date makes equal pictures equal files.
    """
    profile = ImageCms.ImageCmsProfile(_srgb()).tobytes()
    return profile[:24] + struct.pack(">6H", *_SRGB_DATE) + profile[36:]


def _srgb() -> Any:  # noqa: ANN401 - Pillow has no type for it
    return cast("Any", ImageCms.createProfile("sRGB"))  # pyright: ignore[reportUnknownMemberType]


def description(icc_profile: bytes) -> str:
    """Description of a profile; empty if it has none.

    Raises:
        ProfileError: The profile is damaged; also `OSError`.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
    return "".join(filter(str.isprintable, ImageCms.getProfileDescription(profile))).strip()


def _apply(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # only with inPlace=True
        raise ImageCms.PyCMSError("no image")
    return converted


def _is_srgb(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a profile changes no colour visibly. Its name is no proof: "linear sRGB" is not sRGB."""
    chart = Image.fromarray(np.arange(256, dtype=np.uint8)[None] if mode == "L" else rgb_chart())
    before = np.asarray(chart.convert("RGB"), dtype=np.int16)
    after = np.asarray(_apply(transform, chart), dtype=np.int16)
    return int(np.abs(after - before).max()) <= INVISIBLE_LEVELS


def rgb_chart() -> NDArray[np.uint8]:
    """`[1, 5832, 3]` uint8: colours of all parts of RGB, 15 levels apart."""
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
