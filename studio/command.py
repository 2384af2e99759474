"""The `studio` command. Importing this module imports neither the web framework nor the client's libraries."""

from __future__ import annotations

import socket
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from styleserve.version_directories import DEFAULT_BASE_PATH, versions_on_disk

from .settings import DEFAULT_PORT, LOOPBACK, StudioSettings

if TYPE_CHECKING:
    from .painting import ServerStatus

EXIT_START_FAILED: Final = 1
"""Exit code for a start that failed: no model, a port or a folder in use, a missing package."""


def register(app: typer.Typer) -> None:
    """Adds `studio` to the command line."""
    app.command(rich_help_panel="Server")(studio)


def studio(
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="gRPC address of the server to paint on; TLS and token as STYLESERVE_TLS, STYLESERVE_CA and so on.",
            envvar="STYLESERVE_SERVER",
            show_envvar=False,
            show_default="an embedded server",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Base path of the model of the embedded server.", show_default=str(DEFAULT_BASE_PATH)
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Another one than the loopback needs --token-file.")
    ] = LOOPBACK,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to listen on.", show_default=f"{DEFAULT_PORT}, or a free one"),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of tokens, one on each line, to sign in with.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Further name of this machine in addresses; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of pictures and results.", show_default="in the user's data directory"
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Paint in a browser: opens a page on this machine, with a server of its own if none is named."""
    try:
        from .run import Listening, run_studio  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _failure(f"{error}. The studio needs its extra: pip install 'styleserve[studio]'") from error
    if server is not None and model is not None:
        raise typer.BadParameter("give a server or a model, not both", param_hint="--server, --model")
    lasting = _tokens(token_file)
    is_loopback = host in (LOOPBACK, "localhost", "::1")
    if not is_loopback and not lasting:
        raise _failure(
            f"{host} is reachable from other machines, so the studio needs tokens: give --token-file FILE, and put TLS "
            "in front of it"
        )
    base_path = None
    if server is None:
        base_path = model or DEFAULT_BASE_PATH
        _check_model(base_path)
    settings = StudioSettings(folder=data or _default_folder())
    listening = Listening(
        socket=_listening_socket(host, port),
        names=tuple(allow_host or ()),
        any_address=not is_loopback,
        lasting=lasting,
    )

    def show_link(link: str) -> None:
        typer.echo(f"Studio: {link}")
        typer.echo(f"Pictures and results: {settings.folder}. Ctrl-C stops.")
        if open_page and is_loopback:
            webbrowser.open(link)

    try:
        run_studio(settings, listening, server=server, base_path=base_path, on_link=show_link, on_status=_show_status)
    except Exception as error:
        if type(error).__name__ in ("FolderInUse", "SettingsError", "ServerUnavailable") or isinstance(error, OSError):
            raise _failure(str(error)) from error
        raise


def _show_status(status: ServerStatus) -> None:
    text = f"{status.text}. {status.hint}" if status.hint else status.text
    typer.echo(f"Error: {text}" if status.state == "failed" else f"Server: {text}", err=status.state == "failed")


def _failure(message: str) -> typer.Exit:
    typer.echo(f"Error: {message}", err=True)
    return typer.Exit(EXIT_START_FAILED)


def _tokens(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        tokens = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise _failure(f"the tokens in {path} cannot be read: {error}") from error
    if not tokens or min(map(len, tokens)) < 16:
        raise _failure(f"{path} must hold tokens of at least 16 characters, one on each line")
    return tokens


def _check_model(base_path: Path) -> None:
    try:
        found = versions_on_disk(base_path)
    except OSError:
        found = {}
    if not found:
        raise _failure(
            f"there is no model in {base_path}. Export one with `styleserve export --output {base_path}`, name another "
            "with --model DIR, or a server with --server HOST:PORT"
        )


def _default_folder() -> Path:
    from platformdirs import user_data_path  # noqa: PLC0415 - of the extra

    return user_data_path("styleserve", appauthor=False) / "studio"


def _listening_socket(host: str, port: int | None) -> socket.socket:
    """Socket that listens on the port; on a free one if none was named and the usual one is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in (DEFAULT_PORT, 0) if port is None else (port,):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            if port is not None:
                raise _failure(
                    f"cannot listen on {host}:{port}: {error.strerror}. Give another --port, or 0 for a free one"
                ) from error
            continue
        return listener
    raise _failure(f"cannot listen on {host}")
