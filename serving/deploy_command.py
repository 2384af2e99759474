"""The `deploy` command: a folder of files for Compose, Kubernetes or KServe. Imports neither TensorFlow nor gRPC."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from styleserve.contract import DEFAULT_MODEL_NAME

from .deployment import Deployment, DeploymentError, Device, Target
from .deployment_note import kept, noted
from .exported_with import larger_than_the_memory, newer_than_the_server, refuses_batches, slow_on_a_cpu
from .rendering import BATCHING_CONFIG, rendered
from .switched_off import commands_before

EXIT_DEPLOY_FAILED = 1
"""The deployment cannot be as it was asked for, or cannot be written."""

_SIZES: Final = "Sizes"
_KUBERNETES: Final = "Kubernetes"
_LABEL: Final = re.compile(r"([^=]+)=([0-9]{1,19})")


def _option(field: str, text: str, panel: str | None = None) -> Any:  # noqa: ANN401 - as Typer has it
    """An option for a field of a deployment. Without it comes None, for which what was there before can stand."""
    usual = getattr(Deployment, field)
    flag = f"--{field.replace('_', '-')}"
    return typer.Option(
        f"{flag}/--no-{field}" if usual is False else flag,
        help=text,
        show_default=False if usual is False else str(getattr(usual, "value", usual)),
        rich_help_panel=panel,
    )


def deploy(
    target: Annotated[Target, typer.Argument(help="What runs the containers.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the files.", show_default="deployments/TARGET"),
    ] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(
            help="Directory of the model, with its versions: for compose a path, for kubernetes pvc://CLAIM/PATH, for "
            "kserve also what it fetches (gs://, s3://, https://). Without: inside the image.",
            show_default=f"for compose, models/{DEFAULT_MODEL_NAME}",
        ),
    ] = None,
    model_name: Annotated[str | None, _option("model_name", "What requests call the model.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VERSION",
            help="Serve this version under a label, as in stable=1700000000; several times for several, and these "
            "alone. Without any, the newest version is served.",
        ),
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Take all labels away; serve the newest version.")] = False,
    device: Annotated[Device | None, _option("device", "What computes.")] = None,
    image: Annotated[
        str | None,
        typer.Option(help="Image of TensorFlow Serving, NAME:TAG.", show_default="the published one for the device"),
    ] = None,
    batching: Annotated[
        bool | None, _option("batching", "Let the server join requests with numbers; config/batching.config says how.")
    ] = None,
    calls: Annotated[int | None, _option("calls", "Predict calls that a server takes at a time.", _SIZES)] = None,
    max_side: Annotated[
        int | None,
        _option(
            "max_side",
            "Longest side, in pixels, that memory is asked for: that of `styleserve export --max-side`.",
            _SIZES,
        ),
    ] = None,
    max_batch: Annotated[
        int | None,
        _option(
            "max_batch",
            "Pictures in a call that memory is asked for: that of `styleserve export --max-batch`.",
            _SIZES,
        ),
    ] = None,
    replicas: Annotated[
        int | None, _option("replicas", "Servers; with --max-replicas, the fewest.", _KUBERNETES)
    ] = None,
    max_replicas: Annotated[
        int | None,
        typer.Option(help="Most servers, by load, with KEDA.", show_default="--replicas", rich_help_panel=_KUBERNETES),
    ] = None,
    cpus: Annotated[int | None, _option("cpus", "Processors to ask for, for each server.", _KUBERNETES)] = None,
    drain_s: Annotated[
        int | None, _option("drain_s", "Seconds that a server goes on with its calls while it leaves.", _KUBERNETES)
    ] = None,
    namespace: Annotated[str | None, _option("namespace", "Namespace of all that is made.", _KUBERNETES)] = None,
    prometheus: Annotated[
        str | None, _option("prometheus", "Prometheus that KEDA asks for the load.", _KUBERNETES)
    ] = None,
    prometheus_namespace: Annotated[
        str | None, _option("prometheus_namespace", "Namespace that may read the metrics.", _KUBERNETES)
    ] = None,
    port: Annotated[int | None, _option("port", "Port of this machine, for compose.")] = None,
    envoy: Annotated[
        bool | None, _option("envoy", "Put Envoy in front: TLS, certificates of clients, balancing.")
    ] = None,
    monitoring: Annotated[
        bool | None, _option("monitoring", "Run Prometheus and Grafana beside it, for compose.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files, and write none.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin with the defaults, and not with what the folder was made with.")
    ] = False,
) -> None:
    """Write the files that run an exported model on TensorFlow Serving, for Docker Compose, Kubernetes or KServe.

    Prints the command that starts it. In a folder that it wrote before it changes what it is told, and keeps the rest;
    what was switched off goes on running until the commands that it prints first are run.
    """
    folder = output or Path("deployments") / target.value
    given: dict[str, Any] = {
        "model": model,
        "model_name": model_name,
        "device": device,
        "image": image,
        "batching": batching,
        "calls": calls,
        "max_side": max_side,
        "max_batch": max_batch,
        "replicas": replicas,
        "max_replicas": max_replicas,
        "cpus": cpus,
        "drain_s": drain_s,
        "namespace": namespace,
        "prometheus": prometheus,
        "prometheus_namespace": prometheus_namespace,
        "port": port,
        "envoy": envoy,
        "monitoring": monitoring,
    }
    try:
        named = {name: value for name, value in given.items() if value is not None} | _labels(label or [], newest)
        there = _there(folder, target) if fresh else noted(folder, target)
        before = None if fresh else there
        if before is None:
            if target is Target.compose:
                named.setdefault("model", f"models/{DEFAULT_MODEL_NAME}")
            deployment = Deployment(target=target, **named)
        else:
            deployment = replace(before, **named)
            if stays := kept(before, named):
                typer.echo(f"Kept from before: {stays} (--fresh forgets it).", err=True)
        files = rendered(deployment)
        if not fresh and (folder / BATCHING_CONFIG).is_file():
            files.pop(BATCHING_CONFIG, None)  # is there to be changed, and so is handed out once
        if dry_run:
            for name, text in files.items():
                typer.echo(f"# ----- {folder / name}\n{text}")
            return
        write(folder, files, force=force)
    except DeploymentError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_DEPLOY_FAILED) from error
    if there is not None:
        for command in commands_before(there, deployment, folder):
            typer.echo(command)
    typer.echo(_next_step(deployment, folder))
    for note in _notes(deployment):
        typer.echo(note, err=True)


def write(folder: Path, files: Mapping[str, str], *, force: bool = False) -> None:
    """Writes files into a folder, each whole or not at all, in their order; leaves all others there alone.

    Raises:
        DeploymentError: one is there already, with something else in it, and `force` is not set; then none was written.
            Or the folder cannot be written to.
    """
    try:
        if not force:
            other = [name for name, text in files.items() if _holds_another(folder / name, text)]
            if other:
                raise DeploymentError(
                    f"{', '.join(str(folder / name) for name in other)}: there already, with something else inside; "
                    "--force replaces it, -o names another folder"
                )
        for name, text in files.items():
            _write(folder / name, text)
    except OSError as error:
        raise DeploymentError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _holds_another(path: Path, text: str) -> bool:
    if not path.exists() and not path.is_symlink():
        return False
    return not path.is_file() or path.read_bytes() != text.encode()


def _write(path: Path, text: str) -> None:
    _make_folder(path.parent)
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would hide it from a server that runs as another user
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it. Those that it makes can be read by another user, as the files in them."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # whatever the umask


def _there(folder: Path, target: Target) -> Deployment | None:
    """The deployment that a folder was made for, where that can be told: whoever begins afresh need not know it."""
    try:
        return noted(folder, target)
    except DeploymentError:
        return None


def _labels(given: Iterable[str], newest: bool) -> dict[str, Any]:
    labels = tuple(_label(each) for each in given)
    if labels and newest:
        raise DeploymentError("--newest takes all labels away, and --label gives some; leave one of them out")
    return {"labels": labels} if labels or newest else {}


def _label(given: str) -> tuple[str, int]:
    found = _LABEL.fullmatch(given)
    if found is None:
        raise DeploymentError(f"the label is {given!r}; it must be NAME=VERSION, as in stable=1700000000")
    return found[1], int(found[2])


def _notes(deployment: Deployment) -> Iterator[str]:
    """What to know of a deployment that was written."""
    model = Path(deployment.model or "") if deployment.target is Target.compose else None
    if model is not None:
        if not model.is_dir():
            yield f"Note: there is no directory {model} yet; `styleserve export` makes it."
        if newer := newer_than_the_server(model, deployment):
            yield f"Warning: {newer}"
        if refused := refuses_batches(model, deployment):
            yield f"Warning: {refused}"
        if slow := slow_on_a_cpu(model, deployment):
            yield f"Note: {slow}"
    side, pictures = deployment.max_side, deployment.max_batch
    yield (
        f"A server may take {deployment.memory_mib} MiB: {deployment.calls} calls of up to {side} x {side} pixels"
        f"{f' and {pictures} pictures' if pictures > 1 else ', one picture in each'}"
        f"{', joined into batches' if deployment.batching else ''}."
    )
    if larger := larger_than_the_memory(model, deployment):
        yield larger


def _next_step(deployment: Deployment, folder: Path) -> str:
    if deployment.target is Target.compose:
        return f"docker compose -f {folder / 'compose.yaml'} up -d"
    return f"kubectl create namespace {deployment.namespace}; kubectl apply -k {folder}"
