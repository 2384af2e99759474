"""Sets of outputs that a session fetches: a few, so that what it keeps for them is bounded.

A session keeps a graph of its own for each set of tensors that was ever fetched together, and a key for each order,
until it is closed: 1.8 MB of a small model. A client may ask for any of the 511 sets of nine outputs of `describe`. So
the first few sets are fetched as requested, which saves the other outputs; for any further one all outputs are fetched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

MOST_SETS: Final = 4
"""For each signature: one of all outputs, and three others. The client asks `paint` for three, all outputs included."""


class OutputSets:
    """The sets of tensors that are fetched. All methods may be called from any thread.

    Args:
        outputs: tensor names of all outputs of each signature.
    """

    def __init__(self, outputs: Mapping[str, Iterable[str]]) -> None:
        self._lock = threading.Lock()
        self._all = {signature: tuple(sorted(set(names))) for signature, names in outputs.items()}
        self._known = {signature: {names} for signature, names in self._all.items()}

    def to_fetch(self, signature: str, wanted: Iterable[str]) -> tuple[str, ...]:
        """Names that are fetched, each once, for those that are wanted of a signature."""
        names = tuple(sorted(set(wanted)))
        known = self._known[signature]
        with self._lock:
            if names not in known and len(known) >= MOST_SETS:
                return self._all[signature]
            known.add(names)
        return names
