"""`make soak`: python -m tests.soak --seconds 1800."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .run import export_sources, soak


def main() -> None:
    """Reads the options and soaks."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="of load (default: %(default)s)")
    parser.add_argument("--swap-every", type=float, help="seconds between two versions (default: 60, or a ninth)")
    parser.add_argument("--workers", type=int, default=3, help="calls at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is called when (default: %(default)s)")
    options = parser.parse_args()
    swap_every_s = min(60.0, options.seconds / 9) if options.swap_every is None else options.swap_every
    with tempfile.TemporaryDirectory(prefix="styleserve-soak-") as folder:
        seen = soak(
            export_sources(Path(folder)),
            Path(folder),
            seconds=options.seconds,
            swap_every_s=swap_every_s,
            workers=options.workers,
            seed=options.seed,
        )
    print(seen)


if __name__ == "__main__":
    main()
