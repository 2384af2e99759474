"""Folders and lists of jobs: what is read, and what is refused before anything is painted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from styleserve import contract
from styleserve.client import (
    ControlError,
    Controls,
    Job,
    JobDefaults,
    JobListError,
    OutputError,
    PictureSet,
    folder_jobs,
    read_jobs,
)
from styleserve.client.batch.job_rows import COLUMNS


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join([*lines, ""]))
    return path


def pictures(content: Path | str, *styles: Path | str) -> PictureSet[Path]:
    return PictureSet(content=Path(content), styles=tuple(map(Path, styles)))


def problems(path: Path) -> list[str]:
    with pytest.raises(JobListError) as caught:
        read_jobs(path)
    return caught.value.message.replace(f"{path}:", "").splitlines()


def test_every_column_of_csv_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "jobs.csv",
        "content,style,output,optimizer,steps,content_weight,style_weight,tv_weight,learning_rate,max_side",
        "a.jpg, in/s.png ,x/a.webp,adam,5,1e3,2,3,0.5,64",
        "",
        '"b,c.jpg",s.png,,,,,,,,',
    )
    first, second = read_jobs(path)
    assert first.pictures == pictures(tmp_path / "a.jpg", tmp_path / "in/s.png")
    assert (first.output, first.where) == ("x/a.webp", f"{path}:2")
    assert first.controls == Controls(
        optimizer="adam",
        steps=5,
        content_weight=1e3,
        style_weight=2.0,
        total_variation_weight=3.0,
        learning_rate=0.5,
        max_side=64,
    )
    assert second == Job(pictures=pictures(tmp_path / "b,c.jpg", tmp_path / "s.png"), output="b,c--s.png")
    assert second.where == f"{path}:4"


def test_several_pictures_and_numbers(tmp_path: Path) -> None:
    """As lists of JSON, and in cells of CSV; an empty mask is one that is white everywhere."""
    row = {
        "content": "a.jpg",
        "style": ["s.png", "t.png"],
        "region": ["m.png", None],
        "style_region": "n.png",
        "start": "b.png",
        "reference": "r.png",
        "reference_mask": "w.png",
        "preset": "keep-colors",
        "blend": [2, 1],
        "style_scale": 0.5,
        "octaves": 2,
        "style_weight": 5,
    }
    listed = write(tmp_path, "jobs.jsonl", json.dumps(row))
    cells = {**row, "style": "s.png; t.png", "region": "m.png;", "blend": "2;1"}
    table = write(tmp_path, "jobs.csv", ",".join(cells), ",".join(map(str, cells.values())))
    (job,) = read_jobs(listed)
    assert (job,) == read_jobs(table)
    assert job.pictures == PictureSet(
        content=tmp_path / "a.jpg",
        styles=(tmp_path / "s.png", tmp_path / "t.png"),
        content_regions=(tmp_path / "m.png", None),
        style_regions=(tmp_path / "n.png",),
        start=tmp_path / "b.png",
        reference=tmp_path / "r.png",
        reference_mask=tmp_path / "w.png",
    )
    assert job.output == "a--s+t.png"
    assert job.controls == Controls(style_blend=(2, 1), style_scale=0.5, octaves=2, style_weight=5, colors="content")


def test_a_job_is_over_its_preset_and_that_over_the_defaults(tmp_path: Path) -> None:
    defaults = JobDefaults(controls=Controls(style_weight=9, steps=50, colors="matched"))
    path = write(tmp_path, "jobs.csv", "content,style,preset,style_weight", "a,s,bold,", "b,s,bold,7", "c,s,,")
    controls = [job.controls for job in read_jobs(path, defaults)]
    own = Controls(steps=50, colors="matched")
    assert controls == [Controls(style_weight=weight).over(own) for weight in (4.0, 7.0, 9.0)]
    wrong = write(tmp_path, "wrong.csv", "content,style,preset", "a,s,nosuch")
    assert problems(wrong) == ["2: preset is 'nosuch'; it must be one of tutorial, painter, bold, subtle, keep-colors"]


def test_json_lines_and_csv_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"content": "a.jpg", "style": "s.png", "steps": 3, "tv_weight": 2.5},
        {"content": "b.jpg", "style": "s.png", "output": "sub/b.tif", "max_side": None, "optimizer": "adam"},
    ]
    listed = write(tmp_path, "jobs.jsonl", json.dumps(rows[0]), "", json.dumps(rows[1]))
    table = write(
        tmp_path,
        "jobs.csv",
        "content,style,output,optimizer,steps,tv_weight",
        "a.jpg,s.png,,,3,2.5",
        "b.jpg,s.png,sub/b.tif,adam",
    )
    assert read_jobs(listed) == read_jobs(table)


def test_a_spreadsheets_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "jobs.CSV"
    path.write_bytes('content,style,output\r\n"über\nzwei.jpg",s.png,ü\r\nb.jpg,s.png,\r\n'.encode("utf-8-sig"))
    first, second = read_jobs(path)
    assert (first.pictures.content.name, first.output) == ("über\nzwei.jpg", "ü.png")
    assert second.where.endswith(":4")  # a line of the file, although it is the second of the table


def test_jobs_that_do_not_say_take_the_defaults(tmp_path: Path) -> None:
    defaults = JobDefaults(controls=Controls(steps=9, learning_rate=0.1, optimizer="adam"), extension=".webp")
    path = write(tmp_path, "jobs.csv", "content,style,output,optimizer,steps", "a,s,,,", "b,s,b,,4", "c,s,c.png,lbfgs,")
    first, second, third = read_jobs(path, defaults)
    assert (first.output, first.controls) == ("a--s.webp", Controls(steps=9, learning_rate=0.1, optimizer="adam"))
    assert (second.output, second.controls) == ("b.webp", Controls(steps=4, learning_rate=0.1, optimizer="adam"))
    # Who asks for L-BFGS does not mean Adam's learning rate.
    assert (third.output, third.controls) == ("c.png", Controls(steps=9, optimizer="lbfgs"))


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "jobs.csv",
        "content,style,output,optimizer,steps,style_weight,learning_rate",
        "a.jpg,s.png,good.png",
        ",s.png",
        "a.jpg,",
        "a.jpg,s.png,../a.png",
        "a.jpg,s.png,/a.png",
        "a.jpg,s.png,a.gif",
        "a.jpg,s.png,,sgd",
        "a.jpg,s.png,,,-1",
        "a.jpg,s.png,,,2.5",
        "a.jpg,s.png,,,,nan",
    )
    for line, (found, expected) in enumerate(
        zip(
            problems(path),
            [
                "content is missing",
                "style is missing",
                "would leave the folder",
                "would leave the folder",
                "has the extension '.gif'",
                "optimizer is 'sgd'; it must be one of lbfgs, adam",
                "steps is -1; it must be a whole number from 0",
                "steps is '2.5'; it must be a whole number",
                "style_weight is nan",
            ],
            strict=True,
        ),
        start=3,
    ):
        assert found.startswith(f"{line}: ")
        assert expected in found


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path, "jobs.csv", "content,style", *[",s.png"] * 30)
    assert problems(path)[10:] == ["and 20 more"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "this is no JSON"),
        ("[1]", "a job is an object"),
        ('{"content": "a", "style": "s", "stepz": 3}', "there is no 'stepz'"),
        ('{"content": "a", "style": "s", "steps": "3"}', "steps is '3'"),
        ('{"content": "a", "style": "s", "steps": true}', "steps is True"),
        ('{"content": "a", "style": "s", "content_weight": Infinity}', "content_weight is inf"),
        ('{"content": 1, "style": "s"}', "content is 1; it must be a name"),
        ('{"content": "a\\u0000", "style": "s"}', "it must be a name"),
        ('{"content": "a", "style": "s", "optimizer": ["adam"]}', "optimizer is ['adam']"),
        ('{"content": "a", "style": "s", "tv_weight": 1, "total_variation_weight": 1}', "are the same"),
        ('{"content": "a", "style": "s", "learning_rate": 0.1}', "L-BFGS has none"),
    ],
)
def test_wrong_lines_of_json(tmp_path: Path, line: str, message: str) -> None:
    (found,) = problems(write(tmp_path, "jobs.jsonl", '{"content": "a", "style": "s"}', line))
    assert found.startswith("2: ")
    assert message in found


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("content,style,stepz", "a,s,1"), "1: there is no column 'stepz'"),
        (("content;style", "a;s"), "1: there is no column 'content;style'"),
        (("content,style,style", "a,s,s"), "1: the column 'style' is there twice"),
        (("content", "a"), "1: the column 'style' is missing"),
        ((), "1: the column 'content' is missing"),
        (("content,style", "a,s,1"), "2: there are 3 values for 2 columns"),
        (("content,style", '"a,s'), "2: unexpected end of data"),
        (("content,style",), "there is no job in"),
    ],
)
def test_wrong_tables(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    path = write(tmp_path, "jobs.csv", *lines)
    assert problems(path)[0].startswith(message)


def test_files_that_are_no_list(tmp_path: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes("content,style\nü.jpg,s.png\n".encode("latin-1"))
    for path, message in [
        (tmp_path / "none.csv", "cannot be read: No such file"),
        (write(tmp_path, "jobs.txt"), "neither a folder nor a list of jobs"),
        (latin, "not in UTF-8"),
    ]:
        with pytest.raises(JobListError, match=message):
            read_jobs(path)


def test_one_output_for_two_jobs(tmp_path: Path) -> None:
    path = write(tmp_path, "jobs.csv", "content,style,output", "a,s,x/./o.png", "b,s,p.png", "c,s,x//o.png")
    (message,) = problems(path)
    assert message == "two jobs would both be saved as x/o.png: 2, and 4"


@pytest.mark.parametrize(("one", "other"), [("Lake.png", "lake.PNG"), ("\u00fc.png", "u\u0308.png")], ids=repr)
def test_names_that_are_one_on_some_systems(tmp_path: Path, one: str, other: str) -> None:
    path = write(tmp_path, "jobs.csv", "content,style,output", f"a,s,{one}", f"b,s,{other}")
    (message,) = problems(path)
    assert message.startswith(f"two jobs would be saved as {one} and as {other}, which may be one file")
    assert message.endswith(": 2, and 3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("in/b.JPG", "in/a.png", "in/.hidden.png", "in/notes.txt", "in/more/c.png", "styles/t.webp", "s.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_every_content_of_a_folder_in_every_style(folder: Path) -> None:
    defaults = JobDefaults(controls=Controls(steps=3), extension=".jpg")
    jobs = folder_jobs(folder / "in", [folder / "s.gif", folder / "styles"], defaults)
    assert [job.output for job in jobs] == ["a--s.jpg", "a--t.jpg", "b--s.jpg", "b--t.jpg"]
    assert {job.controls for job in jobs} == {Controls(steps=3)}
    assert jobs[-1].pictures == pictures(folder / "in/b.JPG", folder / "styles/t.webp")


def test_folders_that_make_no_batch(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "in/a.jpg").touch()
    for contents, styles, message in [
        ("in", [], "there is no style"),
        ("empty", ["s.gif"], "no picture in the folder"),
        ("in", ["empty"], "no picture in the folder"),
        ("in", ["s.gif"], "both be saved as a--s.png: .*a.jpg in the style of .*a.png in the style of"),
    ]:
        with pytest.raises(JobListError, match=message):
            folder_jobs(folder / contents, [folder / style for style in styles])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "no extension"),
        ("..", "would leave"),
        ("a/../../b.png", "would leave"),
        ("/b.png", "would leave"),
        ("b", "no extension"),
        (".png", "no extension"),
        ("a\nb.png", "no name for a file"),
        ("a\\b.png", "no name for a file"),
        ("a" * 252 + ".png", "longer than the 255 bytes"),
    ],
)
def test_names_that_no_result_can_have(output: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        Job(pictures=pictures("a", "s"), output=output)


def test_a_job_is_checked_as_a_request_is() -> None:
    for controls in (Controls(learning_rate=0.1), Controls(style_blend=(1, 2)), Controls(reference_weight=1)):
        with pytest.raises(ControlError):
            Job(pictures=pictures("a", "s"), output="a.png", controls=controls)
    with pytest.raises(OutputError, match=r"the extension is '\.gif'"):
        JobDefaults(extension=".gif")


def test_the_key_is_of_everything_that_makes_the_picture() -> None:
    def key(digests: PictureSet[str] | None = None, version: str | int | None = None, **values: Any) -> str:
        model = values.pop("model", "m")
        digests = PictureSet(content="1", styles=("2",)) if digests is None else digests
        job = Job(**{"pictures": pictures("a", "s", "t"), "output": "o.png", **values})
        return job.key(digests, model, version)

    def made_of(*styles: str, content: str = "1", **others: Any) -> PictureSet[str]:
        return PictureSet(content=content, styles=styles, **others)

    keys = [
        key(),
        key(made_of("3")),
        key(made_of("2", content="3")),
        key(made_of("1", content="2")),
        key(made_of("2", "3")),
        key(made_of("3", "2")),
        key(made_of("2", "3", content_regions=("4",))),
        key(made_of("2", "3", content_regions=("4", None))),
        key(made_of("2", "3", content_regions=(None, "4"))),
        key(made_of("2", "3", style_regions=("4",))),
        key(made_of("2", start="4")),
        key(made_of("2", reference="4")),
        key(made_of("2", reference="4", reference_mask="5")),
        key(model="n"),
        key(output="p.png"),
        key(version=42),
        key(version="42"),
        key(version="canary"),
        *(key(controls=controls) for controls in CHANGED),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == key(where="jobs.csv:3") == key(pictures=pictures("elsewhere/a", "t"), output="./o.png")
    # A table has 5.0 where JSON may have 5.
    assert key(controls=Controls(style_weight=5)) == key(controls=Controls(style_weight=5.0))
    assert key(controls=Controls(style_blend=(2, 1))) == key(controls=Controls(style_blend=(2.0, 1.0)))


CHANGED = [
    Controls(octaves=2),
    *(
        Controls(**{control.name: value})
        for control in contract.CONTROLS
        if control is not contract.LEARNING_RATE and control is not contract.REFERENCE_WEIGHT
        for value in (control.choices or (17 if control is contract.MAX_SIDE else 1,))
    ),
]


def test_columns_are_the_contracts_controls() -> None:
    files = {"content", "style", "region", "style_region", "start", "reference", "reference_mask"}
    short = {"tv_weight", "blend", "layer_weights", "noise"}
    assert set(COLUMNS) == {*files, "output", "preset", "dpi", *short, *Controls.__dataclass_fields__}
