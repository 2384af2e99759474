"""From a model to a directory that a server can pick up: versioned, validated, with warm-up requests and a card.

Nothing here serves, and nothing is published that was not reloaded and run first.
"""

from .exporter import ExportError, ExportSettings, export_model

__all__ = ["ExportError", "ExportSettings", "export_model"]
