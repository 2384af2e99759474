"""State that the parts share in one run: exported models, the precision, and progress messages."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from styleserve import contract
from styleserve.contract import Limits

from .settings import Precision

if TYPE_CHECKING:
    from styleserve.export.precision import PrecisionChoice

TINY_STYLE_LAYERS: Final = ("block1_conv1", "block2_conv1")
TINY_CONTENT_LAYER: Final = "block2_conv2"


class Bench:
    """A run of benchmarks; a context manager that deletes the exported models at the end.

    Args:
        quiet: Whether to print no progress.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet: Final = quiet
        self._folder: Final = tempfile.TemporaryDirectory(prefix="styleserve-benchmarks-")
        self._models: Final[dict[tuple[int, bool], Path]] = {}
        self.export_s: Final[dict[Path, float]] = {}
        """Seconds of each export, by base path."""

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def folder(self, name: str) -> Path:
        """Folder for the files of a part, deleted at the end."""
        folder = Path(self._folder.name) / name
        folder.mkdir()
        return folder

    def say(self, line: str) -> None:
        """Prints a line of progress to stderr; stdout is for the tables."""
        if not self._quiet:
            print(f"  {line}", file=sys.stderr, flush=True)

    @cached_property
    def precision(self) -> PrecisionChoice:
        """The fastest precision on this machine, measured once, because a second measurement may differ."""
        from styleserve.export.precision import choose_precision  # noqa: PLC0415 - imports TensorFlow

        return choose_precision("auto")

    def precision_for(self, setting: Precision) -> PrecisionChoice:
        """The precision of a part with this setting, and the reason for it."""
        from styleserve.export.precision import choose_precision  # noqa: PLC0415 - imports TensorFlow

        return self.precision if setting == "auto" else choose_precision(setting)

    def model(self, max_side: int, *, tiny: bool = False) -> Path:
        """Base path of a model with random weights of seed 0, exported once, in `precision`.

        Args:
            max_side: Longest side of an image that the model accepts, in pixels.
            tiny: Whether the network ends at block2, for measurements that do not depend on it.
        """
        from styleserve.export import ExportSettings, export_model  # noqa: PLC0415 - imports TensorFlow

        key = (max_side, tiny)
        if key not in self._models:
            self.say(f"exporting a model of {max_side} px")
            output = Path(self._folder.name) / f"{max_side}-{'tiny' if tiny else 'whole'}"
            start = time.perf_counter()
            export_model(
                ExportSettings(
                    output=output,
                    weights="random",
                    precision=self.precision.precision,
                    style_layers=TINY_STYLE_LAYERS if tiny else contract.STYLE_LAYERS,
                    content_layer=TINY_CONTENT_LAYER if tiny else contract.CONTENT_LAYER,
                    limits=Limits(max_side=max_side),
                )
            )
            self.export_s[output] = time.perf_counter() - start
            self._models[key] = output
        return self._models[key]
