"""Options that commands share: how to reach the server, the controls of a painting, JSON."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, TypeVar

import typer

from styleserve import contract

from . import printing
from .controls import UNSET, Unset, allowed_range
from .errors import ImageError
from .settings import ENVIRONMENT, ConnectionSettings

if TYPE_CHECKING:
    from .client import StyleClient
    from .images import Picture

_T = TypeVar("_T")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Deadline of each request; by default it grows with the work."),
]
AdminTimeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Deadline of the request.")]
VersionLabel = Annotated[
    str | None,
    typer.Option(
        "--version-label",
        metavar="LABEL",
        help="Ask the version that has this label on the server, as in canary; without, the newest.",
        rich_help_panel="Connection",
    ),
]

_LATE_NAMES: Final = {"StyleClient": object}
"""In annotations of commands, and not imported when those are read."""


class OptimizerName(str, Enum):
    """`signatures.Optimizer`, as Typer takes it."""

    LBFGS = "lbfgs"
    ADAM = "adam"


class _Compression(str, Enum):
    NONE = "none"
    GZIP = "gzip"


def _connection(name: str, kind: Any, text: str, *, metavar: str | None = None) -> inspect.Parameter:  # noqa: ANN401
    flag = "--tls/--no-tls" if name == "tls" else f"--{name.replace('_', '-')}"
    option = typer.Option(flag, metavar=metavar, help=text, envvar=ENVIRONMENT[name], rich_help_panel="Connection")
    default = {field.name: field.default for field in fields(ConnectionSettings)}[name]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


_CONNECTION: Final = (
    _connection("server", str, "gRPC address of the server.", metavar="HOST[:PORT]"),
    _connection("model_name", str, "Name under which the server has the model."),
    _connection("tls", bool | None, "Encrypt, also without a file of authorities: the system's are trusted then."),
    _connection("ca", Path | None, "Authorities to trust for TLS, PEM.", metavar="FILE"),
    _connection("cert", Path | None, "Certificate of this client, PEM.", metavar="FILE"),
    _connection("key", Path | None, "Private key of this client, PEM.", metavar="FILE"),
    _connection("token", str | None, "Bearer token. Others see a command line: better in the environment."),
    _connection("compression", _Compression, "Compression of requests; pictures are compressed already."),
)

_VERSION_LABEL: Final = inspect.Parameter(
    "version_label", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=VersionLabel
)


def with_settings(command: Callable[Concatenate[ConnectionSettings, ...], None]) -> Callable[..., None]:
    """The command, with options for a connection in place of its first parameter, the settings.

    An option that the command has of its own is left to it. What goes wrong in it is reported, in the way that its own
    option `--json` asks for.
    """
    own = list(inspect.signature(command, locals=_LATE_NAMES, eval_str=True).parameters.values())[1:]
    names = {each.name for each in own}
    options = [option for option in _CONNECTION if option.name not in names]

    def connected(*, as_json: bool, **values: Any) -> None:  # noqa: ANN401 - checked by Typer
        with printing.reported(as_json):
            settings = ConnectionSettings(**{option.name: values.pop(option.name) for option in options})
            command(settings, as_json=as_json, **values)  # pyright: ignore[reportCallIssue]

    return _disguised(connected, command, [*own, *options])


def with_client(
    command: Callable[Concatenate[StyleClient, ...], None], *, of_a_version: bool = True
) -> Callable[..., None]:
    """The same for a command whose first parameter is a client: it is opened, and closed in the end.

    With `of_a_version` it may be told which version to ask, by label. Not so for the state of versions: there
    TensorFlow Serving takes no notice of a label, and tells of all.
    """

    def opened(
        settings: ConnectionSettings,
        *,
        as_json: bool,
        version_label: str | None = None,
        **values: Any,  # noqa: ANN401 - as above
    ) -> None:
        from .client import StyleClient  # noqa: PLC0415

        with StyleClient(settings=settings, version_label=version_label) as client:
            command(client, as_json=as_json, **values)  # pyright: ignore[reportCallIssue]

    own = list(inspect.signature(command, locals=_LATE_NAMES, eval_str=True).parameters.values())
    return with_settings(_disguised(opened, command, [*own, _VERSION_LABEL] if of_a_version else own))


def _disguised(
    wrapper: Callable[..., None], command: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """`wrapper`, called and documented as `command`, but with these parameters."""
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    # Typer reads both.
    wrapper.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper


def control(option: str, control: contract.Control, remark: str = "") -> Any:  # noqa: ANN401 - as Typer types it
    """The option of a control, with what the contract says of it."""
    defaults = f"{control.tutorial:g}" + (f" or {control.relative:g}" if control.relative != control.tutorial else "")
    text = (
        f"{control.help}{remark} Allowed: {allowed_range(control)}. The default is the model's own, usually {defaults}."
    )
    return typer.Option(option, help=text, metavar="N" if control.dtype == "int32" else "X", show_default=False)


Steps = Annotated[int | None, control("--steps", contract.STEPS)]
ContentWeight = Annotated[float | None, control("--content-weight", contract.CONTENT_WEIGHT)]
StyleWeight = Annotated[float | None, control("--style-weight", contract.STYLE_WEIGHT)]
TvWeight = Annotated[float | None, control("--tv-weight", contract.TOTAL_VARIATION_WEIGHT)]
MaxSide = Annotated[int | None, control("--max-side", contract.MAX_SIDE)]


def or_unset(value: _T | None) -> _T | Unset:
    """What an option that is not given means: the model's own default."""
    return UNSET if value is None else value


def loaded(path: Path) -> Picture | Path:
    """The picture in a file; the path alone if the picture is over the default limit, as the model's own may be higher.

    Raises:
        ImageError: it cannot be used.
    """
    from .images import is_over_limit  # noqa: PLC0415
    from .sources import load_picture  # noqa: PLC0415

    try:
        return load_picture(path)
    except ImageError as error:
        if is_over_limit(error):
            return path
        raise
