"""The wire contract: every name, shape, range, unit and default that graph, server and client share.

Free of TensorFlow, NumPy and gRPC, so that everything may import it. A change here is a decision: bump
`CONTRACT_VERSION`, write it into CHANGELOG.md and test what becomes of callers of the old form.

Everything is batch-first, because server-side batching joins requests along the first dimension. Each control is a
vector of one value per example, or of one value for all. A control that is not sent takes the default that stands in
the model's SignatureDef; defaults depend on the loss scale the model was exported with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

from .limits import RESIZED as RESIZED
from .limits import THE_BATCH as THE_BATCH
from .limits import Limits as Limits
from .limits import batch_pixels_rule as batch_pixels_rule
from .limits import batch_rule as batch_rule
from .limits import bytes_rule as bytes_rule
from .limits import partner_rule as partner_rule
from .limits import pixels_rule as pixels_rule
from .limits import range_rule as range_rule
from .limits import sides_rule as sides_rule
from .limits import work_rule as work_rule

CONTRACT_VERSION: Final = 1
"""Raised when a request that was valid would be refused or would mean something else."""

DEFAULT_MODEL_NAME: Final = "style_transfer"
DEFAULT_PORT: Final = 8500
"""The gRPC port of TensorFlow Serving."""

SERVING_DEFAULT: Final = "serving_default"
STYLIZE_ENCODED: Final = "stylize_encoded"
STYLIZE_LBFGS: Final = "stylize_lbfgs"
STYLIZE_LBFGS_ENCODED: Final = "stylize_lbfgs_encoded"
STYLIZE_RESUMABLE: Final = "stylize_resumable"
STYLIZE_LBFGS_RESUMABLE: Final = "stylize_lbfgs_resumable"
DESCRIBE: Final = "describe"
LIMITS: Final = "limits"

DType = Literal["float32", "int32", "string"]
LossScale = Literal["tutorial", "relative"]
Default = float | int

LOSS_COLUMNS: Final = ("total", "style", "content", "total_variation")
"""Meaning of the last dimension of `losses`. The three parts are already weighted: they add up to `total`."""

STATISTICS_COLUMNS: Final = ("min", "max", "mean")
"""Meaning of the last dimension of `layer_statistics`."""

CONTENT_LAYER: Final = "block5_conv2"
STYLE_LAYERS: Final = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")

ENCODED_FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "WebP")
"""What `stylize_encoded` decodes: of an animated GIF the first frame; WebP only still, and without transparency."""

FILE_RULE: Final = (
    f"must be a file of one of the formats {', '.join(ENCODED_FORMATS)} with its size in its header; got height, width:"
)
"""For the size that a file claims. A file without one could need any amount of memory."""


@dataclass(frozen=True)
class Control:
    """A knob of a request: a vector of length 1, or of one value per example.

    Attributes:
        name: input name in the signature.
        dtype: "float32" or "int32".
        minimum: smallest value allowed, inclusive.
        maximum: largest value allowed, inclusive; None where `Limits` sets it.
        unit: what the number counts.
        help: one line for people.
        tutorial: default of models with the loss scale "tutorial", where their limits leave it; see `default_within`.
        relative: default of models with the loss scale "relative", likewise.
    """

    name: str
    dtype: Literal["float32", "int32"]
    minimum: float
    maximum: float | None
    unit: str
    help: str
    tutorial: Default
    relative: Default

    def default(self, loss_scale: LossScale) -> Default:
        """The value a model exported with `loss_scale` takes where none is sent."""
        return self.tutorial if loss_scale == "tutorial" else self.relative

    def limit(self, limits: Limits) -> float:
        """Largest value allowed, inclusive, under the limits of a model."""
        if self.maximum is not None:
            return self.maximum
        return limits.max_steps if self.name == STEPS.name else limits.max_side

    def default_within(self, loss_scale: LossScale, limits: Limits) -> Default:
        """The value a model takes where none is sent: its default, or as much of it as its limits leave.

        >>> small = Limits(max_side=600, max_pixels=10_000, max_work=0.5)
        >>> MAX_SIDE.default_within("relative", small), STEPS.default_within("relative", small)
        (100, 50)
        """
        numbers = limits.numbers()
        most = self.limit(limits)
        if self.name == MAX_SIDE.name:
            most = max(self.minimum, min(most, math.isqrt(int(numbers["max_pixels"]))))
        elif self.name == STEPS.name:  # of a square of the side that is taken where none is sent
            side = MAX_SIDE.default_within(loss_scale, limits)
            most = min(most, max(1, int(numbers["max_work"] * 1e6 / side**2)))
        return min(self.default(loss_scale), most)


_MAX_WEIGHT: Final = 1e12

# Relative losses are of the order of 1, so their weights could be, too. But Adam's epsilon of 0.1 is no fraction of the
# gradient: under small losses it takes small steps. So the weights bring them to the size of the tutorial's losses.
# Their ratios were chosen by looking at what L-BFGS makes of several pairs of pictures: with more content the palette
# stays behind, with less total variation there is grain, with more there are no brush strokes.

CONTENT_WEIGHT: Final = Control(
    "content_weight", "float32", 0.0, _MAX_WEIGHT, "factor", "How much the content image counts.", 1e4, 5e4
)
STYLE_WEIGHT: Final = Control(
    "style_weight", "float32", 0.0, _MAX_WEIGHT, "factor", "How much the style image counts.", 1e-2, 1e6
)
TOTAL_VARIATION_WEIGHT: Final = Control(
    "total_variation_weight", "float32", 0.0, _MAX_WEIGHT, "factor", "How much smoothness counts.", 30.0, 1.0
)
STEPS: Final = Control(
    "steps", "int32", 0, None, "evaluations", "Evaluations of the network; 0 returns the content image.", 100, 100
)
LEARNING_RATE: Final = Control(
    "learning_rate", "float32", 0.0, 1.0, "pixel range per step", "Learning rate of Adam.", 0.02, 0.02
)
MAX_SIDE: Final = Control(
    "max_side", "int32", 16, None, "pixels", "Longest side that both images are resized to.", 512, 512
)

WEIGHT_CONTROLS: Final = (CONTENT_WEIGHT, STYLE_WEIGHT, TOTAL_VARIATION_WEIGHT)
LBFGS_CONTROLS: Final = (*WEIGHT_CONTROLS, STEPS)
ADAM_CONTROLS: Final = (*LBFGS_CONTROLS, LEARNING_RATE)
CONTROLS: Final = (*ADAM_CONTROLS, MAX_SIDE)


@dataclass(frozen=True)
class Field:
    """A tensor of a signature.

    Attributes:
        name: input or output name.
        dtype: "float32", "int32" or "string" (bytes).
        shape: sizes; None is known only at run time. The first is the batch.
        help: one line for people.
        control: the control behind an input that may be left out, else None.
        optional: whether an input that is no control may be left out; it is empty then.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]
    help: str
    control: Control | None = None
    optional: bool = False

    @property
    def required(self) -> bool:
        """Whether a request without this input is refused."""
        return self.control is None and not self.optional


@dataclass(frozen=True)
class Signature:
    """One callable of the model. Outputs that depend on the exported layers are not listed (`gram_name`)."""

    name: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    help: str


def _control_fields(*controls: Control) -> tuple[Field, ...]:
    return tuple(Field(control.name, control.dtype, (None,), control.help, control) for control in controls)


_IMAGE: Final = (None, None, None, 3)
_IMAGE_HELP: Final = "RGB in [0, 1], [batch, height, width, 3]"

CONTENT_IMAGE: Final = Field("content_image", "float32", _IMAGE, f"The picture to paint: {_IMAGE_HELP}.")
STYLE_IMAGE: Final = Field("style_image", "float32", _IMAGE, f"The painting to follow: {_IMAGE_HELP}; batch may be 1.")
CONTENT_BYTES: Final = Field("content_bytes", "string", (None,), "The picture to paint, as an encoded file.")
STYLE_BYTES: Final = Field(
    "style_bytes", "string", (None,), "The painting to follow, as an encoded file; batch may be 1."
)
IMAGE: Final = Field("image", "float32", _IMAGE, f"The picture to look at: {_IMAGE_HELP}.")

STYLIZED_IMAGE: Final = Field("stylized_image", "float32", _IMAGE, f"The result, {_IMAGE_HELP}.")
PNG_BYTES: Final = Field("png_bytes", "string", (None,), "The result, as an 8-bit RGB PNG file.")
LOSSES: Final = Field(
    "losses",
    "float32",
    (None, None, 4),
    "Losses, [batch, most steps of the batch, total | style | content | total variation]: by Adam before each step, "
    "by L-BFGS of the image held after each evaluation; NaN after an example's own last step.",
)

LAYER_NAMES: Final = Field("layer_names", "string", (None, None), "Layers, in network order, [batch, layers].")
LAYER_SHAPES: Final = Field("layer_shapes", "int32", (None, None, 3), "Height, width and channels of each layer.")
LAYER_STATISTICS: Final = Field("layer_statistics", "float32", (None, None, 3), "Min, max and mean of each layer.")
TOTAL_VARIATION: Final = Field("total_variation", "float32", (None,), "Sum of absolute neighbour differences.")
HIGH_PASS_X: Final = Field("high_pass_x", "float32", _IMAGE, "Differences along x, [batch, height, width - 1, 3].")
HIGH_PASS_Y: Final = Field("high_pass_y", "float32", _IMAGE, "Differences along y, [batch, height - 1, width, 3].")
SOBEL_EDGES: Final = Field("sobel_edges", "float32", (None, None, None, 3, 2), "Sobel edges; last is (dy, dx).")


EXAMPLE: Final = Field(
    "example", "int32", (None,), "Any number: there is a row of limits for each. Left out, there is one.", optional=True
)
LIMIT_FIELDS: Final = (
    Field("min_side", "int32", (None,), "Shortest side of an image that is worked on, in pixels."),
    Field("max_side", "int32", (None,), "Longest side of an image that is worked on, in pixels."),
    Field("max_pixels", "int32", (None,), "Most pixels of an image that is worked on."),
    Field("max_batch_pixels", "int32", (None,), "Most pixels of the images that one call works on together."),
    Field("max_steps", "int32", (None,), "Most steps of one call."),
    Field("max_batch", "int32", (None,), "Most examples of one call."),
    Field("max_work", "float32", (None,), "Most megapixel-steps of one call: millions of pixels x steps x examples."),
    Field("max_encoded_pixels", "int32", (None,), "Most pixels of a file, before it is resized."),
    Field("max_encoded_bytes", "int32", (None,), "Most bytes of a file."),
)


STATE: Final = Field(
    "state",
    "string",
    (None,),
    "Where a run is: opaque bytes, given by one call and taken by the next, of the same model.",
    optional=True,
)

_RESUMABLE_INPUTS: Final = tuple(
    replace(field, optional=True) for field in (CONTENT_IMAGE, STYLE_IMAGE, CONTENT_BYTES, STYLE_BYTES)
)


def gram_name(layer: str) -> str:
    """Output of `describe` with the Gram matrix of a style layer, [batch, channels, channels] float32.

    >>> gram_name("block1_conv1")
    'gram_block1_conv1'
    """
    return f"gram_{layer}"


SIGNATURES: Final = {
    signature.name: signature
    for signature in (
        Signature(
            SERVING_DEFAULT,
            (CONTENT_IMAGE, STYLE_IMAGE, *_control_fields(*ADAM_CONTROLS)),
            (STYLIZED_IMAGE, LOSSES),
            "Style transfer by Adam, images in and out.",
        ),
        Signature(
            STYLIZE_ENCODED,
            (CONTENT_BYTES, STYLE_BYTES, *_control_fields(*ADAM_CONTROLS, MAX_SIDE)),
            (PNG_BYTES, LOSSES),
            "Style transfer by Adam, files in and out; both are resized so that the longest side is max_side.",
        ),
        Signature(
            STYLIZE_LBFGS,
            (CONTENT_IMAGE, STYLE_IMAGE, *_control_fields(*LBFGS_CONTROLS)),
            (STYLIZED_IMAGE, LOSSES),
            "Style transfer by L-BFGS, images in and out.",
        ),
        Signature(
            STYLIZE_LBFGS_ENCODED,
            (CONTENT_BYTES, STYLE_BYTES, *_control_fields(*LBFGS_CONTROLS, MAX_SIDE)),
            (PNG_BYTES, LOSSES),
            "Style transfer by L-BFGS, files in and out; both are resized so that the longest side is max_side.",
        ),
        Signature(
            STYLIZE_RESUMABLE,
            (*_RESUMABLE_INPUTS, STATE, *_control_fields(*ADAM_CONTROLS, MAX_SIDE)),
            (STATE, PNG_BYTES, LOSSES),
            "Some steps of Adam, begun with two images or two files and gone on with from a state.",
        ),
        Signature(
            STYLIZE_LBFGS_RESUMABLE,
            (*_RESUMABLE_INPUTS, STATE, *_control_fields(*LBFGS_CONTROLS, MAX_SIDE)),
            (STATE, PNG_BYTES, LOSSES),
            "Some steps of L-BFGS, begun with two images or two files and gone on with from a state.",
        ),
        Signature(
            DESCRIBE,
            (IMAGE,),
            (
                LAYER_NAMES,
                LAYER_SHAPES,
                LAYER_STATISTICS,
                TOTAL_VARIATION,
                HIGH_PASS_X,
                HIGH_PASS_Y,
                SOBEL_EDGES,
            ),
            "What the network sees in a picture: layer and Gram statistics, high-frequency deltas, Sobel edges.",
        ),
        Signature(LIMITS, (EXAMPLE,), LIMIT_FIELDS, "What the model takes, in numbers. Costs nothing to ask."),
    )
}
"""Every signature by its name."""
