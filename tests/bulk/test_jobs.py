"""Lists of jobs in three formats, and the identities of jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from styleserve.bulk.jobs import BulkJob, output_name, read_bulk_jobs
from styleserve.client import Controls, JobDefaults, JobListError, PictureSet

ROWS: list[dict[str, Any]] = [
    {"content": "lake.jpg", "style": ["oil.png", "s3://styles/ink.png"], "blend": [2.0, 1.0], "output": "a/lake.jpg"},
    {"content": "https://pictures.example/sky.png", "style": ["oil.png"], "steps": 7, "output": "sky"},
]


def job(**changes: Any) -> BulkJob:
    pictures = PictureSet(content="/in/lake.jpg", styles=("/in/oil.png",))
    given = {"pictures": pictures, "name": None, "extension": ".png", "controls": Controls(steps=5), "dpi": None}
    return BulkJob(**{**given, "where": "jobs.csv:2", **changes})


def write(path: Path) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif path.suffix == ".csv":
        lines = ["content,style,blend,steps,output", "lake.jpg,oil.png; s3://styles/ink.png,2;1,,a/lake.jpg"]
        path.write_text("\n".join([*lines, "https://pictures.example/sky.png,oil.png,,7,sky"]) + "\n")
    else:
        # As pandas writes it: a missing whole number makes the column one of floats.
        schema = pa.schema(
            [
                ("content", pa.string()),
                ("style", pa.list_(pa.string())),
                ("blend", pa.list_(pa.float64())),
                ("steps", pa.float64()),
                ("output", pa.string()),
            ]
        )
        pq.write_table(pa.Table.from_pylist([{**ROWS[0], "steps": float("nan")}, ROWS[1]], schema=schema), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_each_format_gives_the_same_jobs(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"jobs{suffix}")
    first, second = read_bulk_jobs(str(path), JobDefaults(controls=Controls(steps=20), extension=".webp"))
    assert first.pictures.content == str(tmp_path / "lake.jpg")
    assert first.pictures.styles == (str(tmp_path / "oil.png"), "s3://styles/ink.png")
    assert first.controls == Controls(steps=20, style_blend=(2.0, 1.0))
    assert (first.name, first.extension) == ("a/lake.jpg", ".jpg")
    assert second.pictures.content == "https://pictures.example/sky.png"
    assert second.controls == Controls(steps=7)
    assert (second.name, second.extension) == ("sky", ".webp")


def test_a_job_comes_back_from_its_text() -> None:
    pictures = PictureSet(
        content="a.png", styles=("b.png", "c.png"), content_regions=(None, "m.png"), reference="r.png"
    )
    whole = job(pictures=pictures, name="x.png", dpi=300, controls=Controls(style_blend=(1.0, 2.0), colors="matched"))
    assert BulkJob.from_text(whole.to_text()) == whole


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("jobs.csv", b"content,stile\na,b\n", r"jobs.csv:1: there is no column 'stile'"),
        ("jobs.csv", b"content\na\n", r"jobs.csv:1: the column 'style' is missing"),
        (
            "jobs.csv",
            b"content,style,steps\na,b,5\na,b,x\n,b,5\n",
            r"jobs.csv:3: steps is 'x'(?s:.*)jobs.csv:4: content",
        ),
        ("jobs.csv", b"content,style,output\na,b,c.doc\n", r"jobs.csv:2: output has the extension '.doc'"),
        ("jobs.csv", b"content,style\n", "there is no job in"),
        ("jobs.csv", b"content,style\n\xff\xfe,b\n", "is not in UTF-8"),
        ("jobs.jsonl", b'{"content": "a", "style": "b"}\n{"content": 1, "style": "b"}\n', "jobs.jsonl:2: content is 1"),
        ("jobs.txt", b"", "is no list of jobs by its name"),
        ("jobs.parquet", b"PAR1 cut short", "jobs.parquet cannot be read"),
    ],
)
def test_wrong_lists(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(JobListError, match=message):
        list(read_bulk_jobs(str(path)))


def test_a_parquet_list_without_a_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["a"], "controls": ["b"]}), tmp_path / "jobs.parquet")
    with pytest.raises(JobListError, match=r"jobs\.parquet: there is no column 'controls'"):
        list(read_bulk_jobs(str(tmp_path / "jobs.parquet")))


def test_there_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(JobListError, match=r"jobs\.csv cannot be read: No such file or directory"):
        list(read_bulk_jobs(str(tmp_path / "jobs.csv")))


def test_the_id_is_of_contents_controls_and_model() -> None:
    digests = PictureSet(content="1" * 64, styles=("2" * 64,))
    first = job().id(digests, "model")
    elsewhere = job(pictures=PictureSet(content="s3://b/x.jpg", styles=("y.png",)), name="other", where="jobs.csv:9")
    assert elsewhere.id(digests, "model") == first
    others = [
        job().id(digests, "another model"),
        job().id(PictureSet(content="3" * 64, styles=("2" * 64,)), "model"),
        job().id(PictureSet(content="1" * 64, styles=("2" * 64,), content_regions=("2" * 64,)), "model"),
        job(controls=Controls(steps=6)).id(digests, "model"),
        job(extension=".jpg").id(digests, "model"),
        job(dpi=300).id(digests, "model"),
    ]
    assert len({first, *others}) == 7
    assert output_name(first, ".png") == f"pictures/{first[:2]}/{first}.png"


def test_the_key_of_a_row_changes_with_a_local_file(tmp_path: Path) -> None:
    content, style = tmp_path / "a.png", tmp_path / "b.png"
    content.write_bytes(b"first")
    style.write_bytes(b"style")
    pictures = PictureSet(content=str(content), styles=(str(style),))
    before = job(pictures=pictures).key("model")
    assert job(pictures=pictures).key("model") == before
    content.write_bytes(b"another")
    after = job(pictures=pictures).key("model")
    assert len({before, after, job(pictures=pictures).key("other"), job(pictures=pictures, name="x").key("model")}) == 4
