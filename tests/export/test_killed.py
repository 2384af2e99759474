"""kill -9 of an export at any moment: no version, or a whole one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = 8

# Importing TensorFlow takes longer than such an export, so it is imported once. Most signatures are left out, and so is
# the check, which only reads: the same files are written without, and of little else there is to interrupt.
_EXPORTS = """
import os, sys
from pathlib import Path
from styleserve.export import exporter
from tests.export.test_export import tiny

class Small(exporter.StyleTransfer):
    def __init__(self, weights, settings):
        super().__init__(weights, settings)
        self.functions = {name: self.functions[name] for name in ("describe", "limits")}

exporter.StyleTransfer, exporter.validate = Small, lambda *_: None
for line in sys.stdin:
    exporting = os.fork()
    if not exporting:
        exporter.export_model(tiny(Path(line.strip())))
        os._exit(0)
    print(exporting, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(exporting, 0)[1]), flush=True)
"""


def _files(version: Path) -> set[str]:
    """Files of a whole version can be read without loading it."""
    assert SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
    assert json.loads((version / "assets.extra" / "model_card.json").read_text())
    return {str(path.relative_to(version)) for path in version.rglob("*") if path.is_file() and path.stat().st_size}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.timeout(1800)
def test_killed_at_any_moment_leaves_whole_versions_alone(tmp_path: Path) -> None:
    output, chance = tmp_path / "model", random.Random(11)  # noqa: S311 - a seed that fails can be run again
    command = [sys.executable, "-c", _EXPORTS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = process.stdout

        def export(kill_after_s: float | None = None) -> int:
            print(output, file=process.stdin, flush=True)
            exporting = int(answers.readline())
            if kill_after_s is not None:
                time.sleep(kill_after_s)
                with suppress(ProcessLookupError):  # it was quicker
                    os.kill(exporting, signal.SIGKILL)
            return int(answers.readline())

        assert export() == 0
        began = time.monotonic()
        assert export() == 0
        took_s = time.monotonic() - began
        first, second = output.iterdir()
        whole, codes = _files(first), [0, 0]
        assert _files(second) == whole
        for number in range(KILLS):
            # Half of them while files are written and published, which is the end of it.
            codes.append(export(took_s * chance.uniform(0.7 * (number % 2), 1.1)))
            versions = [path for path in output.iterdir() if path.name.isdecimal()]
            for version in versions:
                assert _files(version) == whole
            # A version may be there although its export did not live to say so.
            assert codes.count(0) <= len(versions) <= len(codes)
        codes.append(export())
        process.stdin.close()
    assert set(codes) == {0, -signal.SIGKILL}
    assert codes[-1] == 0
    newest = max((path for path in output.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    assert _files(newest) == whole
