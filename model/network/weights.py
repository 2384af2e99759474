"""Weights of VGG-19, from Keras Applications or from a file; there is no silent fallback."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Final, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from .architecture import CONV_LAYERS

Array = npt.NDArray[np.float32]

VGG_LICENCE: Final = "CC BY 4.0, Visual Geometry Group, University of Oxford"

_TOP: Final = ("fc1", "fc2", "predictions")
"""Layers of the classifier, in files "with top"; style transfer does not need them."""


class LayerWeights(NamedTuple):
    """Weights of one convolution.

    Attributes:
        kernel: `[3, 3, in, out]` float32.
        bias: `[out]` float32.
    """

    kernel: Array
    bias: Array


@dataclass(frozen=True)
class Weights:
    """Kernels and biases by layer, their source and their licence.

    Attributes:
        layers: Weights by name of the layer, in network order; deep layers may be missing.
        source: "imagenet", "random (seed N)" or the name of a file.
        licence: Licence of the weights, if known.

    Raises:
        ValueError: A layer is not one of VGG-19's, has the wrong shape or holds a NaN or an infinity.
    """

    layers: Mapping[str, LayerWeights]
    source: str
    licence: str

    def __post_init__(self) -> None:
        shapes = {layer.name: layer.kernel_shape for layer in CONV_LAYERS}
        extra = [name for name in self.layers if name not in shapes]
        if extra:
            raise ValueError(f"{self.source}: not a layer of VGG-19: {', '.join(sorted(extra))}")
        for name, (kernel, bias) in self.layers.items():
            expected = shapes[name]
            if kernel.shape != expected or bias.shape != expected[-1:]:
                raise ValueError(
                    f"{self.source}: {name} has kernel {kernel.shape} and bias {bias.shape}; "
                    f"VGG-19 has {expected} and {expected[-1:]}"
                )
            if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
                raise ValueError(f"{self.source}: {name} holds values that are not finite")

    def require(self, names: Iterable[str]) -> None:
        """Checks that the weights have these layers.

        Raises:
            ValueError: Layers are missing; the message names them.
        """
        missing = [name for name in names if name not in self.layers]
        if missing:
            raise ValueError(
                f"{self.source}: missing layers: {', '.join(missing)}; it has {', '.join(self.layers) or 'none'}. "
                "Use weights that reach as far as the last layer, or choose earlier style and content layers"
            )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the numbers, which does not depend on the file format."""
        digest = hashlib.sha256()
        for layer in CONV_LAYERS:
            if layer.name in self.layers:
                for array in self.layers[layer.name]:
                    digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()


def imagenet_weights() -> Weights:
    """ImageNet weights of Keras Applications, from its cache or, with a check of their hash, from its server.

    Raises:
        OSError: The weights are not in the cache and cannot be downloaded.
    """
    import keras  # noqa: PLC0415 - takes half a second, which the other sources do not need

    try:
        network = keras.applications.VGG19(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception where the download fails
        raise OSError(
            f"the ImageNet weights of VGG-19 cannot be fetched ({error}). Give a file with --weights PATH, or "
            "untrained weights with --weights random"
        ) from error
    layers: dict[str, LayerWeights] = {}
    for layer in CONV_LAYERS:
        kernel, bias = network.get_layer(layer.name).get_weights()
        layers[layer.name] = LayerWeights(kernel, bias)
    return Weights(layers, "imagenet (Keras Applications)", VGG_LICENCE)


_UNREADABLE = (
    OSError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
)
"""Errors of NumPy, zipfile and h5py for files that are damaged, encrypted, or of another format."""


def file_weights(path: Path) -> Weights:
    """Weights from a file.

    Args:
        path: `.npz` with `<layer>/kernel` and `<layer>/bias`, or a file that Keras saved of VGG-19 with or without top:
            `.h5`, `.weights.h5`, `.keras`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, or a layer is not VGG-19's, is incomplete or has the wrong shape.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}. Give a file, 'imagenet' or 'random'")
    readers = {".npz": _read_npz, ".h5": _read_h5, ".hdf5": _read_h5, ".keras": _read_keras}
    if path.suffix not in readers:
        raise ValueError(f"weights in {path.name}: the name must end in one of {', '.join(readers)}")
    arrays: dict[str, dict[str, Array]] = {}
    repeated: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for layer, kind, array in readers[path.suffix](file):
                parts = arrays.setdefault(layer, {})
                if kind in parts:
                    repeated[layer] = kind
                parts[kind] = array.astype(np.float32)
    except _UNREADABLE as error:
        raise ValueError(f"weights in {path.name} cannot be read: {error}") from error
    order = [layer.name for layer in CONV_LAYERS]
    layers: dict[str, LayerWeights] = {}
    for name in sorted(arrays, key=lambda name: order.index(name) if name in order else -1):
        if name in _TOP:
            continue
        parts = arrays[name]
        if name in repeated:
            raise ValueError(f"{path.name}: {name} has more than one {repeated[name]}; it needs a kernel and a bias")
        if set(parts) != {"kernel", "bias"}:
            raise ValueError(f"{path.name}: {name} has {', '.join(sorted(parts))}; it needs a kernel and a bias")
        layers[name] = LayerWeights(parts["kernel"], parts["bias"])
    return Weights(layers, path.name, "set by their owner; the original VGG-19 weights are " + VGG_LICENCE)


_Entries = Iterator[tuple[str, str, npt.NDArray[np.generic]]]


def _read_npz(file: IO[bytes]) -> _Entries:
    with np.load(file, allow_pickle=False) as arrays:
        for key in arrays.files:
            layer, _, kind = key.rpartition("/")
            yield layer or key, kind, arrays[key]


def _read_keras(file: IO[bytes]) -> _Entries:
    with zipfile.ZipFile(file) as archive:
        yield from _read_h5(io.BytesIO(archive.read("model.weights.h5")))


def _read_h5(file: IO[bytes]) -> _Entries:
    entries: list[tuple[str, str, npt.NDArray[np.generic]]] = []

    def visit(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset) or path.startswith("optimizer"):
            return
        # Dimensions tell kernels from biases, because the file formats differ in names. A bias has one dimension.
        entries.append((_h5_layer(path, item), "bias" if item.ndim == 1 else "kernel", item[()]))

    with h5py.File(file, "r") as h5:
        h5.visititems(visit)
    yield from entries


def _h5_layer(path: str, dataset: h5py.Dataset) -> str:
    """Name of the layer of a dataset.

    Keras 2 and `.h5`: `block1_conv1/block1_conv1/kernel:0`. Keras 3: `layers/conv2d_3/vars/0`, with the name as an
    attribute of `vars`, or, in its first releases, with only the position among the convolutions.
    """
    groups = path.split("/")[:-1]
    name = dataset.parent.attrs.get("name")
    if name is not None:
        return str(name)
    if len(groups) < 2 or groups[-1] != "vars":
        return groups[-1] if groups else path
    position = re.fullmatch(r"(conv2d|dense)(?:_(\d+))?", groups[-2])
    if position is not None:
        names = [layer.name for layer in CONV_LAYERS] if position[1] == "conv2d" else _TOP
        if int(position[2] or 0) < len(names):
            return names[int(position[2] or 0)]
    return groups[-2]
