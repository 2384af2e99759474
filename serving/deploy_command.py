"""The `deploy` command: a folder of files for Compose, Kubernetes or KServe. Imports neither TensorFlow nor gRPC."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from styleserve.contract import DEFAULT_MODEL_NAME

from .deployment import Deployment, DeploymentError, Device, Target
from .rendering import rendered

EXIT_DEPLOY_FAILED = 1
"""The deployment cannot be as it was asked for, or cannot be written."""

_SIZES: Final = "Sizes"
_KUBERNETES: Final = "Kubernetes"
_LABEL: Final = re.compile(r"([^=]+)=([0-9]{1,19})")


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
    model_name: Annotated[str, typer.Option(help="What requests call the model.")] = Deployment.model_name,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VERSION",
            help="Serve this version under a label, as in stable=1700000000; several times for several. Without, the "
            "newest version is served.",
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="What computes.")] = Deployment.device,
    image: Annotated[
        str | None,
        typer.Option(help="Image of TensorFlow Serving, NAME:TAG.", show_default="the published one for the device"),
    ] = None,
    calls: Annotated[
        int, typer.Option(help="Predict calls that a server takes at a time.", rich_help_panel=_SIZES)
    ] = Deployment.calls,
    max_side: Annotated[
        int,
        typer.Option(
            help="Longest side, in pixels, that memory is asked for: that of `styleserve export --max-side`.",
            rich_help_panel=_SIZES,
        ),
    ] = Deployment.max_side,
    replicas: Annotated[
        int, typer.Option(help="Servers; with --max-replicas, the fewest.", rich_help_panel=_KUBERNETES)
    ] = Deployment.replicas,
    max_replicas: Annotated[
        int | None,
        typer.Option(help="Most servers, by load, with KEDA.", show_default="--replicas", rich_help_panel=_KUBERNETES),
    ] = None,
    cpus: Annotated[
        int, typer.Option(help="Processors to ask for, for each server.", rich_help_panel=_KUBERNETES)
    ] = Deployment.cpus,
    drain_s: Annotated[
        int,
        typer.Option(help="Seconds that a server goes on with its calls while it leaves.", rich_help_panel=_KUBERNETES),
    ] = Deployment.drain_s,
    namespace: Annotated[
        str, typer.Option(help="Namespace of all that is made.", rich_help_panel=_KUBERNETES)
    ] = Deployment.namespace,
    prometheus: Annotated[
        str, typer.Option(help="Prometheus that KEDA asks for the load.", rich_help_panel=_KUBERNETES)
    ] = Deployment.prometheus,
    prometheus_namespace: Annotated[
        str, typer.Option(help="Namespace that may read the metrics.", rich_help_panel=_KUBERNETES)
    ] = Deployment.prometheus_namespace,
    port: Annotated[int, typer.Option(help="Port of this machine, for compose.")] = Deployment.port,
    envoy: Annotated[
        bool, typer.Option("--envoy", help="Put Envoy in front: TLS, certificates of clients, balancing.")
    ] = False,
    monitoring: Annotated[
        bool, typer.Option("--monitoring", help="Run Prometheus and Grafana beside it, for compose.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files, and write none.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
) -> None:
    """Write the files that run an exported model on TensorFlow Serving, for Docker Compose, Kubernetes or KServe.

    Prints the command that starts it.
    """
    if model is None and target is Target.compose:
        model = f"models/{DEFAULT_MODEL_NAME}"
    folder = output or Path("deployments") / target.value
    try:
        deployment = Deployment(
            target=target,
            model=model,
            model_name=model_name,
            labels=tuple(_label(each) for each in label or ()),
            device=device,
            image=image,
            replicas=replicas,
            max_replicas=max_replicas,
            calls=calls,
            max_side=max_side,
            cpus=cpus,
            drain_s=drain_s,
            namespace=namespace,
            prometheus=prometheus,
            prometheus_namespace=prometheus_namespace,
            port=port,
            envoy=envoy,
            monitoring=monitoring,
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
    if target is Target.compose and not Path(deployment.model or "").is_dir():
        typer.echo(f"Note: there is no directory {deployment.model} yet; `styleserve export` makes it.", err=True)
    typer.echo(
        f"A server may take {deployment.memory_mib} MiB: {calls} calls of up to {max_side} x {max_side} pixels.",
        err=True,
    )


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
    path.parent.mkdir(parents=True, exist_ok=True)
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


def _label(given: str) -> tuple[str, int]:
    found = _LABEL.fullmatch(given)
    if found is None:
        raise DeploymentError(f"the label is {given!r}; it must be NAME=VERSION, as in stable=1700000000")
    return found[1], int(found[2])


def _next_step(deployment: Deployment, folder: Path) -> str:
    if deployment.target is Target.compose:
        return f"docker compose -f {folder / 'compose.yaml'} up -d"
    return f"kubectl create namespace {deployment.namespace}; kubectl apply -k {folder}"
