"""Limit of pixels of a model, asked only for pictures over the default limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..errors import ImageError
from ..images.errors import is_over_limit
from ..images.picture import MAX_PIXELS
from .client import StyleClient

_T = TypeVar("_T")


def within_pixel_limit(client: StyleClient, load: Callable[[int], _T]) -> _T:
    """Result of `load`, called with the most pixels that a picture may have.

    Args:
        client: Client of the model.
        load: Reads a picture; raises `ImageError` if it has more pixels than the argument.

    Raises:
        ImageError: The picture cannot be used.
        ServiceError: The model did not answer with its limit; one of the subclasses says why.
    """
    try:
        return load(MAX_PIXELS)
    except ImageError as error:
        limits = client.metadata().limits if is_over_limit(error) else None
        if limits is None:
            raise
    return load(int(limits["max_encoded_pixels"]))
