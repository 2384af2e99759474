"""The `deploy` command: a folder of files for Compose, Kubernetes or KServe. Imports neither TensorFlow nor gRPC."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from styleserve.contract import DEFAULT_MODEL_NAME

from .compatibility import larger_than_the_memory, newer_than_the_server, refuses_batches, slow_on_a_cpu
from .deployment import Deployment, DeploymentError, Device, Target
from .rendering import rendered

EXIT_DEPLOY_FAILED = 1
"""The deployment cannot be as it was asked for, or cannot be written."""

_SIZES: Final = "Sizes"
_KUBERNETES: Final = "Kubernetes"
_LABEL: Final = re.compile(r"([^=]+)=([0-9]{1,19})")


def _option(text: str, panel: str | None = None) -> Any:  # noqa: ANN401 - as Typer has it
    return typer.Option(help=text, rich_help_panel=panel)


def _switch(flag: str, text: str) -> Any:  # noqa: ANN401 - likewise
    return typer.Option(flag, help=text)


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
    model_name: Annotated[str, _option("What requests call the model.")] = Deployment.model_name,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VERSION",
            help="Serve this version under a label, as in stable=1700000000; several times for several. Without any, "
            "the newest version is served.",
        ),
    ] = None,
    device: Annotated[Device, _option("What computes.")] = Deployment.device,
    image: Annotated[
        str | None,
        typer.Option(help="Image of TensorFlow Serving, NAME:TAG.", show_default="the published one for the device"),
    ] = None,
    batching: Annotated[
        bool, _switch("--batching", "Let the server join requests with numbers; config/batching.config says how.")
    ] = False,
    calls: Annotated[int, _option("Predict calls that a server takes at a time.", _SIZES)] = Deployment.calls,
    max_side: Annotated[
        int,
        _option("Longest side, in pixels, that memory is asked for: that of `styleserve export --max-side`.", _SIZES),
    ] = Deployment.max_side,
    max_batch: Annotated[
        int, _option("Pictures in a call that memory is asked for: that of `styleserve export --max-batch`.", _SIZES)
    ] = Deployment.max_batch,
    replicas: Annotated[int, _option("Servers; with --max-replicas, the fewest.", _KUBERNETES)] = Deployment.replicas,
    max_replicas: Annotated[
        int | None,
        typer.Option(help="Most servers, by load, with KEDA.", show_default="--replicas", rich_help_panel=_KUBERNETES),
    ] = None,
    cpus: Annotated[int, _option("Processors to ask for, for each server.", _KUBERNETES)] = Deployment.cpus,
    drain_s: Annotated[
        int, _option("Seconds in which a server that is told to stop may finish its calls.", _KUBERNETES)
    ] = Deployment.drain_s,
    namespace: Annotated[str, _option("Namespace of all that is made.", _KUBERNETES)] = Deployment.namespace,
    prometheus: Annotated[str, _option("Prometheus that KEDA asks for the load.", _KUBERNETES)] = Deployment.prometheus,
    prometheus_namespace: Annotated[
        str, _option("Namespace that may read the metrics.", _KUBERNETES)
    ] = Deployment.prometheus_namespace,
    port: Annotated[int, _option("Port of this machine, for compose.")] = Deployment.port,
    envoy: Annotated[bool, _switch("--envoy", "Put Envoy in front: TLS, certificates of clients, balancing.")] = False,
    monitoring: Annotated[bool, _switch("--monitoring", "Run Prometheus and Grafana beside it, for compose.")] = False,
    dry_run: Annotated[bool, _switch("--dry-run", "Print the files, and write none.")] = False,
    force: Annotated[bool, _switch("--force", "Replace files that are there already.")] = False,
) -> None:
    """Write the files that run an exported model on TensorFlow Serving, for Docker Compose, Kubernetes or KServe.

    The files follow from the options alone. Prints the command that starts it.
    """
    folder = output or Path("deployments") / target.value
    if target is Target.compose and model is None:
        model = f"models/{DEFAULT_MODEL_NAME}"
    try:
        deployment = Deployment(
            target=target,
            model=model,
            model_name=model_name,
            labels=tuple(_label(each) for each in label or []),
            device=device,
            image=image,
            replicas=replicas,
            max_replicas=max_replicas,
            calls=calls,
            max_side=max_side,
            max_batch=max_batch,
            cpus=cpus,
            drain_s=drain_s,
            namespace=namespace,
            prometheus=prometheus,
            prometheus_namespace=prometheus_namespace,
            port=port,
            envoy=envoy,
            monitoring=monitoring,
            batching=batching,
        )
        files = rendered(deployment)
        if dry_run:
            for name, text in files.items():
                typer.echo(f"# ----- {folder / name}\n{text}")
            return
        write(folder, files, force=force)
    except DeploymentError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_DEPLOY_FAILED) from error
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
