"""The `deploy` command: files for Compose, Kubernetes, KServe or Ray. Imports neither TensorFlow nor gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from styleserve.atomic_write import atomic_write

from .deployment import OPTIONS, Deployment, DeploymentError, Device, Target
from .model_fit import notes
from .rendering import rendered

EXIT_DEPLOY_FAILED: Final = 1
"""Exit code of invalid options, and of files that cannot be written."""


def _option(name: str, *flags: str, metavar: str | None = None) -> Any:  # noqa: ANN401 - Typer's own type
    option = OPTIONS[name]
    panel = None if Target.compose in option.targets else "Kubernetes, KServe and Ray"
    if option.targets == (Target.ray,):
        panel = "Ray"
    return typer.Option(*flags, metavar=metavar, help=option.help, rich_help_panel=panel)


def deploy(
    target: Annotated[Target, typer.Argument(help="Platform.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the files.", show_default="deployments/TARGET"),
    ] = None,
    *,
    model: Annotated[str | None, _option("model")] = Deployment.model,
    model_name: Annotated[str, _option("model_name")] = Deployment.model_name,
    label: Annotated[list[str] | None, _option("label", metavar="NAME=VERSION")] = None,
    device: Annotated[Device, _option("device")] = Deployment.device,
    image: Annotated[str | None, _option("image")] = Deployment.image,
    batching: Annotated[bool, _option("batching", "--batching")] = Deployment.batching,
    envoy: Annotated[bool, _option("envoy", "--envoy")] = Deployment.envoy,
    calls: Annotated[int, _option("calls")] = Deployment.calls,
    max_side: Annotated[int, _option("max_side")] = Deployment.max_side,
    max_batch: Annotated[int, _option("max_batch")] = Deployment.max_batch,
    memory: Annotated[str, _option("memory")] = Deployment.memory,
    port: Annotated[int, _option("port")] = Deployment.port,
    monitoring: Annotated[bool, _option("monitoring", "--monitoring")] = Deployment.monitoring,
    replicas: Annotated[int, _option("replicas")] = Deployment.replicas,
    max_replicas: Annotated[int | None, _option("max_replicas")] = Deployment.max_replicas,
    cpus: Annotated[int, _option("cpus")] = Deployment.cpus,
    drain_s: Annotated[int, _option("drain_s")] = Deployment.drain_s,
    namespace: Annotated[str, _option("namespace")] = Deployment.namespace,
    prometheus: Annotated[str, _option("prometheus")] = Deployment.prometheus,
    prometheus_namespace: Annotated[str, _option("prometheus_namespace")] = Deployment.prometheus_namespace,
    jobs: Annotated[str | None, _option("jobs", metavar="URL")] = None,
    results: Annotated[str | None, _option("results", metavar="URL")] = None,
    secret: Annotated[str | None, _option("secret", metavar="NAME")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files; write none.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
) -> None:
    """Write files that run an exported model on TensorFlow Serving, or a bulk run on Ray.

    The options alone decide the files. Prints the command that starts them.
    """
    folder = output or Path("deployments") / target.value
    try:
        deployment = Deployment(
            target=target,
            model=model,
            model_name=model_name,
            label=tuple(label or ()),
            device=device,
            image=image,
            batching=batching,
            envoy=envoy,
            calls=calls,
            max_side=max_side,
            max_batch=max_batch,
            memory=memory,
            port=port,
            monitoring=monitoring,
            replicas=replicas,
            max_replicas=max_replicas,
            cpus=cpus,
            drain_s=drain_s,
            namespace=namespace,
            prometheus=prometheus,
            prometheus_namespace=prometheus_namespace,
            jobs=jobs,
            results=results,
            secret=secret,
        )
        files = rendered(deployment)
        if dry_run:
            for name, text in files.items():
                typer.echo(f"# ----- {folder / name}\n{text}")
            return
        write(folder, files, force=force)
    except DeploymentError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(EXIT_DEPLOY_FAILED) from error
    if target is Target.compose:
        typer.echo(f"docker compose -f {folder / 'compose.yaml'} up -d")
    else:
        typer.echo(f"kubectl create namespace {namespace}; kubectl apply -k {folder}")
    for note in notes(deployment):
        typer.echo(note, err=True)


def write(folder: Path, files: Mapping[str, str], *, force: bool = False) -> None:
    """Writes files into a folder in their order, each as a whole. Other files in the folder stay.

    Raises:
        DeploymentError: A file exists with another text and `force` is not set; no file is written then. Or the folder
            cannot be written to.
    """
    try:
        different = [str(folder / name) for name, text in files.items() if _differs(folder / name, text)]
        if different and not force:
            raise DeploymentError(
                f"{', '.join(different)}: exists with other contents; --force overwrites, -o sets another folder"
            )
        for name, text in files.items():
            _write(folder / name, text)
    except OSError as error:
        raise DeploymentError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _differs(path: Path, text: str) -> bool:
    return path.is_dir() or (path.exists() and path.read_bytes() != text.encode())


def _write(path: Path, text: str) -> None:
    """Writes a file that the server's user can read, under any umask."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        folder.chmod(0o755)
    with atomic_write(path, mode=0o644) as file:
        file.write(text.encode())
