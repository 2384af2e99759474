"""One job of a batch: where its result goes, whether it is there already, and painting it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..api.checkpoint import SavedRun
from ..api.client import StyleClient
from ..errors import ImageError, JobListError, OutputError, StateRefused, StyleServeError
from ..images.files import read_file
from ..images.save import case_folded, check_output, largest_picture_bytes, save_or_fall_back
from ..images.source import PictureFile
from ..inputs.octaves import work_done
from ..inputs.picture_set import PictureSet
from ..wire.results import StylizedResult
from .job import Job, refuse_doubles
from .manifest import Manifest, Record, file_digest

CHUNK_S: Final = 10.0
"""Time of a chunk, in seconds. The bar moves after each, and a refused call costs one; each moves a state both ways."""


@dataclass
class Task:
    """State of a job that is not finished.

    Attributes:
        job: Job to run.
        target: File for the result.
        key: `Job.key`; None before the pictures are read.
        tries: Number of times that it was begun.
        transient_failures: Number of tries that ended in an error that may not occur again.
        saved: State of the run after its last chunk, from which the next try resumes; None before the first one.
        seconds: Time of the run, of all tries since it last began without a state.
        work: Pixels times evaluations of the try that finished the run.
        fraction: Share of the run's work that is done; 1 once the job has ended.
    """

    job: Job
    target: Path
    key: str | None = None
    tries: int = 0
    transient_failures: int = 0
    saved: SavedRun | None = None
    seconds: float = 0.0
    work: float = 0.0
    fraction: float = 0.0

    def failed(self, error: StyleServeError, model_name: str) -> Record:
        """Record of a failed job."""
        return Record(
            key=self.key,
            pictures=dict(self.job.pictures.map(lambda path, _: str(path)).items()),
            output=self.job.output,
            controls=self.job.controls.given(),
            model=model_name,
            seconds=round(self.seconds, 3),
            tries=self.tries,
            error={"kind": type(error).__name__, "message": error.message},
        )


def plan_tasks(jobs: Sequence[Job], folder: Path) -> list[Task]:
    """Tasks with the file of each result; makes the folders.

    Raises:
        JobListError: Two jobs have one output, or an output is a picture that another job reads.
        OutputError: A result would be outside the folder, or cannot be saved in its place.
    """
    root = folder.resolve()
    read = {identity: path for job in jobs for _, path in job.pictures.items() for identity in _identities(path)}
    tasks: list[Task] = []
    for job in jobs:
        target = (root / job.output).resolve()  # a link in the folder may lead out of it, or to another result
        if not target.is_relative_to(root):
            raise OutputError(
                f"{folder / job.output} leads out of {folder}, to {target}", hint="Name an output below that folder."
            )
        for identity in _identities(target):
            if identity in read:
                raise JobListError(
                    f"{job.where or 'a job'} would be saved over {read[identity]}, which a job reads",
                    hint="Save the results in a folder of their own.",
                )
        tasks.append(Task(job, target))
    refuse_doubles(jobs, [task.target for task in tasks])
    try:
        for parent in {root} | {task.target.parent for task in tasks}:
            parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {error.filename}: {error.strerror}") from error
    for task in tasks:
        check_output(task.target, needed_bytes=largest_picture_bytes(task.job.controls.expected_max_side**2))
    return tasks


def _identities(path: Path) -> list[str | tuple[int, int]]:
    """Identities of a file: its path, and with hard links its device and inode."""
    identities: list[str | tuple[int, int]] = [case_folded(path.resolve())]
    with contextlib.suppress(OSError):
        status = path.stat()
        if status.st_nlink > 1:
            identities.append((status.st_dev, status.st_ino))
    return identities


def find_painted(
    tasks: Iterable[Task], manifest: Manifest, model_name: str, version: str | int | None
) -> Iterator[tuple[Task, Record | None]]:
    """Each task with the record of its picture, or None if the picture is missing or differs."""

    @functools.cache  # a style is read once, not for every content
    def digest(path: Path) -> str:
        return _digest(read_file(path))

    for task in tasks:
        record = None
        if manifest.mentions(task.job.output):
            with contextlib.suppress(ImageError):  # reported when the task runs
                key = task.job.key(task.job.pictures.map(lambda path, _: digest(path)), model_name, version)
                record = manifest.painted(key)
        if record is not None and record.sha256 != file_digest(task.target):
            record = None
        yield task, record


def paint(
    task: Task,
    client: StyleClient,
    timeout_s: float | None,
    *,
    on_fraction: Callable[[float], None] = lambda _: None,
) -> Record:
    """Record of a picture that was painted and saved.

    Args:
        task: Its key, state, seconds and work are set.
        client: Client to call.
        timeout_s: Deadline of each call.
        on_fraction: Receives the share of the work that is done, after each chunk.

    Raises:
        StyleServeError: All that `StyleClient.stylize_iter` and `StylizedResult.save` raise.
    """
    job = task.job
    started = time.perf_counter()
    try:
        files = job.pictures.map(lambda path, _: PictureFile(read_file(path), path))
        key = job.key(files.map(lambda file, _: _digest(file.data)), client.model_name, client.version)
        if key != task.key:  # a file changed
            task.saved = None
        task.key = key
        if task.saved is None:
            task.seconds = 0.0
        before = 0 if task.saved is None else task.saved.steps_done
        result = _in_chunks(task, client, files, timeout_s, on_fraction)
        save_or_fall_back(functools.partial(result.save, dpi=job.dpi), task.target)
    finally:
        task.seconds += time.perf_counter() - started
    task.saved = None
    pixels, side = result.image.width * result.image.height, max(result.image.size)
    evaluations = sum(octave.steps * (octave.max_side / side) ** 2 for octave in result.octaves)
    task.work = pixels * max(evaluations * (1 - work_done(result.octaves, before)), 1)
    return Record(
        key=task.key,
        pictures=dict(job.pictures.map(lambda path, _: str(path)).items()),
        output=job.output,
        sha256=file_digest(task.target),
        controls=job.controls.given(),
        model=result.model_name,
        model_version=result.model_version,
        loss_first=float(result.losses[0, 0]) if result.steps else None,
        loss_last=float(result.losses[-1, 0]) if result.steps else None,
        seconds=round(task.seconds, 3),
        tries=task.tries,
    )


def _in_chunks(
    task: Task,
    client: StyleClient,
    files: PictureSet[PictureFile],
    timeout_s: float | None,
    on_fraction: Callable[[float], None],
) -> StylizedResult:
    result: StylizedResult | None = None
    run = client.stylize_iter(
        **files.arguments(),
        controls=task.job.controls,
        resume_from=task.saved,
        chunk_s=CHUNK_S,
        timeout_s=timeout_s,
    )
    try:
        for progress in run:
            task.saved, result = progress.saved, progress.result
            on_fraction(progress.fraction)
    except StateRefused:  # by another version of the model; the next try begins without a state
        task.saved = None
        on_fraction(0.0)
        raise
    assert result is not None  # noqa: S101 - the last chunk brings it
    return result


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
