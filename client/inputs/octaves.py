"""Octaves: the sizes of a coarse-to-fine run, each twice the one before.

A picture is painted small, enlarged and refined. The small sizes give large strokes at a fraction of the cost of the
full size. docs/look.md shows the results by which the numbers here were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from styleserve import contract

from ..errors import ControlError
from .controls import Unset

FIRST_AUTOMATIC_PX: Final = 256
"""Smallest `max_side` of a run that gets several octaves by default."""
MOST_AUTOMATIC: Final = 3
"""Most octaves of a run by default."""
FIRST_SHARE: Final = 0.6
"""Evaluations of the first octave, as a share of `steps`."""
MIDDLE_SHARE: Final = 0.4
"""Evaluations of each octave between the first and the last, as a share of `steps`."""
LAST_SHARE: Final = 0.25
"""Evaluations of the last octave, as a share of `steps`."""

_SMALLEST_PX: Final = int(contract.MAX_SIDE.minimum)


class Octave(NamedTuple):
    """One size of a run."""

    max_side: int
    steps: int


def plan(max_side: int, steps: int, octaves: int | Unset, smallest_octave: int) -> tuple[Octave, ...]:
    """Octaves of a run, smallest first.

    >>> plan(512, 100, Unset.UNSET, smallest_octave=128)
    (Octave(max_side=128, steps=60), Octave(max_side=256, steps=40), Octave(max_side=512, steps=25))
    >>> plan(512, 100, 1, smallest_octave=128), plan(512, 100, Unset.UNSET, smallest_octave=0)
    ((Octave(max_side=512, steps=100),), (Octave(max_side=512, steps=100),))

    Args:
        max_side: Longest side of the result, in pixels.
        steps: Evaluations of a run of one size; each of several octaves has a share of them. 0 steps make one octave.
        octaves: Number of octaves; if unset, that of `automatic_octaves`.
        smallest_octave: Smallest `max_side` of the first octave of a run without a number; 0 allows one octave only.

    Raises:
        ControlError: The first octave would be smaller than a model allows.
    """
    number = automatic_octaves(max_side, smallest_octave) if isinstance(octaves, Unset) else octaves
    if steps == 0 or number == 1:
        return (Octave(max_side, steps),)
    most = (max_side // _SMALLEST_PX).bit_length()
    if number > most:
        raise ControlError(
            f"octaves is {number}, but {max_side} pixels can be halved {most - 1} times: a picture has at least "
            f"{_SMALLEST_PX}",
            hint=f"Ask for {most} or fewer octaves, or for a larger picture (--max-side).",
        )
    shares = [FIRST_SHARE, *[MIDDLE_SHARE] * (number - 2), LAST_SHARE]
    return tuple(
        Octave(round(max_side / 2 ** (number - 1 - index)), max(1, round(steps * share)))
        for index, share in enumerate(shares)
    )


def automatic_octaves(max_side: int, smallest_octave: int) -> int:
    """Number of octaves of a run by default: the most that keep `smallest_octave`, within bounds.

    >>> [automatic_octaves(side, smallest_octave=128) for side in (128, 255, 256, 1000, 1024, 4096)]
    [1, 1, 2, 3, 3, 3]
    """
    if smallest_octave == 0 or max_side < FIRST_AUTOMATIC_PX:
        return 1
    return min(MOST_AUTOMATIC, max(1, (max_side // smallest_octave).bit_length()))


def may_be_several(max_side: int, steps: int, octaves: int | Unset) -> bool:
    """Whether the number of octaves depends on the model."""
    return isinstance(octaves, Unset) and steps > 0 and max_side >= FIRST_AUTOMATIC_PX


def octave_of(octaves: Sequence[Octave], steps_done: int) -> int:
    """Index of the octave in which a run continues after so many steps.

    >>> sizes = plan(256, 10, 2, smallest_octave=128)
    >>> [(octave.max_side, octave.steps) for octave in sizes], [octave_of(sizes, done) for done in (0, 5, 6, 8)]
    ([(128, 6), (256, 2)], [0, 0, 1, 1])
    """
    end = 0
    for index, octave in enumerate(octaves[:-1]):
        end += octave.steps
        if steps_done < end:
            return index
    return len(octaves) - 1


def work_done(octaves: Sequence[Octave], steps_done: int) -> float:
    """Share of the work, pixels times evaluations, that a run has done after so many steps.

    >>> [work_done((Octave(128, 4), Octave(256, 4)), steps) for steps in (0, 4, 8)]
    [0.0, 0.2, 1.0]
    """
    total = done = 0
    for max_side, steps in octaves:
        total += max_side**2 * steps
        done += max_side**2 * min(steps, max(steps_done, 0))
        steps_done -= steps
    return done / total if total else 1.0
