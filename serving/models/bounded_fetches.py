"""Sets of outputs that a session fetches, bounded because the session keeps a graph for each set.

A session keeps a graph for each set of tensors that it fetched together, 1.8 MB for a small model, until it is closed.
A client may ask for any of the 511 sets of nine outputs of `describe`. So the first few sets are fetched as requested,
without the other outputs; for any further set all outputs are fetched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

MAX_SETS: Final = 4
"""Most sets of each signature: all outputs, and three others. The client asks `paint` for three."""


class BoundedFetches:
    """Sets of tensors that are fetched. Thread-safe.

    Args:
        outputs: Tensor names of all outputs of each signature.
    """

    def __init__(self, outputs: Mapping[str, Iterable[str]]) -> None:
        self._lock = threading.Lock()
        self._all = {signature: tuple(sorted(set(names))) for signature, names in outputs.items()}
        self._known = {signature: {names} for signature, names in self._all.items()}

    def to_fetch(self, signature: str, requested: Iterable[str]) -> tuple[str, ...]:
        """Tensor names to fetch, each once, for the requested ones of a signature."""
        names = tuple(sorted(set(requested)))
        known = self._known[signature]
        with self._lock:
            if names not in known and len(known) >= MAX_SETS:
                return self._all[signature]
            known.add(names)
        return names
