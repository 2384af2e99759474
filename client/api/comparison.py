"""Comparison of a result with its content, to report a run that changed nothing visible."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from ..images.picture import Picture
from ..inputs.controls import Controls
from ..inputs.picture_set import PictureSet

UNCHANGED_LEVELS: Final = 2.0
"""Mean difference, in levels of 255, below which a result looks like its content. With ImageNet weights to block3 and
the tutorial's content weight a run ends at 1.0; a faint style is visible from about 5."""

_FEW_STEPS: Final = 10


def unchanged_notes(pictures: PictureSet[Picture], result: Image.Image, controls: Controls) -> tuple[str, ...]:
    """Note with the options to change, where a result of at least one step looks like its content.

    Args:
        pictures: Pictures of the run.
        result: RGB, of the size that was painted.
        controls: Controls of the run.
    """
    if controls.expected_steps == 0:
        return ()
    content = pictures.content.image.resize(result.size, Image.Resampling.BILINEAR)
    difference = np.abs(np.asarray(content, np.int16) - np.asarray(result, np.int16)).mean()
    if difference >= UNCHANGED_LEVELS:
        return ()
    advice = (
        "paint more steps (--steps)"
        if controls.expected_steps < _FEW_STEPS
        else "lower --content-weight, to a hundredth at first, or raise --style-weight as much"
    )
    return (f"the result looks like the content (mean difference {difference:.1f} of 255 levels); {advice}",)
