"""From a model to a directory that a server can pick up: versioned, validated, with warm-up requests and a card.

Nothing here serves, and nothing is published that was not reloaded and run first.

TensorFlow is imported when a name is first used, not when this package is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exporter import ExportError, ExportSettings, export_model

__all__ = ["ExportError", "ExportSettings", "export_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the front door offers
    if name in __all__:
        from . import exporter  # noqa: PLC0415

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
