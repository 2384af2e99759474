"""Reader of TIFF: Pillow's pixels where they are exact, else those that the samples of the first page make."""

from .reader import read
from .tags import is_tiff

__all__ = ["is_tiff", "read"]
