"""The memory that a server may use, and calls that share it."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from styleserve.client import Controls, StyleClient, TooLarge
from styleserve.serving import EmbeddedServer, ServerSettings
from styleserve.serving.memory_limit import memory_limit

DEMO = Path(__file__).parents[2] / "demo"
MACHINE = memory_limit(Path("/nowhere"), Path("/nowhere"))


def tree(folder: Path, group: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Mount points of procfs and of the cgroups, with these files."""
    for name, text in {"proc/self/cgroup": group, **{f"cgroup/{name}": text for name, text in files.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    return folder / "proc", folder / "cgroup"


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        ("0::/", {"memory.max": "1000000"}, 1_000_000),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "2000000"}, 2_000_000),
        ("0::/a/b", {"a/b/memory.max": "3000000", "a/memory.max": "2000000"}, 2_000_000),
        ("0::/a", {"a/memory.max": "max"}, MACHINE),
        ("0::/gone", {}, MACHINE),
        ("5:cpu,memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "4000000"}, 4_000_000),
        ("5:memory:/a", {"memory/a/memory.limit_in_bytes": str(2**63 - 4096)}, MACHINE),
    ],
)
def test_limits_of_cgroups(tmp_path: Path, group: str, files: dict[str, str], limit: int) -> None:
    assert memory_limit(*tree(tmp_path, group, files)) == limit


def test_the_limit_of_the_shell_counts() -> None:
    code = "from styleserve.serving.memory_limit import memory_limit; print(memory_limit())"
    command = ["bash", "-c", 'ulimit -v 1500000; exec "$0" -c "$1"', sys.executable, code]
    assert int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) <= 1500000 * 1024


def test_calls_share_the_memory_of_a_server(tiny_model_base: Path) -> None:
    """A picture of 64 x 48 pixels counts 9.8 MB; all calls together have half of the memory."""
    content, style = DEMO / "content.jpg", DEMO / "style.jpg"
    controls = Controls(steps=8, max_side=64, octaves=1)
    settings = ServerSettings(port=0, max_calls=8, max_memory=40_000_000)
    with EmbeddedServer(tiny_model_base, settings=settings) as server, StyleClient(server.address) as client:
        alone = client.stylize(content, style, controls)
        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(lambda _: client.stylize(content, style, controls), range(4)))
        assert [each.image_bytes for each in together] == [alone.image_bytes] * 4
    settings = ServerSettings(port=0, max_memory=18_000_000)
    with EmbeddedServer(tiny_model_base, settings=settings) as server, StyleClient(server.address) as client:
        assert client.stylize(content, style, Controls(steps=1, max_side=32, octaves=1)).image.size == (32, 24)
        with pytest.raises(TooLarge, match=re.escape("this server has 0.00838 GiB for its calls")):
            client.stylize(content, style, controls)


def test_memory_has_a_unit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "styleserve", "serve", "--model-base-path", str(tmp_path), "--max-memory", "14"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "got '14'; give a number over 0" in done.stderr
