"""The model's own limit of pixels holds where a picture has more than the default, and nothing is asked otherwise."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from styleserve import contract
from styleserve.client import AsyncStyleClient, Controls, ImageError, Overloaded, StyleClient, load_picture
from styleserve.client.api import model_queries as questions
from styleserve.client.batch.job_list import read_jobs
from styleserve.client.batch.worker import paint, plan_tasks
from styleserve.client.cli.commands import register
from styleserve.client.wire import messages, model_facts
from styleserve.client.wire.tensors import to_array

DEFAULT = 1000
"""In place of 64 million."""


@pytest.fixture
def small_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (questions, model_facts):
        monkeypatch.setattr(module, "MAX_PIXELS", DEFAULT)


def accept(stub: Any, most: int) -> None:
    """Has the model take files of so many pixels."""
    stub.with_limits(max_encoded_pixels=most)


def asked(stub: Any) -> list[str]:
    """Requests to the server: signatures, or "metadata"; not the state of the model, which measures the link."""
    return [
        request.model_spec.signature_name if isinstance(request, messages.PredictRequest) else "metadata"
        for request in stub.requests
        if not isinstance(request, messages.GetModelStatusRequest)
    ]


def stylize(client: StyleClient, content: Any, style: Any) -> Any:
    return client.stylize(content, style, Controls(steps=1, max_side=64)).image.size


def stylize_iter(client: StyleClient, content: Any, style: Any) -> Any:
    *_, last = client.stylize_iter(content, style, Controls(steps=2, max_side=64), final_state=True)
    *_, resumed = client.stylize_iter(content, style, Controls(steps=3, max_side=64), resume_from=last.saved)
    return resumed.result and resumed.result.image.size


def describe(client: StyleClient, content: Any, _: Any) -> Any:
    found = client.describe(content, size=64)
    return found.width, found.height


def report(client: StyleClient, content: Any, style: Any) -> Any:
    result = client.stylize(content, style, Controls(steps=1, max_side=64))
    client.report(content, style, result)
    return result.image.size


def in_an_event_loop(client: StyleClient, content: Any, style: Any) -> Any:
    async def use() -> Any:
        async with AsyncStyleClient(client.server) as own:
            return (await own.stylize(content, style, Controls(steps=1, max_side=64))).image.size

    return asyncio.run(use())


def batch(client: StyleClient, content: Path, style: Path) -> Any:
    jobs = content.parent / "jobs.csv"
    jobs.write_text(f"content,style,output,steps,max_side\n{content},{style},out.png,1,64\n")
    (task,) = plan_tasks(read_jobs(jobs), content.parent / "out")
    paint(task, client, 30.0)
    with Image.open(task.target) as image:
        return image.size


USES = [stylize, stylize_iter, describe, report, in_an_event_loop, batch]


@pytest.mark.usefixtures("small_default")
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("most", [96 * 64, 96 * 64 - 1])
def test_the_model_decides_on_a_large_picture(
    use: Callable[..., Any], stub: Any, content: Path, style: Path, most: int
) -> None:
    accept(stub, most)
    with StyleClient(stub.address) as client:
        assert use(client, content, style) == (64, 43)
    assert asked(stub)[:2] == ["metadata", "limits"]


@pytest.mark.usefixtures("small_default")
@pytest.mark.parametrize(("most", "size"), [(96 * 64, (96, 64)), (96 * 64 - 1, (48, 32)), (1000, (32, 22))])
def test_a_picture_over_the_limit_of_the_model_is_reduced(
    stub: Any, content: Path, style: Path, most: int, size: tuple[int, int]
) -> None:
    accept(stub, most)
    with StyleClient(stub.address) as client:
        loaded = client.load_picture(content)
        result = client.stylize(content, style, Controls(steps=1, max_side=64))
    assert loaded.image.size == size
    note = f"reduced from 96 x 64 to {size[0]} x {size[1]} pixels"
    assert loaded.notes == (() if size == (96, 64) else (note,))
    assert (f"{content}: {note}" in result.notes) == (size != (96, 64))
    sent = to_array(stub.requests[-1].inputs["content_bytes"], "content_bytes").reshape(-1)[0]
    with Image.open(io.BytesIO(sent)) as image:
        assert image.size == size


@pytest.mark.parametrize("use", USES)
def test_nothing_is_asked_for_an_ordinary_picture(
    use: Callable[..., Any], stub: Any, content: Path, style: Path
) -> None:
    accept(stub, 10)
    with StyleClient(stub.address) as client:
        assert use(client, content, style) == (64, 43)
    assert {"limits", "metadata"}.isdisjoint(asked(stub))


@pytest.mark.usefixtures("small_default")
def test_no_pixel_is_decoded_before_the_model_has_answered(stub: Any, content: Path) -> None:
    accept(stub, 2000)
    damaged = content.read_bytes()[:-200]
    with StyleClient(stub.address) as client, pytest.raises(ImageError, match="damaged"):
        client.stylize(damaged, content)
    assert asked(stub) == ["metadata", "limits"]


@pytest.mark.usefixtures("small_default")
def test_a_model_that_tells_no_limit_has_the_default(stub: Any, content: Path) -> None:
    declared = stub.metadata(messages.GetModelMetadataRequest())
    found = messages.SignatureDefMap.FromString(declared.metadata["signature_def"].value)
    del found.signature_def[contract.LIMITS]  # pyright: ignore[reportIndexIssue]
    declared.metadata["signature_def"].value = found.SerializeToString()
    stub.metadata = lambda _: declared  # pyright: ignore
    with StyleClient(stub.address) as client:
        assert client.load_picture(content).image.size == (32, 22)
    assert asked(stub) == ["metadata"]


@pytest.mark.usefixtures("small_default")
def test_a_busy_server_is_no_fault_of_the_picture(stub: Any, content: Path, refusal: Any) -> None:
    accept(stub, 10_000)
    stub.limits = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    with StyleClient(stub.address) as client, pytest.raises(Overloaded):
        client.stylize(content, content, timeout_s=0.5)


def test_the_command_line_leaves_a_large_picture_to_the_model(stub: Any, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    path = tmp_path / "large.jpg"
    Image.new("L", (8100, 8000), 90).save(path, quality=50)
    accept(stub, 65_000_000)
    command = ["describe", str(path), "--max-side", "40", "--server", stub.address]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "40 x 40" in " ".join(result.stdout.split())
    accept(stub, 64_500_000)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "reduced from 8100 x 8000 to 4050 x 4000 pixels" in " ".join(result.stderr.split())


@pytest.mark.usefixtures("small_default")
def test_a_contact_sheet_of_a_large_picture(stub: Any, content: Path, style: Path, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    accept(stub, 96 * 64)
    options = ("-o", tmp_path / "sheet.png", "--vary", "seed=1,2", "--steps", 2, "--server", stub.address)
    result = CliRunner().invoke(app, ["contact-sheet", *map(str, (content, style, *options))])
    assert result.exit_code == 0, result.output
    assert asked(stub)[:2] == ["metadata", "limits"]
    assert (tmp_path / "sheet.png").exists()


def test_load_picture_takes_a_limit() -> None:
    file = io.BytesIO()
    Image.new("RGB", (50, 40)).save(file, "PNG")
    for source in (file.getvalue(), Image.open(file), np.zeros((40, 50, 3), np.uint8)):
        assert load_picture(source, max_pixels=2000).image.size == (50, 40)
        assert load_picture(source, max_pixels=1999).image.size == (25, 20)
        with pytest.raises(ImageError, match="1,999 are allowed"):
            load_picture(source, max_pixels=1999, reduce=False)
