"""`make fuzz`: python -m tests.fuzz --cases 10000 --seed 7."""

from __future__ import annotations

import argparse
import secrets
import tempfile
from pathlib import Path

from .attack import export_target, run_attack


def main() -> None:
    """Reads the options and attacks."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="fewest requests to send (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the choice; printed, so that a run can be repeated")
    options = parser.parse_args()
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    again = f"--cases {options.cases} --seed {seed}"
    print(f"{options.cases} cases or more, seed {seed}: again with {again}", flush=True)
    with tempfile.TemporaryDirectory(prefix="styleserve-fuzz-") as folder:
        base_path = Path(folder) / "model"
        export_target(base_path)
        print(run_attack(base_path, Path(folder), count=options.cases, seed=seed))


if __name__ == "__main__":
    main()
