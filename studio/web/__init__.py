"""The web application: its guard, its pages, and its addresses for scripts. Nothing else knows HTTP."""

from __future__ import annotations

from .app import create_app
from .context import Studio, StudioOptions
from .security import Access

__all__ = ["Access", "Studio", "StudioOptions", "create_app"]
