"""Weights of VGG-19 from Keras Applications or from a file. Nothing falls back in silence."""

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

# The classifier of the published network: files "with top" have it, style transfer does not need it.
_TOP: Final = ("fc1", "fc2", "predictions")


class LayerWeights(NamedTuple):
    """One convolution: `kernel` [3, 3, in, out] and `bias` [out], float32."""

    kernel: Array
    bias: Array


@dataclass(frozen=True)
class Weights:
    """Kernels and biases by layer, and where they are from.

    Attributes:
        layers: by layer name, in network order; need not reach to the end of the network.
        source: "imagenet", "random (seed N)" or a file's name.
        licence: under what terms they may be passed on, as far as is known.

    Raises:
        ValueError: a layer is not one of VGG-19's, has the wrong shape or holds a NaN or an infinity.
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
        """Checks that the layers are there.

        Raises:
            ValueError: names those that are missing.
        """
        missing = [name for name in names if name not in self.layers]
        if missing:
            raise ValueError(
                f"{self.source}: missing layers: {', '.join(missing)}; it has {', '.join(self.layers) or 'none'}. "
                "Use weights that reach as far as the last layer, or choose earlier style and content layers"
            )

    @cached_property
    def sha256(self) -> str:
        """Hash of the numbers themselves: the same weights give the same hash, whatever file they came in."""
        digest = hashlib.sha256()
        for layer in CONV_LAYERS:
            if layer.name in self.layers:
                for array in self.layers[layer.name]:
                    digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()


def imagenet_weights() -> Weights:
    """The weights of Keras Applications, from its cache or, after checking their hash, from its server.

    Raises:
        OSError: they are not in the cache and cannot be fetched.
    """
    import keras  # noqa: PLC0415 - half a second that only this source of weights has to spend

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


# What NumPy, zipfile and h5py raise for files that are damaged, encrypted, or something else.
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


def file_weights(path: Path) -> Weights:
    """The weights in a file.

    Args:
        path: `.npz` with `<layer>/kernel` and `<layer>/bias`, or what Keras saves of VGG-19 with or without top:
            `.h5`, `.weights.h5`, `.keras`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read as such a file, or holds layers that are not VGG-19's, incomplete or misshapen.
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
    return Weights(layers, path.name, "as its owner says; VGG-19's own weights are " + VGG_LICENCE)


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
        # A kernel has four dimensions, or two in the classifier: the forms of the file name it differently.
        entries.append((_h5_layer(path, item), "bias" if item.ndim == 1 else "kernel", item[()]))

    with h5py.File(file, "r") as h5:
        h5.visititems(visit)
    yield from entries


def _h5_layer(path: str, dataset: h5py.Dataset) -> str:
    """Name of the layer that a dataset belongs to.

    Keras 2 and `.h5`: `block1_conv1/block1_conv1/kernel:0`. Keras 3: `layers/conv2d_3/vars/0`, with the name as an
    attribute of `vars`, or, in its first releases, with no name but the position among the convolutions.
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
