"""Lists and pictures on a web server that sends whole files only, as many do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from styleserve.bulk.jobs import read_bulk_jobs
from styleserve.bulk.locations import read_picture
from styleserve.client import ImageError, JobListError
from styleserve.client.batch.job import JobDefaults

BLOCK_BYTES = 5 * 2**20
"""Bytes that fsspec asks a web server for at a time."""


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Address of the folder of the test."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["jobs.jsonl", "jobs.parquet"])
def test_a_list_of_more_than_a_block(site: str, tmp_path: Path, name: str) -> None:
    count = BLOCK_BYTES // 900
    rows = [{"content": "content.png", "style": "style.png", "output": f"{i:0900}"} for i in range(count)]
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path, compression="none", use_dictionary=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert path.stat().st_size > BLOCK_BYTES
    read = list(read_bulk_jobs(f"{site}/{name}", JobDefaults()))
    assert [job.name for job in read] == [row["output"] for row in rows]
    assert (read[-1].where, read[-1].pictures.content) == (f"{site}/{name}:{count}", f"{site}/content.png")


def test_a_picture_of_more_than_a_block_within_the_limit(site: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * (BLOCK_BYTES // 256 + 1)
    (tmp_path / "a.png").write_bytes(data)
    assert read_picture(f"{site}/a.png", max_bytes=len(data)) == data
    with pytest.raises(ImageError, match=f"has more than the {len(data) - 1:,} bytes allowed"):
        read_picture(f"{site}/a.png", max_bytes=len(data) - 1)


def test_what_is_not_there(site: str) -> None:
    with pytest.raises(JobListError, match=r"the list of jobs http://.*/jobs\.csv cannot be read"):
        list(read_bulk_jobs(f"{site}/jobs.csv", JobDefaults()))
    with pytest.raises(ImageError, match=r"there is no file http://.*/a\.png"):
        read_picture(f"{site}/a.png")
