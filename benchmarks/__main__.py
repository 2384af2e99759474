"""The command line: `python -m benchmarks [PART] [--full] [--json FILE] [options of the part]`.

Without PART, all parts run one after another, and the figures are also written to `benchmarks/results/<date>.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, cast, get_args, get_type_hints

from styleserve.memory import keep_freed_memory
from styleserve.tensorflow_log import quieten_tensorflow

# Before TensorFlow is imported, here or in processes that inherit the environment. No process takes all of a GPU's
# memory, because a server and the loop in process are measured side by side.
quieten_tensorflow()
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

from .bench import Bench
from .machine import machine_facts
from .results import Table, write_json
from .settings import FULL, SHORT, Precision, Settings

RESULTS: Final = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints tables and writes the figures; returns the exit code, 1 if a part failed."""
    options = vars(_parser().parse_args(arguments))
    started = datetime.now(timezone.utc)
    part, full = options.pop("part", None), options.pop("full", False)
    json_path: Path | None = options.pop("json", None if part else RESULTS / f"{started:%Y-%m-%d-%H%M%S}.json")
    parts = {name: settings for name, settings in (FULL if full else SHORT).items() if part in (None, name)}
    parts = {name: dataclasses.replace(settings, **options) for name, settings in parts.items()}
    facts = machine_facts()
    print(_facts_text(facts))
    document: dict[str, Any] = {"date": started.isoformat(timespec="seconds"), "machine": facts, "parts": {}}
    failed = False
    with Bench() as bench:
        for name, settings in parts.items():
            outcome = run_part(name, settings, bench)
            document["parts"][name] = outcome
            failed = failed or "error" in outcome
            if json_path is not None:  # after each part, so that an interrupted run keeps its figures
                write_json(json_path, document)
    if json_path is not None:
        print(f"\nwritten to {json_path}")
    return int(failed)


def run_part(name: str, settings: Settings, bench: Bench) -> dict[str, Any]:
    """Measures one part, prints its tables and returns them, or the error of the part."""
    start = time.perf_counter()
    outcome: dict[str, Any] = {"settings": settings}
    try:
        measure = cast(
            "Callable[[Settings, Bench], list[Table]]", importlib.import_module(f"benchmarks.{name}").measure
        )
        outcome["tables"] = measure(settings, bench)
        for table in outcome["tables"]:
            print(f"\n{table.text()}", flush=True)
    except Exception as error:  # the other parts still run
        outcome["error"] = f"{type(error).__name__}: {error}"
        print(f"\n{name} failed: {outcome['error']}", flush=True)
        traceback.print_exc()
    outcome["seconds"] = round(time.perf_counter() - start, 1)
    print(f"  [{name}: {outcome['seconds']:.0f} s]", file=sys.stderr, flush=True)
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_common(parser)
    parts = parser.add_subparsers(dest="part", metavar="PART", help="measure this part alone:")
    for name, settings in SHORT.items():
        summary = (type(settings).__doc__ or "").partition("\n")[0]
        own = parts.add_parser(name, help=summary, description=summary, argument_default=argparse.SUPPRESS)
        _add_common(own)
        types = get_type_hints(type(settings))
        for field in dataclasses.fields(settings):
            option, default = f"--{field.name.replace('_', '-')}", getattr(settings, field.name)
            text = f"{field.metadata['help']} (default: {_shown(default)})"
            if types[field.name] is bool:
                own.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
            elif types[field.name] == Precision:
                own.add_argument(option, choices=get_args(Precision), help=text)
            else:
                own.add_argument(option, type=_reader(types[field.name]), metavar=field.name.upper(), help=text)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    # Suppressed, because the default of a part would overwrite an option before the part.
    parser.add_argument("--full", action="store_true", default=argparse.SUPPRESS, help="the long form")
    parser.add_argument(
        "--json", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="file to write the figures to"
    )


def _reader(kind: object) -> Callable[[str], object]:
    """Function from the text of an option to a value of its field."""
    readers: dict[object, Callable[[str], object]] = {
        int: int,
        float: float,
        str: str,
        Path: Path,
        Path | None: Path,
        tuple[int, ...]: lambda text: tuple(int(item) for item in text.split(",")),
        tuple[str, ...]: lambda text: tuple(item.strip() for item in text.split(",")),
    }
    return readers[kind]


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(str(item) for item in cast("tuple[object, ...]", default))
    return "none" if default is None else str(default)


def _facts_text(facts: dict[str, Any]) -> str:
    flags = ", ".join(flag if present else f"no {flag}" for flag, present in facts["cpu_flags"].items())
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    return (
        f"{facts['cpu']} ({flags}), {facts['processors']} processors, {facts['memory_gib']} GiB, "
        f"GPUs: {', '.join(facts['gpus']) or 'none'}, load {facts['load_average_1_min']}\n{versions}"
    )


if __name__ == "__main__":
    keep_freed_memory()  # as `styleserve serve` does
    sys.exit(main())
