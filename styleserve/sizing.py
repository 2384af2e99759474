"""Memory of a server, by the calls that its model accepts: the formula of `styleserve deploy` and its warnings.

Free of TensorFlow. The figures are measured; docs/deploy/sizing.md names the commands.
"""

from __future__ import annotations

from typing import Final

MIB: Final = 2**20

PROCESS_MIB: Final = 640
"""Memory of a process before it loads a model: TensorFlow; 550 MB were measured."""

RESERVE_MIB: Final = 640
"""Memory for tensors beside those of the images: two versions of the model (80 MB each), and what the kernels of some
processors take more: 1.94 GB for 512 px, where others took 1.44."""

KERNELS_MIB: Final = 256
"""Most memory of the kernels that one inter-op thread keeps. For each thread TensorFlow caches 1024 oneDNN primitives,
of which each new size of a picture takes a few dozen (`MklPrimitiveFactory` in mkl_util.h; the number is a constant).
Measured: 110 to 154 MiB in the embedded server, 218 MiB in TensorFlow Serving."""

IMAGE_BYTES: Final = 3200
"""Memory of a pixel that is worked on, in bytes. `paint` in float32, content and style squares of one size, took 1.8 GB
at 512 px and 4.3 at 1024, 3,140 bytes for each pixel more; of 1024 px with three regions 4.5."""

FILE_BYTES: Final = 3
"""Memory of a pixel of a decoded file, before it is resized, in bytes. The two files of a call are decoded one after
another; with 64 megapixels each they took 191 MiB."""


def server_mib(*, calls: int, images: int, pixels: int, encoded_pixels: int) -> int:
    """Memory that a server needs, in MiB.

    Args:
        calls: Predict calls at a time.
        images: images that all of them work on at a time.
        pixels: most pixels of such an image.
        encoded_pixels: most pixels of a file; a call decodes one at a time, before it works on an image.
    """
    tensors = tensor_mib(calls=calls, images=images, pixels=pixels, encoded_pixels=encoded_pixels)
    return PROCESS_MIB + inter_op_threads(calls) * KERNELS_MIB + tensors


def tensor_mib(*, calls: int, images: int, pixels: int, encoded_pixels: int) -> int:
    """Memory for tensors in that of `server_mib`, in MiB; the same arguments."""
    worked_on = images * -(-IMAGE_BYTES * pixels // MIB)
    decoded = calls * -(-FILE_BYTES * encoded_pixels // MIB)
    return RESERVE_MIB + max(worked_on, decoded)


def inter_op_threads(calls: int) -> int:
    """Threads of TensorFlow for operations: one for each call, and one more for a short request beside them.

    A long loop holds a thread, so that with fewer threads a short request waits for seconds. Each thread more takes
    `KERNELS_MIB`.
    """
    return calls + 1


def pixels_for(encoded_pixels: int) -> int:
    """Pixels of an image that takes as much memory as a decoded file."""
    return -(-FILE_BYTES * encoded_pixels // IMAGE_BYTES)
