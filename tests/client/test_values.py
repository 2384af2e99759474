"""Exported values of the client: they survive pickling and copying, and their `repr` is short."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import styleserve.client
from styleserve.client import (
    UNSET,
    BatchProgress,
    BatchSettings,
    ConnectionSettings,
    Controls,
    Description,
    Job,
    JobDefaults,
    JobResult,
    LayerDescription,
    Metadata,
    Octave,
    Picture,
    PictureFacts,
    PictureSet,
    Progress,
    Recipe,
    Record,
    RequestRefused,
    RetryPolicy,
    SavedRun,
    ServerUnavailable,
    ServiceError,
    SignatureDescription,
    StateRefused,
    StyleServeError,
    StylizedResult,
    TensorDescription,
    Timings,
    VersionStatus,
)

LONGEST_REPR = 300
CLASSES = {
    name: value for name in styleserve.client.__all__ if inspect.isclass(value := getattr(styleserve.client, name))
}
ERRORS = [kind for kind in CLASSES.values() if issubclass(kind, StyleServeError)]


def noise(*shape: int) -> Any:
    return np.random.default_rng(0).random(shape, np.float32)


LOSSES = noise(100, 5)
PICTURE = Picture.from_pixels(noise(200, 300, 3), name="/home/user/pictures/photo.jpg")
FACTS = PictureFacts("a" * 64, Path("/home/user/pictures/photo.jpg"))
PICTURES = PictureSet(content=FACTS, styles=(FACTS,))
CONTROLS = Controls(content_weight=1e3, style_weight=0.01, total_variation_weight=30.0, steps=1000, max_side=1024)
RESULT = StylizedResult(
    image=PICTURE.image,
    image_bytes=PICTURE.encoded,
    losses=LOSSES,
    octaves=(Octave(1024, 100),),
    recipe=Recipe(CONTROLS, "style_transfer", 1795970000, PICTURES),
    timings=Timings(0.1, 20.0, 0.2),
    notes=("the photo was turned upright",),
)
RUN = SavedRun(
    controls=CONTROLS,
    octaves=(Octave(1024, 1000),),
    losses=LOSSES,
    state=bytes(100_000),
    start=b"",
    model_name="style_transfer",
    model_version=1795970000,
    pictures=PICTURES,
    notes=("the photo was turned upright",),
)
LAYER = LayerDescription("block1_conv1", 200, 300, 64, 0.0, 812.125, 30.5, noise(64, 64))
TENSOR = TensorDescription("total_variation_weight", "float32", (None,), 30.0)
SIGNATURE = SignatureDescription("paint", (TENSOR,) * 8, (TENSOR,) * 3)
PATHS = PictureSet(content=Path("/home/user/a.jpg"), styles=(Path("b.jpg"),))
JOB = Job(pictures=PATHS, output="a/b.png", controls=CONTROLS, where="j:3")
RECORD = Record(
    key="c" * 64,
    pictures={"content": "/home/user/pictures/photo.jpg", "style": "/home/user/pictures/painting.jpg"},
    output="photo.png",
    sha256="d" * 64,
    controls=CONTROLS.given(),
    model="style_transfer",
    seconds=20.5,
    tries=2,
    error={"kind": "Overloaded", "message": "the server at styles.example.org:8500 has too much to do: queue full"},
)
REFUSED = RequestRefused("no", hint="yes", status="INVALID_ARGUMENT", server_text="no!", request_id="a1", tries=2)


def error(kind: type[StyleServeError]) -> StyleServeError:
    """An error of the kind, in which each attribute has a value of its own."""
    message, hint = "the server at styles.example.org:8500 has too much to do", "Try again later."
    if kind is StateRefused:
        return StateRefused(message, model_version=RUN.model_version, cause=REFUSED)
    if issubclass(kind, ServiceError):
        return kind(message, hint=hint, status="UNAVAILABLE", server_text="queue full", request_id="a1", tries=4)
    return kind(message, hint=hint)


SAMPLES: list[object] = [
    *map(error, ERRORS),
    UNSET,
    BatchProgress(
        running=0, limit=8, waiting=1000, trouble=error(ServerUnavailable), evaluations=70, evaluations_total=100_000
    ),
    BatchSettings(concurrency=8, timeout_s=100.0, retries=5, patience_s=60.0),
    ConnectionSettings(
        server="dns:///styles.example.org:8443",
        model_name="painter",
        ca=Path("/etc/styleserve/certificates/authorities.pem"),
        cert=Path("/etc/styleserve/certificates/client.pem"),
        key=Path("/etc/styleserve/certificates/client.key"),
        token="s3cret",  # noqa: S106
        metadata=(("x-tenant", "blue"),),
        compression="gzip",
    ),
    CONTROLS,
    Controls(),
    Description(
        300, 200, (LAYER,) * 13, 12.5, noise(200, 299, 3), noise(199, 300, 3), noise(200, 300, 3, 2), 3, ("n",)
    ),
    JOB,
    JobDefaults(controls=CONTROLS, extension=".webp"),
    JobResult(JOB, RECORD, error(ServerUnavailable)),
    LAYER,
    Metadata("style_transfer", 1795970000, (SIGNATURE,) * 8, {"max_side": 1024.0}),
    Octave(256, 40),
    PICTURE,
    FACTS,
    PATHS,
    RESULT.recipe,
    Progress(saved=RUN, seconds=20.123, seconds_left=1.5, partial=RESULT),
    RECORD,
    RetryPolicy(tries=8, longest_pause_s=30.0),
    RUN,
    SIGNATURE,
    RESULT,
    TENSOR,
    RESULT.timings,
    VersionStatus(1795970000, "END", "INTERNAL: no weights"),
]


def same(one: object, other: object) -> bool:  # noqa: PLR0911 - a case for each type
    """Whether two values have the same type and attributes, down to arrays and pixels."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Enum):
        return one is other
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(one, Image.Image):
        return one.tobytes() == other.tobytes()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))  # pyright: ignore
    if isinstance(one, BaseException):
        return one.args == other.args and same(vars(one), vars(other))  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)  # pyright: ignore
    if is_dataclass(one):
        return all(same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    return one == other


def test_every_exported_class_has_a_sample() -> None:
    """A class that is added to `__all__` needs one here, and is then held to the tests below."""
    assert {type(sample) for sample in SAMPLES} == {
        value for name, value in CLASSES.items() if name not in ("StyleClient", "AsyncStyleClient")
    }

    def tree(kind: type[StyleServeError]) -> set[type[StyleServeError]]:
        return {kind}.union(*map(tree, kind.__subclasses__()))

    assert set(ERRORS) == {kind for kind in tree(StyleServeError) if kind.__module__.startswith("styleserve.client")}


WAYS: list[Callable[[object], object]] = [
    *[lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol)) for protocol in (2, 5)],  # noqa: S301
    copy.copy,
    copy.deepcopy,
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_values_survive_pickling_and_copying(sample: object) -> None:
    for way in WAYS:
        back = way(sample)
        assert same(back, sample)
        assert (str(back), repr(back)) == (str(sample), repr(sample))


def test_an_error_that_is_changed_is_not_the_same() -> None:
    """The comparison of this file sees a single attribute."""
    changed = copy.copy(REFUSED)
    changed.tries = 3
    assert not same(changed, REFUSED)
    assert not same(RESULT.losses, RESULT.losses + 1)


def test_errors_keep_their_notes_and_attributes_of_the_caller() -> None:
    failed: Any = error(StateRefused)
    failed.job = 7
    back = pickle.loads(pickle.dumps(failed))  # noqa: S301
    assert (back.job, back.model_version, back.hint) == (7, RUN.model_version, failed.hint)
    assert back.hint == "Serve version 1795970000 of the model, or begin a new run."
    assert back.trace == "Request a1, after 2 tries."


def refuse(_: int) -> None:
    raise error(StateRefused)


def test_an_error_crosses_a_pool_of_processes() -> None:
    with get_context("spawn").Pool(1) as pool, pytest.raises(StateRefused, match="too much to do") as caught:
        pool.map_async(refuse, [0]).get(60)
    assert caught.value.model_version == RUN.model_version


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_repr_is_one_short_line(sample: object) -> None:
    assert len(repr(sample)) <= LONGEST_REPR
    assert "\n" not in repr(sample)
    assert type(sample).__name__ in repr(sample) or sample is UNSET


def test_what_a_repr_says() -> None:
    assert repr(RESULT) == (
        f"<StylizedResult: 300 x 200 pixels, 100 steps, loss {LOSSES[-1, 0]:.4g}, style_transfer version 1795970000>"
    )
    assert repr(Controls(steps=50)) == "Controls(steps=50)"
    assert repr(ConnectionSettings()) == "ConnectionSettings()"
    settings = ConnectionSettings(server="[::1]:8500", token="s3cret", metadata=(("x", "s3cret"),))  # noqa: S106
    assert repr(settings) == "ConnectionSettings(server='[::1]:8500')"
    assert repr(REFUSED) == "RequestRefused('no')"


def test_notebooks_show_pictures() -> None:
    assert RESULT._repr_png_() == RESULT.image_bytes
    png = PICTURE._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert styleserve.client.load_picture(png).image.tobytes() == PICTURE.image.tobytes()
    progress = Progress(saved=RUN, seconds=1.0, seconds_left=1.0, partial=RESULT)
    assert progress._repr_png_() == RESULT.image_bytes
    assert Progress(saved=RUN, seconds=1.0, seconds_left=1.0, partial=None)._repr_png_() is None
