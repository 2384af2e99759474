"""Memory of a server by the calls that its model accepts, for `styleserve deploy` and its warnings.

Free of TensorFlow. The figures are measured; docs/deploy/sizing.md has the commands.
"""

from __future__ import annotations

import re
from typing import Final

MIB: Final = 2**20

PROCESS_MIB: Final = 640
"""Memory of a process with TensorFlow before it loads a model. Measured: 550 MB."""

RESERVE_MIB: Final = 640
"""Memory for tensors beside those of the images: two versions of the model (80 MB each), and kernels that need more on
some processors (1.94 GB at 512 px on one, 1.44 GB on others)."""

KERNELS_MIB: Final = 256
"""Most memory of the kernels that one inter-op thread keeps. TensorFlow caches 1024 oneDNN primitives for each thread,
and each new size of a picture needs a few dozen (`MklPrimitiveFactory` in mkl_util.h; the number is a constant there).
Measured: 110 to 154 MiB in the embedded server, 218 MiB in TensorFlow Serving."""

IMAGE_BYTES: Final = 3200
"""Memory of a processed pixel, in bytes. Measured with `paint` in float32, content and style squares of one size:
1.8 GB at 512 px and 4.3 GB at 1024 px, 3,140 bytes for each additional pixel; 4.5 GB at 1024 px with three regions."""

PRINT_BYTES: Final = 300
"""Part of `IMAGE_BYTES` that a tiled image needs for each of its pixels, beside its content features; the rest is for
the pixels of a tile. Measured with `paint`, L-BFGS, at 4096 x 4096 pixels: 225 with two pairs, and 6.6 for each of
eight more."""

MIN_TILE_PIXELS: Final = 640 * 640
"""Fewest pixels of a tile. Its margin is up to 192 pixels wide, so smaller tiles are nearly all margin."""

DEFAULT_MEMORY: Final = 16 * 2**30
"""Memory of a call at which an exporter begins to tile images: 2,317 pixels a side, or five images of 1024."""

FILE_BYTES: Final = 3
"""Memory of a pixel of a decoded file, before it is resized, in bytes. A call decodes its files one after another.
Measured: 191 MiB with two files of 64 megapixels."""


def server_mib(*, calls: int, images: int, pixels: int, encoded_pixels: int, memory: int | None = None) -> int:
    """Memory that a server needs, in MiB.

    Args:
        calls: Concurrent Predict calls.
        images: Images that all calls together process at a time.
        pixels: Most pixels of an image.
        encoded_pixels: Most pixels of a file; a call decodes one at a time, before it processes an image.
        memory: Memory of a call, in bytes, beyond which the model tiles its images; None for a model without tiles.
    """
    tensors = tensor_mib(calls=calls, images=images, pixels=pixels, encoded_pixels=encoded_pixels, memory=memory)
    return PROCESS_MIB + inter_op_threads(calls) * KERNELS_MIB + tensors


def tensor_mib(*, calls: int, images: int, pixels: int, encoded_pixels: int, memory: int | None = None) -> int:
    """Memory for tensors, a part of `server_mib`, in MiB; the arguments are the same."""
    processed = images * -(-IMAGE_BYTES * pixels // MIB)
    if memory is not None:
        processed = min(processed, calls * -(-memory // MIB))
    decoded = calls * -(-FILE_BYTES * encoded_pixels // MIB)
    return RESERVE_MIB + max(processed, decoded)


def inter_op_threads(calls: int) -> int:
    """TensorFlow's inter-op threads: one for each call, and one for a short request at the same time.

    A long loop holds a thread; with fewer threads a short request waits for seconds. Each thread takes `KERNELS_MIB`.
    """
    return calls + 1


def pixels_for(encoded_pixels: int) -> int:
    """Pixels of an image that needs the memory of a decoded file of `encoded_pixels`."""
    return -(-FILE_BYTES * encoded_pixels // IMAGE_BYTES)


def tile_pixels(memory: int, *, pixels: int, feature_bytes: int = 0) -> int | None:
    """Most pixels that a model processes at a time; None if `memory` is enough for whole images.

    Args:
        memory: Memory of a call for its tensors, in bytes.
        pixels: Most pixels of all images of a call together.
        feature_bytes: Content features of the whole image, in bytes for each of its pixels.

    Raises:
        ValueError: Not even small tiles fit.

    >>> tile_pixels(4 * 2**30, pixels=1024 * 1024) is None
    True
    """
    if IMAGE_BYTES * pixels <= memory:
        return None
    whole_bytes = (PRINT_BYTES + feature_bytes) * pixels
    tile_bytes = IMAGE_BYTES - PRINT_BYTES
    most = (memory - whole_bytes) // tile_bytes
    if most < MIN_TILE_PIXELS:
        least = whole_bytes + tile_bytes * MIN_TILE_PIXELS
        raise ValueError(
            f"memory is {memory / 2**30:.4g} GiB; images of {pixels} pixels need at least {least / 2**30:.4g} GiB: "
            "allow more memory or fewer pixels"
        )
    return most


_UNITS: Final = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def memory_bytes(text: str) -> int:
    """Bytes of a memory size with its unit.

    Raises:
        ValueError: It is not a number over 0 with a unit.

    >>> memory_bytes("12GiB"), memory_bytes("1.5 GB")
    (12884901888, 1500000000)
    """
    match = re.fullmatch(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})", text, re.ASCII)
    size = 0 if match is None else int(float(match[1]) * _UNITS[match[2]])
    if size == 0:
        raise ValueError(f"got {text!r}; give a number over 0 and one of {', '.join(_UNITS)}, as in 12GiB")
    return size
