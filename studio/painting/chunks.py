"""Chunks of a run: a short first one, then those that the client sizes.

A client sizes chunks by what it has measured. Without the first chunk it would measure a call without steps, from which
a busy machine can look like a slow link: the first picture then came after half a minute.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from styleserve.client import AsyncStyleClient, Controls, Progress, SavedRun

CHUNK_S: Final = 1.0
"""Shortest time between two previews."""
_FIRST_STEPS: Final = 4
_LARGEST_PX: Final = 2048
"""Longest side of a result whose run has a short first chunk; that of a larger one may be without a state to resume."""


async def chunks_of_run(
    client: AsyncStyleClient,
    content: bytes,
    styles: list[bytes],
    regions: Sequence[bytes | None],
    controls: Controls,
    saved: SavedRun | None,
) -> AsyncGenerator[Progress]:
    """Progress of a run after each of its chunks, each with its picture.

    Args:
        client: Client of the server.
        content: File of the picture to paint.
        styles: Files of the styles.
        regions: Files of the masks, None for everywhere; empty for no masks.
        controls: Controls of a new run.
        saved: Run to resume; None for a new one.

    Raises:
        StyleServeError: The run failed; it can be resumed.
    """
    masks = list(regions) or None
    is_short = saved is None and controls.expected_max_side <= _LARGEST_PX
    if is_short:
        first = client.stylize_iter(
            content, styles, controls, content_regions=masks, images=True, chunk_steps=_FIRST_STEPS
        )
        async with contextlib.aclosing(first):
            progress = await anext(first)
        yield progress
        if progress.result is not None:
            return
        saved = progress.saved
    rest = client.stylize_iter(
        content,
        styles,
        None if saved is not None else controls,
        content_regions=masks,
        images=True,
        chunk_s=CHUNK_S,
        resume_from=saved,
    )
    async with contextlib.aclosing(rest):
        async for progress in rest:
            yield progress
