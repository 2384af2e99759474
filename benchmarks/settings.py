"""Settings of the parts: a frozen dataclass for each, whose fields are the options of its command.

All defaults together take five to ten minutes on two processors; `FULL` is the long form. Free of TensorFlow, so that
`--help` is fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from styleserve import contract

Precision = Literal["auto", "float32", "bfloat16"]

DEMO: Final = Path(__file__).resolve().parents[1] / "demo"


_PRECISIONS: Final = "float32, bfloat16, or auto for the fastest on this machine"


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True)
class StepSettings:
    """Seconds a step: the tutorial, ours, PyTorch and the convolutions alone, in turn."""

    sides: tuple[int, ...] = field(default=(512,), metadata=_help("sides of the square images, in pixels"))
    steps: int = field(default=1, metadata=_help("steps of a round"))
    rounds: int = field(default=3, metadata=_help("rounds; the median is taken"))
    precision: Precision = field(
        default="auto", metadata=_help("float32, bfloat16 beside it, or auto for the fastest on this machine")
    )
    style_layers: tuple[str, ...] = field(default=contract.STYLE_LAYERS, metadata=_help("layers, with commas between"))
    content_layer: str = field(default=contract.CONTENT_LAYER, metadata=_help("layer of the content loss"))


@dataclass(frozen=True)
class QualitySettings:
    """Seconds until the loss of the tutorial's last step is reached."""

    sides: tuple[int, ...] = field(default=(64,), metadata=_help("longest sides of the images, in pixels"))
    steps: int = field(default=1000, metadata=_help("steps of the tutorial"))
    most_steps: int = field(default=1000, metadata=_help("most steps of ours"))
    repeats: int = field(default=1, metadata=_help("timed calls of ours; the median is taken"))
    precision: Precision = field(
        default="auto", metadata=_help("precision of ours: float32, bfloat16, or auto for the fastest on this machine")
    )
    adam: bool = field(default=False, metadata=_help("also measure our Adam, for as many steps as the tutorial"))
    content: Path = field(default=DEMO / "content.jpg", metadata=_help("picture to paint"))
    style: Path = field(default=DEMO / "style.jpg", metadata=_help("painting to follow"))
    weights: Path | None = field(default=None, metadata=_help("file of VGG-19's weights; by default random ones"))
    style_layers: tuple[str, ...] = field(default=contract.STYLE_LAYERS, metadata=_help("layers, with commas between"))
    content_layer: str = field(default=contract.CONTENT_LAYER, metadata=_help("layer of the content loss"))
    content_weight: float = field(
        default=float(contract.CONTENT_WEIGHT.tutorial), metadata=_help("factor of the content loss, for both")
    )
    picture: Path | None = field(default=None, metadata=_help("PNG file for the curves of the last side"))
    images: Path | None = field(default=None, metadata=_help("folder for the resulting images"))


@dataclass(frozen=True)
class ServingSettings:
    """A served call against the loop in process; eight concurrent calls against one; status calls under load."""

    side: int = field(default=128, metadata=_help("longest side of the images, in pixels"))
    steps: int = field(default=10, metadata=_help("steps, or network evaluations, of a call"))
    rounds: int = field(default=2, metadata=_help("calls of each kind; the median is taken"))
    concurrent: int = field(default=8, metadata=_help("concurrent requests"))


@dataclass(frozen=True)
class LinkSettings:
    """A run with progress against one call, on loopback and over a slow link."""

    sides: tuple[int, ...] = field(default=(128,), metadata=_help("longest sides of the images, in pixels"))
    steps: int = field(default=20, metadata=_help("network evaluations of a run"))
    rounds: int = field(default=1, metadata=_help("runs of each kind; the median is taken"))
    mbit_s: float = field(default=20.0, metadata=_help("throughput of the slow link each way, in Mbit/s"))
    delay_ms: float = field(default=40.0, metadata=_help("delay of the slow link each way, in milliseconds"))


@dataclass(frozen=True)
class ScaleSettings:
    """Seconds a step and peak memory by size of the image and of the batch, each in a process of its own."""

    sides: tuple[int, ...] = field(default=(256, 512), metadata=_help("sides of the square images, in pixels"))
    batches: tuple[int, ...] = field(default=(1, 8), metadata=_help("sizes of the batch"))
    batch_side: int = field(default=128, metadata=_help("side of the images of a batch, in pixels"))
    steps: int = field(default=1, metadata=_help("steps of a round"))
    rounds: int = field(default=1, metadata=_help("rounds; the median is taken"))
    signature: str = field(default=contract.STYLIZE_LBFGS, metadata=_help("signature to call"))
    give_back: bool = field(
        default=False,
        metadata=_help("return freed memory to the system at once, as TensorFlow Serving does and our server does not"),
    )
    precision: Precision = field(default="auto", metadata=_help(_PRECISIONS))


@dataclass(frozen=True)
class StylesSettings:
    """Seconds a step and memory of several styles and regions, compared with one style."""

    side: int = field(default=256, metadata=_help("side of the square pictures, in pixels"))
    styles: tuple[int, ...] = field(default=(1, 2, 4), metadata=_help("numbers of styles"))
    regions: int = field(default=3, metadata=_help("number of styles with a region each"))
    steps: int = field(default=2, metadata=_help("steps of a round"))
    rounds: int = field(default=3, metadata=_help("rounds; the median is taken"))
    precision: Precision = field(default="auto", metadata=_help(_PRECISIONS))


@dataclass(frozen=True)
class PrintsSettings:
    """Cost of tiles beside the whole image, and of a pixel by size of the picture."""

    side: int = field(default=768, metadata=_help("side of the square picture in tiles and as a whole, in pixels"))
    tiles: tuple[int, ...] = field(
        default=(640,), metadata=_help("sides of the tiles with their margins, in pixels; the last one is for --sides")
    )
    sides: tuple[int, ...] = field(default=(768, 1024), metadata=_help("sides of the square pictures, in pixels"))
    weights: str = field(default="random", metadata=_help("random, or a file with the weights of VGG-19"))
    precision: Precision = field(default="auto", metadata=_help(_PRECISIONS))


@dataclass(frozen=True)
class SoakSettings:
    """Memory of a server over many requests to a small model."""

    requests: int = field(default=50, metadata=_help("requests, one after another"))
    side: int = field(default=64, metadata=_help("longest side of the images, in pixels"))
    steps: int = field(default=3, metadata=_help("steps of a request"))


@dataclass(frozen=True)
class MixedSettings:
    """Memory of a server over many requests with pictures of random sizes."""

    requests: int = field(default=100, metadata=_help("requests in all"))
    concurrent: int = field(default=4, metadata=_help("concurrent requests"))
    side: int = field(default=128, metadata=_help("longest side of the images, in pixels"))
    steps: int = field(default=1, metadata=_help("steps of a request"))


@dataclass(frozen=True)
class BulkBenchSettings:
    """Jobs a second and memory of a bulk run, and its time against `batch`."""

    jobs: int = field(default=2000, metadata=_help("jobs for an engine that takes no time"))
    pictures: int = field(default=10, metadata=_help("pictures to paint"))
    side: int = field(default=64, metadata=_help("longest side of the pictures, in pixels"))
    steps: int = field(default=20, metadata=_help("steps of each"))
    rounds: int = field(default=1, metadata=_help("runs of batch and of bulk, in turn"))


@dataclass(frozen=True)
class StartupSettings:
    """Wall time of commands, of imports, of a server's start and of its first request."""

    repeats: int = field(default=5, metadata=_help("runs of each command; the median is taken"))
    side: int = field(default=512, metadata=_help("longest side that the model accepts, in pixels"))
    steps: int = field(default=1, metadata=_help("steps of the first and second request"))


Settings = (
    StepSettings
    | QualitySettings
    | ServingSettings
    | LinkSettings
    | ScaleSettings
    | StylesSettings
    | PrintsSettings
    | SoakSettings
    | MixedSettings
    | BulkBenchSettings
    | StartupSettings
)

SHORT: Final[dict[str, Settings]] = {
    "step": StepSettings(),
    "quality": QualitySettings(),
    "serving": ServingSettings(),
    "link": LinkSettings(),
    "scale": ScaleSettings(),
    "styles": StylesSettings(),
    "prints": PrintsSettings(),
    "soak": SoakSettings(),
    "mixed": MixedSettings(),
    "bulk": BulkBenchSettings(),
    "startup": StartupSettings(),
}
"""Short settings of every part, by name: five to ten minutes together."""

FULL: Final[dict[str, Settings]] = {
    "step": StepSettings(sides=(256, 512), steps=5, rounds=5),
    "quality": QualitySettings(sides=(256, 512), repeats=3, adam=True),
    "serving": ServingSettings(side=512, steps=100, rounds=3),
    "link": LinkSettings(sides=(256, 512), steps=40, rounds=3),
    "scale": ScaleSettings(sides=(256, 512, 1024, 2048), batches=(1, 2, 4, 8), batch_side=256, steps=2, rounds=3),
    "styles": StylesSettings(side=512, steps=4, rounds=5),
    "prints": PrintsSettings(side=2048, tiles=(1024, 1280, 1536), sides=(2048, 4096)),
    "soak": SoakSettings(requests=500),
    "mixed": MixedSettings(requests=2000),
    "bulk": BulkBenchSettings(jobs=20_000, pictures=50, side=128, steps=100),
    "startup": StartupSettings(repeats=15, steps=2),
}
"""Long settings of every part, by name: hours on two processors, most of them in `quality`."""
