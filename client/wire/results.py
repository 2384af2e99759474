"""Results of the service, typed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from styleserve import __version__

from ..images.metadata import SOFTWARE
from ..images.picture import encode_png
from ..images.save import SIXTEEN_BIT_EXTENSIONS, save_image
from ..images.sixteen_bits import save_sixteen_bits
from ..inputs.controls import OPTIMIZER_NAMES, Controls
from ..inputs.octaves import Octave
from ..inputs.print_size import checked_dpi
from ..inputs.recipe import RECIPE_KEY, Recipe

Floats = NDArray[np.float32]
Default = float | int | str


@dataclass(frozen=True)
class Timings:
    """Time of each part of a run, in seconds.

    Attributes:
        prepare_s: Time to read the pictures.
        call_s: Time to send, wait and receive.
        decode_s: Time to read the replies.
    """

    prepare_s: float
    call_s: float
    decode_s: float


@dataclass(frozen=True, eq=False, repr=False)
class StylizedResult:
    """A stylised picture and the run that made it.

    Attributes:
        image: Picture, 8-bit RGB.
        image_bytes: Same picture as the file that the server encoded, in the format of the control `image_format`.
        losses: Losses, `[steps, 5]` float32; columns as in `contract.LOSS_COLUMNS`. By Adam the losses before each
            step, by L-BFGS those of the picture held after each step. Those of all octaves follow one another.
        octaves: Sizes and steps of the run, smallest first.
        recipe: Recipe that repeats the run: controls, model and pictures.
        timings: Time of each part.
        notes: Visible changes to the pictures on loading, and events of the run.
    """

    image: Image.Image
    image_bytes: bytes
    losses: Floats
    octaves: tuple[Octave, ...]
    recipe: Recipe
    timings: Timings
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        size = "{} x {} pixels".format(*self.image.size)
        loss = f", loss {self.losses[-1, 0]:.4g}" if self.steps else ""
        return f"<StylizedResult: {size}, {self.steps} steps{loss}, {self.model_name} version {self.model_version}>"

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks."""
        return encode_png(self.image)

    @property
    def steps(self) -> int:
        """Optimisation steps that were done, each an evaluation of the network."""
        return len(self.losses)

    @property
    def controls(self) -> Controls:
        """Controls that were asked for, with the steps and the largest side of the run."""
        return self.recipe.controls

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self.recipe.model_name

    @property
    def model_version(self) -> int:
        """Version of the model that made the picture."""
        return self.recipe.model_version

    @property
    def optimizer(self) -> str:
        """Optimiser: "lbfgs" or "adam"."""
        return self.controls.expected_optimizer

    def facts(self, folder: Path | None = None, *, dpi: int | None = None) -> dict[str, str]:
        """Facts about the run as text to keep in the picture's file.

        Args:
            folder: Folder of the file, for the paths in the recipe; None leaves them absolute.
            dpi: Resolution in the file, for the recipe.
        """
        return {
            SOFTWARE: f"styleserve {__version__}",
            "Model": self.model_name,
            "Model version": str(self.model_version),
            "Optimizer": OPTIMIZER_NAMES[self.optimizer],
            "Steps": str(self.steps),
            RECIPE_KEY: replace(self.recipe, dpi=dpi).to_text(folder),
        }

    def save(self, path: str | os.PathLike[str], *, dpi: int | None = None) -> Path:
        """Writes the picture, all or nothing, in the format that the extension names; `facts` goes with it.

        A result of 16 bits is saved with all of them as PNG and TIFF, with 8 in other formats. All formats but BMP have
        the sRGB profile.

        Args:
            path: Path that ends in .png, .jpg, .jpeg, .webp, .avif, .tif, .tiff or .bmp.
            dpi: Resolution for prints in pixels per inch, from 1 to 10000; None writes none.

        Raises:
            ControlError: The resolution is out of range.
            OutputError: It cannot be written there.
        """
        path = Path(path)
        dpi = None if dpi is None else checked_dpi(dpi)
        text = self.facts(path.absolute().parent, dpi=dpi)
        if self.controls.image_format == "png16" and path.suffix.lower() in SIXTEEN_BIT_EXTENSIONS:
            return save_sixteen_bits(self.image_bytes, path, text=text, dpi=dpi)
        return save_image(self.image, path, text=text, dpi=dpi)


@dataclass(frozen=True, eq=False)
class LayerDescription:
    """Activations of one layer of the network for a picture.

    Attributes:
        name: Name of the layer.
        height: Height of its output.
        width: Width of its output.
        channels: Channels of its output.
        minimum: Smallest activation.
        maximum: Largest activation.
        mean: Mean of the activations.
        gram: Gram matrix, `[channels, channels]` float32; None where it is not a style layer.
    """

    name: str
    height: int
    width: int
    channels: int
    minimum: float
    maximum: float
    mean: float
    gram: Floats | None = field(repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class Description:
    """Activations of the network for a picture, and differences of neighbouring pixels.

    Attributes:
        width: Width of the picture as it was sent, in pixels.
        height: Height of the picture as it was sent, in pixels.
        layers: Layers in network order.
        total_variation: Sum of the absolute differences of neighbouring pixels.
        high_pass_x: Differences along x, `[height, width - 1, 3]` float32.
        high_pass_y: Differences along y, `[height - 1, width, 3]` float32.
        sobel_edges: Sobel edges, `[height, width, 3, 2]` float32; the last dimension is (dy, dx).
        model_version: Version of the model that answered.
        notes: Visible changes to the picture on loading.
    """

    width: int
    height: int
    layers: tuple[LayerDescription, ...]
    total_variation: float
    high_pass_x: Floats
    high_pass_y: Floats
    sobel_edges: Floats
    model_version: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        size = f"{self.width} x {self.height} pixels"
        return f"<Description: {size}, {len(self.layers)} layers, model version {self.model_version}>"


@dataclass(frozen=True)
class VersionStatus:
    """Status of a version of the model.

    Attributes:
        version: Number of the version.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: Error of loading; empty where nothing failed.
    """

    version: int
    state: str
    error: str = ""

    @property
    def available(self) -> bool:
        """Whether the version answers requests."""
        return self.state == "AVAILABLE"

    def __str__(self) -> str:
        return f"version {self.version} is {self.state}" + (f" ({self.error})" if self.error else "")


@dataclass(frozen=True)
class TensorDescription:
    """Input or output of a signature, as the model declares it.

    Attributes:
        name: Name of the input or output.
        dtype: Type as in the contract: "float32", "int32", "string".
        shape: Sizes, None for one that varies. The whole is None where the rank varies.
        default: Value of an input that is not sent, an empty text for an empty tensor; None for inputs that must be
            sent, and for outputs.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    default: Default | None = None


@dataclass(frozen=True, repr=False)
class SignatureDescription:
    """Signature of the model, as the model declares it."""

    name: str
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]

    def __repr__(self) -> str:
        return f"<SignatureDescription {self.name}: {len(self.inputs)} inputs, {len(self.outputs)} outputs>"


@dataclass(frozen=True, repr=False)
class Metadata:
    """Declarations of a model.

    Attributes:
        model_name: Name of the model.
        model_version: Version of the model.
        signatures: Signatures, by name.
        limits: Limits, by the names of `contract.LIMIT_FIELDS`; None for a model of an older version without limits, or
            where the server was too busy.
        fingerprint: Fingerprint of the model: models with the same one paint the same pictures. None likewise.
    """

    model_name: str
    model_version: int
    signatures: tuple[SignatureDescription, ...]
    limits: Mapping[str, float] | None = None
    fingerprint: str | None = None

    @property
    def contract_version(self) -> int | None:
        """Version of the wire contract that the model was exported with; None where it is not known."""
        return None if self.limits is None else int(self.limits.get("contract_version", 1))

    def __repr__(self) -> str:
        names = ", ".join(signature.name for signature in self.signatures)
        return f"<Metadata: {self.model_name} version {self.model_version}, signatures {names}>"
