"""Pictures as people have them, read into what the service takes: upright 8-bit sRGB without transparency.

Each format has a reader that decides by the file's own header what is declared, and whether it can be read exactly. A
file that cannot is refused by name. All that follows, such as the conversion to sRGB, exists once, behind the readers.
Nothing here knows of servers.
"""

from __future__ import annotations

from .errors import is_over_limit
from .files import picture_extensions, read_file
from .picture import MAX_PIXELS, Picture, picture_of_file, picture_of_image, png_of_image

__all__ = [
    "MAX_PIXELS",
    "Picture",
    "is_over_limit",
    "picture_extensions",
    "picture_of_file",
    "picture_of_image",
    "png_of_image",
    "read_file",
]
