"""The wire contract: every name, shape, range, unit and default that graph, server and client share.

Free of TensorFlow, NumPy and gRPC, so that every package can import it. A change that breaks callers needs a new
`CONTRACT_VERSION`, an entry in CHANGELOG.md and a test of callers of the version before.

Every tensor is batch-first, because server-side batching joins requests along the first dimension. A control is a
vector with one value for each example, or one value for all. A control that is not sent takes its default from the
model's SignatureDef; the defaults of absolute weights depend on the loss scale of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from .limits import BLEND_RULE as BLEND_RULE
from .limits import MASK_RULE as MASK_RULE
from .limits import RESIZED as RESIZED
from .limits import SAME_BATCH_RULE as SAME_BATCH_RULE
from .limits import THE_BATCH as THE_BATCH
from .limits import Limits as Limits
from .limits import batch_pixels_rule as batch_pixels_rule
from .limits import batch_rule as batch_rule
from .limits import bytes_rule as bytes_rule
from .limits import choice_rule as choice_rule
from .limits import partner_rule as partner_rule
from .limits import per_rule as per_rule
from .limits import pixels_rule as pixels_rule
from .limits import range_rule as range_rule
from .limits import sides_rule as sides_rule
from .limits import styles_rule as styles_rule
from .limits import work_rule as work_rule

CONTRACT_VERSION: Final = 2
"""Version of the contract; raised when valid requests would be refused or would change their meaning."""

DEFAULT_MODEL_NAME: Final = "style_transfer"
DEFAULT_PORT: Final = 8500
"""The gRPC port of TensorFlow Serving."""

SERVING_DEFAULT: Final = "serving_default"
STYLIZE_LBFGS: Final = "stylize_lbfgs"
PAINT: Final = "paint"
DESCRIBE: Final = "describe"
LIMITS: Final = "limits"

DType = Literal["float32", "int32", "string"]
LossScale = Literal["tutorial", "relative"]
Default = float | int | str

STATISTICS_COLUMNS: Final = ("min", "max", "mean")
"""Meaning of the last dimension of `layer_statistics`."""

CONTENT_LAYER: Final = "block5_conv2"
"""Content layer of the tutorial."""
PAINTER_CONTENT_LAYER: Final = "block4_conv2"
"""Content layer of the painter's loss."""
STYLE_LAYERS: Final = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")

ENCODED_FORMATS: Final = ("JPEG", "PNG", "WebP")
"""Formats that `paint` decodes; WebP without animation and transparency."""

FILE_RULE: Final = (
    f"must be a file of one of the formats {', '.join(ENCODED_FORMATS)} with its size in its header; got height, width:"
)
"""Rule for the size in the header of a file. A file without it could need any amount of memory."""


@dataclass(frozen=True)
class Control:
    """A control of a request: one value for each example, or one for all; with `per`, for each style or layer as well.

    Attributes:
        name: Name of the input.
        dtype: "float32", "int32", or "string" for a choice.
        minimum: Smallest value, inclusive; 0 for a choice.
        maximum: Largest value, inclusive; None if `Limits` sets it.
        unit: Unit of the number.
        help: Description in one line; the clause before the first ";" stands alone.
        tutorial: Default with the loss scale "tutorial", before the limits; see `default_within`.
        relative: Default with the loss scale "relative", before the limits.
        per: Second dimension of the input, "style" or "layer", of size 1 or their number. Empty for no such dimension.
        choices: Allowed values of a choice.
    """

    name: str
    dtype: DType
    minimum: float
    maximum: float | None
    unit: str
    help: str
    tutorial: Default
    relative: Default
    per: Literal["", "style", "layer"] = ""
    choices: tuple[str, ...] = ()

    def default(self, loss_scale: LossScale) -> Default:
        """Default of models with a loss scale, before their limits."""
        return self.tutorial if loss_scale == "tutorial" else self.relative

    def limit(self, limits: Limits) -> float:
        """Largest value under the limits of a model, inclusive."""
        if self.maximum is not None:
            return self.maximum
        return limits.max_steps if self.name == STEPS.name else limits.max_side

    def default_within(self, loss_scale: LossScale, limits: Limits) -> Default:
        """Default of a model: that of its loss scale, or less if its limits require it.

        >>> small = Limits(max_side=600, max_pixels=10_000, max_work=0.5)
        >>> MAX_SIDE.default_within("relative", small), STEPS.default_within("relative", small)
        (100, 50)
        """
        default = self.default(loss_scale)
        if isinstance(default, str):
            return default
        numbers = limits.numbers()
        most = self.limit(limits)
        if self.name == MAX_SIDE.name:
            most = max(self.minimum, min(most, math.isqrt(int(numbers["max_pixels"]))))
        elif self.name == STEPS.name:  # for a square of the default side
            side = float(MAX_SIDE.default_within(loss_scale, limits))
            most = min(most, max(1, int(numbers["max_work"] * 1e6 / side**2)))
        return min(default, most)

    @property
    def shape(self) -> tuple[None, ...]:
        """Shape of the input."""
        return (None, None) if self.per else (None,)


def _number(
    name: str,
    minimum: float,
    maximum: float | None,
    unit: str,
    text: str,
    default: float,
    *,
    per: Literal["", "style", "layer"] = "",
) -> Control:
    return Control(name, "float32", minimum, maximum, unit, text, default, default, per)


def _count(name: str, minimum: int, maximum: int | None, unit: str, text: str, default: int) -> Control:
    return Control(name, "int32", minimum, maximum, unit, text, default, default)


def _choice(name: str, text: str, *choices: str) -> Control:
    """A control whose first choice is the default."""
    return Control(name, "string", 0, 0, "choice", text, choices[0], choices[0], choices=choices)


@dataclass(frozen=True)
class Term:
    """A term of the loss: a column of `losses`, and its weight.

    Attributes:
        name: Name of the column.
        weight: Control of `paint`; 1 keeps the balance of the loss, 2 counts twice.
        absolute_weight: Control of `serving_default` and `stylize_lbfgs`: the factor itself, as in the tutorial. None
            if these signatures do not have the term.
    """

    name: str
    weight: Control
    absolute_weight: Control | None = None


_MAX_WEIGHT: Final = 1e12
_MAX_FACTOR: Final = 1e6


def _factor(name: str, noun: str) -> Control:
    return _number(name, 0.0, _MAX_FACTOR, "factor", f"Weight of {noun}; 2 counts twice.", 1.0)


def _term(name: str, noun: str, loss: str, tutorial: float, relative: float) -> Term:
    weight, text = f"{name}_weight", f"Weight of {loss}."
    absolute = Control(weight, "float32", 0.0, _MAX_WEIGHT, "factor", text, tutorial, relative)
    return Term(name, _factor(weight, noun), absolute)


# The relative defaults bring losses of the order of 1 to the size of the tutorial's, because Adam's epsilon of 0.1
# makes steps small under small gradients. Their ratios were chosen by looking at results of L-BFGS: more content keeps
# the content's palette, less total variation leaves grain, and more removes brush strokes.

TERMS: Final = (
    _term("style", "the style", "the style loss", 1e-2, 1e6),
    _term("content", "the content", "the content loss", 1e4, 5e4),
    _term("total_variation", "smoothness", "the total variation", 30.0, 1.0),
    Term("reference", _factor("reference_weight", "the reference picture")),
)
"""Terms of the loss, in the order of the columns. Weight controls and columns derive from them."""

STYLE_WEIGHT, CONTENT_WEIGHT, TOTAL_VARIATION_WEIGHT, REFERENCE_WEIGHT = (term.weight for term in TERMS)

LOSS_COLUMNS: Final = ("total", *(term.name for term in TERMS))
"""Columns of `losses` of `paint`. The terms are weighted: they add up to `total`."""

TUTORIAL_LOSS_COLUMNS: Final = ("total", *(term.name for term in TERMS if term.absolute_weight is not None))
"""Columns of `losses` of `serving_default` and `stylize_lbfgs`."""

STEPS: Final = _count(
    "steps", 0, None, "evaluations", "Evaluations of the network; 0 returns the start of the run.", 100
)
LEARNING_RATE: Final = _number("learning_rate", 0.0, 1.0, "pixel range per step", "Learning rate of Adam.", 0.02)
MAX_SIDE: Final = _count(
    "max_side", 16, None, "pixels", "Longest side of the result, in pixels; the pictures are resized to it.", 512
)
STYLE_BLEND: Final = _number(
    "style_blend", 0.0, _MAX_FACTOR, "share", "Share of each style; shares are divided by their sum.", 1.0, per="style"
)
STYLE_SCALE: Final = _number(
    "style_scale", 0.125, 8.0, "factor", "Scale of each style picture; 1 is the size of the result.", 1.0, per="style"
)
STYLE_LAYER_WEIGHTS: Final = _number(
    "style_layer_weights", 0.0, _MAX_FACTOR, "factor", "Weight of each style layer; 2 counts twice.", 1.0, per="layer"
)
START_NOISE: Final = _number(
    "start_noise", 0.0, 1.0, "share", "Share of noise in the start of the run; 1 starts from noise alone.", 0.0
)
SEED: Final = _count("seed", 0, 2**31 - 1, "number", "Seed of the noise; equal seeds give equal noise.", 0)

LOSS: Final = _choice("loss", "Loss that is minimised.", "painter", "tutorial")
OPTIMIZER: Final = _choice("optimizer", "Optimiser of the pixels.", "lbfgs", "adam")
COLORS: Final = _choice(
    "colors",
    "Colours of the result; of the style, of the content (only its lightness is painted), or of the style after it is "
    "matched to the content's palette.",
    "style",
    "content",
    "matched",
)
IMAGE_FORMAT: Final = _choice(
    "image_format", "Format of the result: PNG of 8 or 16 bits a channel, or JPEG.", "png", "png16", "jpeg"
)

_ABSOLUTE_WEIGHTS: Final = tuple(term.absolute_weight for term in TERMS if term.absolute_weight is not None)
LBFGS_CONTROLS: Final = (*_ABSOLUTE_WEIGHTS, STEPS)
"""Controls of `stylize_lbfgs`."""
ADAM_CONTROLS: Final = (*LBFGS_CONTROLS, LEARNING_RATE)
"""Controls of `serving_default`."""
CONTROLS: Final = (
    *(term.weight for term in TERMS),
    STYLE_BLEND,
    STYLE_SCALE,
    STYLE_LAYER_WEIGHTS,
    START_NOISE,
    SEED,
    COLORS,
    LOSS,
    OPTIMIZER,
    STEPS,
    LEARNING_RATE,
    MAX_SIDE,
    IMAGE_FORMAT,
)
"""Controls of `paint`."""


@dataclass(frozen=True)
class Field:
    """A tensor of a signature.

    Attributes:
        name: Name of the input or output.
        dtype: "float32", "int32" or "string" (bytes).
        shape: Sizes, the batch first; None for a size that is known only at run time.
        help: Description in one line.
        control: Control of an optional input, else None.
        default: Default of an optional input without a control; None for required inputs and for outputs.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]
    help: str
    control: Control | None = None
    default: Default | None = None

    @property
    def required(self) -> bool:
        """Whether a request without this input is refused."""
        return self.control is None and self.default is None


@dataclass(frozen=True)
class Signature:
    """A signature of the model. `outputs` lacks those that depend on the layers of a model (`gram_name`).

    Attributes:
        name: Name of the signature.
        inputs: Inputs, in their order.
        outputs: Outputs of every model.
        help: Description in one line.
    """

    name: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    help: str


def _control_fields(*controls: Control) -> tuple[Field, ...]:
    return tuple(Field(control.name, control.dtype, control.shape, control.help, control) for control in controls)


_IMAGE: Final = (None, None, None, 3)
_IMAGE_HELP: Final = "RGB in [0, 1], [batch, height, width, 3]"

CONTENT_IMAGE: Final = Field("content_image", "float32", _IMAGE, f"The picture to paint: {_IMAGE_HELP}.")
STYLE_IMAGE: Final = Field("style_image", "float32", _IMAGE, f"The painting to follow: {_IMAGE_HELP}; batch may be 1.")
IMAGE: Final = Field("image", "float32", _IMAGE, f"The picture to look at: {_IMAGE_HELP}.")


def _file(name: str, text: str, *, per_style: bool = False) -> Field:
    """An input of encoded files, empty by default."""
    return Field(name, "string", (None, None) if per_style else (None,), text, default="")


CONTENT_BYTES: Final = _file("content_bytes", "The picture to paint, as an encoded file.")
STYLE_BYTES: Final = _file(
    "style_bytes", "The paintings to follow, as encoded files, [batch or 1, styles].", per_style=True
)
STYLE_REGION_BYTES: Final = _file(
    "style_region_bytes",
    "Grey mask for each style picture: the part to learn from is white. Empty means all of it.",
    per_style=True,
)
CONTENT_REGION_BYTES: Final = _file(
    "content_region_bytes",
    "Grey mask for each style: where it applies in the content is white. Empty means everywhere. The content stays "
    "where no style applies.",
    per_style=True,
)
START_BYTES: Final = _file("start_bytes", "Start of the optimisation, as an encoded file. Empty means the content.")
REFERENCE_BYTES: Final = _file(
    "reference_bytes", "Picture whose pixels the result is pulled towards, as an encoded file. Empty means none."
)
REFERENCE_WEIGHT_BYTES: Final = _file(
    "reference_weight_bytes", "Grey mask: where the reference counts is white. Empty means everywhere."
)
FILES: Final = (
    CONTENT_BYTES,
    STYLE_BYTES,
    STYLE_REGION_BYTES,
    CONTENT_REGION_BYTES,
    START_BYTES,
    REFERENCE_BYTES,
    REFERENCE_WEIGHT_BYTES,
)
"""Inputs of `paint` that hold encoded files."""

STYLIZED_IMAGE: Final = Field("stylized_image", "float32", _IMAGE, f"The result, {_IMAGE_HELP}.")
IMAGE_BYTES: Final = Field("image_bytes", "string", (None,), "The result, as an encoded RGB file.")


def _losses(columns: tuple[str, ...]) -> Field:
    return Field(
        "losses",
        "float32",
        (None, None, len(columns)),
        f"Losses, [batch, most steps of the batch, {' | '.join(name.replace('_', ' ') for name in columns)}]: by Adam "
        "before each step, by L-BFGS of the image held after each evaluation; NaN after an example's own last step.",
    )


LOSSES: Final = _losses(LOSS_COLUMNS)
TUTORIAL_LOSSES: Final = _losses(TUTORIAL_LOSS_COLUMNS)

LAYER_NAMES: Final = Field("layer_names", "string", (None, None), "Layers, in network order, [batch, layers].")
LAYER_SHAPES: Final = Field("layer_shapes", "int32", (None, None, 3), "Height, width and channels of each layer.")
LAYER_STATISTICS: Final = Field("layer_statistics", "float32", (None, None, 3), "Min, max and mean of each layer.")
TOTAL_VARIATION: Final = Field("total_variation", "float32", (None,), "Sum of absolute neighbour differences.")
HIGH_PASS_X: Final = Field("high_pass_x", "float32", _IMAGE, "Differences along x, [batch, height, width - 1, 3].")
HIGH_PASS_Y: Final = Field("high_pass_y", "float32", _IMAGE, "Differences along y, [batch, height - 1, width, 3].")
SOBEL_EDGES: Final = Field("sobel_edges", "float32", (None, None, None, 3, 2), "Sobel edges; last is (dy, dx).")


EXAMPLE: Final = Field(
    "example", "int32", (None,), "Any number; each returns one row of limits. By default one row.", default=0
)
SMALLEST_OCTAVE: Final = "smallest_octave"
LIMIT_FIELDS: Final = (
    Field("contract_version", "int32", (None,), "Version of the wire contract that the model was exported with."),
    Field("min_side", "int32", (None,), "Shortest side of a processed image, in pixels."),
    Field("max_side", "int32", (None,), "Longest side of a processed image, in pixels."),
    Field("max_pixels", "int32", (None,), "Most pixels of a processed image."),
    Field("max_batch_pixels", "int32", (None,), "Most pixels of all images of one call."),
    Field("max_steps", "int32", (None,), "Most steps of one call."),
    Field("max_batch", "int32", (None,), "Most examples of one call."),
    Field("max_styles", "int32", (None,), "Most styles of an example."),
    Field("max_work", "float32", (None,), "Most megapixel-steps of one call: millions of pixels x steps x examples."),
    Field("max_encoded_pixels", "int32", (None,), "Most pixels of a file, before it is resized."),
    Field("max_encoded_bytes", "int32", (None,), "Most bytes of a file."),
    Field("style_layers", "int32", (None,), "Number of style layers, for `style_layer_weights`."),
    Field(
        SMALLEST_OCTAVE,
        "int32",
        (None,),
        "Shortest `max_side` at which a coarse-to-fine run may begin, in pixels; 0 for untrained weights, which paint "
        "better at one size.",
    ),
)
FINGERPRINT: Final = Field(
    "fingerprint",
    "string",
    (None,),
    "Fingerprint of the model, 32 hexadecimal digits: models with the same one paint the same pictures.",
)


STATE: Final = Field(
    "state",
    "string",
    (None,),
    "State of a run: opaque bytes, returned by a call with `return_state` 1 and sent with the next one, to the same "
    "model.",
    default="",
)
RETURN_STATE: Final = Field(
    "return_state",
    "int32",
    (None,),
    "1 returns the state of the run, to resume it, if all states of the call have at most 512 MiB; 0 leaves `state` "
    "empty and the reply small.",
    default=0,
)
RETURN_STATE_RULE: Final = "must be 0 or 1; got"
"""Rule for `return_state`."""
MAX_STATE_BYTES: Final = 2**29
"""Most bytes of the states of a call. A state has 96 bytes a pixel with L-BFGS, and 2.4 MB of style statistics, so a
square of 2359 pixels is the largest picture with one. A run of a larger picture continues from its picture alone, in
`start_bytes`."""
STATE_SIZE_RULE: Final = (
    f"must be 0 where the states of a call could take more than {MAX_STATE_BYTES} bytes: continue such a run from its "
    "picture, in start_bytes; got bytes:"
)
"""Rule for `return_state` of a print."""
MAX_REPLY_PIXELS: Final = 2**28
"""Most pixels of all pictures of a reply: 16-bit PNG files of so many have 1.6 GB, and a message at most 2 GiB."""
CONTRACT_VERSION_INPUT: Final = Field(
    "contract_version",
    "int32",
    (None,),
    "Version of the wire contract that the caller uses; the model refuses any other than its own.",
    default=CONTRACT_VERSION,
)
CONTRACT_VERSION_RULE: Final = (
    f"must be {CONTRACT_VERSION}, the contract of this model; install the client of the same version, or export the "
    "model with the version of the client; got"
)
"""Rule for the contract version of a request."""


def gram_name(layer: str) -> str:
    """Name of the output of `describe` with the Gram matrix of a style layer, `[batch, channels, channels]` float32.

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
            (STYLIZED_IMAGE, TUTORIAL_LOSSES),
            "The tutorial's style transfer by Adam, images in and out.",
        ),
        Signature(
            STYLIZE_LBFGS,
            (CONTENT_IMAGE, STYLE_IMAGE, *_control_fields(*LBFGS_CONTROLS)),
            (STYLIZED_IMAGE, TUTORIAL_LOSSES),
            "The tutorial's loss minimised by L-BFGS, images in and out.",
        ),
        Signature(
            PAINT,
            (*FILES, STATE, RETURN_STATE, CONTRACT_VERSION_INPUT, *_control_fields(*CONTROLS)),
            (IMAGE_BYTES, LOSSES, STATE),
            "Style transfer with every control, files in and out: a whole run, or some steps of a run that a state "
            "resumes. The pictures are sent with the first call, the state in place of them with all others.",
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
            "Statistics of a picture: layers, Gram matrices, high-frequency deltas and Sobel edges.",
        ),
        Signature(
            LIMITS, (EXAMPLE,), (*LIMIT_FIELDS, FINGERPRINT), "Limits of the model, in numbers, and its fingerprint."
        ),
    )
}
"""Every signature by its name."""
