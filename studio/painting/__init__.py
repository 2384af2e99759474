"""Painting: the queue of runs, their calls through the client, and the files of their results. Knows no pages."""

from __future__ import annotations

from .downloads import recipe_text, tiff_file
from .events import Event, EventHub
from .painter import Painter
from .server import Backend, ServerStatus

__all__ = ["Backend", "Event", "EventHub", "Painter", "ServerStatus", "recipe_text", "tiff_file"]
