"""Export of a model: a version directory with SavedModel, warm-up requests and model card, checked before publishing.

The first use of a name imports TensorFlow; the import of this package does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exporter import ExportError, ExportSettings, export_model

__all__ = ["ExportError", "ExportSettings", "export_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name in __all__:
        from . import exporter  # noqa: PLC0415

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
