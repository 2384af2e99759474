"""Options that commands share: how to reach the server, the controls of a painting, JSON."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, TypeVar

import typer

from styleserve import contract

from ..inputs.control_values import value_of_text
from ..inputs.controls import OCTAVES, UNSET, Controls, Unset, controls_of, option_of
from ..inputs.presets import PRESETS, preset
from ..transport.settings import ENVIRONMENT, ConnectionSettings
from .printing import exit_on_error

if TYPE_CHECKING:
    from ..api.client import StyleClient

_T = TypeVar("_T")

CONNECTION_PANEL: Final = "Connection (in the environment: STYLESERVE_SERVER and so on)"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Deadline of each request.", show_default="by work"),
]
AdminTimeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Deadline of the request.")]
VersionLabel = Annotated[
    str | None,
    typer.Option(
        "--version-label",
        metavar="LABEL",
        help="Label of the version.",
        rich_help_panel=CONNECTION_PANEL,
        show_default="newest",
    ),
]

_LATE_NAMES: Final = {"StyleClient": object, "Controls": object}
"""Names in annotations of commands that are not imported when Typer reads these."""


class _Compression(str, Enum):
    NONE = "none"
    GZIP = "gzip"


def _connection(name: str, kind: Any, text: str, *, metavar: str | None = None) -> inspect.Parameter:  # noqa: ANN401
    flag = "--tls/--no-tls" if name == "tls" else f"--{name.replace('_', '-')}"
    option = typer.Option(
        flag,
        metavar=metavar,
        help=text,
        envvar=ENVIRONMENT[name],
        show_envvar=False,  # a line for each; the title of the panel has the pattern
        rich_help_panel=CONNECTION_PANEL,
    )
    default = {field.name: field.default for field in fields(ConnectionSettings)}[name]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


_CONNECTION: Final = (
    _connection("server", str, "gRPC address of the server.", metavar="HOST[:PORT]"),
    _connection("model_name", str, "Name of the model.", metavar="NAME"),
    _connection("tls", bool | None, "Encrypt the connection."),
    _connection("ca", Path | None, "Trusted authorities, PEM.", metavar="FILE"),
    _connection("cert", Path | None, "Certificate of this client, PEM.", metavar="FILE"),
    _connection("key", Path | None, "Private key of this client, PEM.", metavar="FILE"),
    _connection("token", str | None, "Bearer token.", metavar="TOKEN"),
    _connection("compression", _Compression, "Compression of requests.", metavar="NAME"),
)

_VERSION_LABEL: Final = inspect.Parameter(
    "version_label", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=VersionLabel
)


def with_settings(command: Callable[Concatenate[ConnectionSettings, ...], None]) -> Callable[..., None]:
    """The command, with options for a connection in place of its first parameter, the settings.

    An option that the command has itself replaces the one of the connection. Errors are printed and set the exit code.
    """
    own = _parameters(command)[1:]
    names = {each.name for each in own}
    options = [option for option in _CONNECTION if option.name not in names]

    def connected(*, as_json: bool, **values: Any) -> None:  # noqa: ANN401 - checked by Typer
        with exit_on_error(as_json):
            settings = ConnectionSettings(**{option.name: values.pop(option.name) for option in options})
            command(settings, as_json=as_json, **values)  # pyright: ignore[reportCallIssue]

    return _with_parameters(connected, command, [*own, *options])


def with_client(
    command: Callable[Concatenate[StyleClient, ...], None], *, of_a_version: bool = True
) -> Callable[..., None]:
    """The command, with options for a connection in place of its first parameter, a client, which is closed at its end.

    Args:
        command: Command to call with a client.
        of_a_version: Whether it has `--version-label`. For the state of versions TensorFlow Serving ignores a label.
    """

    def opened(
        settings: ConnectionSettings,
        *,
        as_json: bool,
        version_label: str | None = None,
        **values: Any,  # noqa: ANN401 - as above
    ) -> None:
        from ..api.client import StyleClient  # noqa: PLC0415

        with StyleClient(settings=settings, version_label=version_label) as client:
            command(client, as_json=as_json, **values)  # pyright: ignore[reportCallIssue]

    own = _parameters(command)
    return with_settings(_with_parameters(opened, command, [*own, _VERSION_LABEL] if of_a_version else own))


def _parameters(command: Callable[..., None]) -> list[inspect.Parameter]:
    return list(inspect.signature(command, locals=_LATE_NAMES, eval_str=True).parameters.values())


def _with_parameters(
    wrapper: Callable[..., None], command: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """`wrapper` with the name and help of `command`, and with these parameters."""
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    # Typer reads both.
    wrapper.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper


def with_controls(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with options for the controls of a run in place of its parameter `controls`.

    Its first parameter, a client or settings, stays for `with_client` or `with_settings`.
    """

    def controlled(first: object, /, **values: Any) -> None:  # noqa: ANN401 - checked by Typer
        given = {option.name: values.pop(option.name) for option in _CONTROLS}
        command(first, controls=_controls(given), **values)

    parameters: list[inspect.Parameter] = []
    for each in _parameters(command):
        parameters += _CONTROLS if each.name == "controls" else [each]
    return _with_parameters(controlled, command, parameters)


def _controls(given: dict[str, Any]) -> Controls:
    """Controls that the options name, over those of the preset.

    Raises:
        ControlError: A value cannot be used.
    """
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in given.items()}
    base, bits = plain.pop("preset"), plain.pop("bits")
    explicit = {
        name: value_of_text(name, value) if isinstance(value, str) else value
        for name, value in plain.items()
        if value is not None
    }
    if bits is not None:
        explicit["image_format"] = "png16" if bits == "16" else "png"
    controls = controls_of(explicit)
    return controls if base is None else controls.over(preset(base))


_RUN: Final = "Run"
_LOOK: Final = "Look"
_OF_RUN: Final = ("max_side", "steps", "loss", "optimizer", "learning_rate", "start_noise", "seed")
"""Controls in the panel "Run" of the help, in this order; others are in "Look"."""


def _control(control: contract.Control) -> inspect.Parameter:
    """Option of a control, with the first clause of the contract's help."""
    kind: Any = {"int32": int, "float32": float, "string": str}[control.dtype]
    kind = str if control.per else kind
    choices = f"{', '.join(control.choices)}; " if control.choices else ""
    text = f"{control.help.partition(';')[0].rstrip('.')}. [{choices}default: {_default(control.relative)}]"
    return _option(
        control.name,
        kind,
        text,
        metavar="NAME" if control.choices else "X,..." if control.per else "N" if kind is int else "X",
        choices=control.choices,
        panel=_RUN if control.name in _OF_RUN else _LOOK,
    )


def _default(value: contract.Default) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _option(
    name: str,
    kind: Any,  # noqa: ANN401 - a type
    text: str,
    *,
    metavar: str | None = None,
    choices: Sequence[str] = (),
    panel: str | None = None,
) -> inspect.Parameter:
    option = typer.Option(
        option_of(name),
        metavar=metavar,
        help=text.replace("[", "\\["),  # rich takes a word in brackets for markup
        rich_help_panel=panel,
        show_default=False,
    )
    if choices:
        kind = Enum(name, [(choice, choice) for choice in choices], type=str)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


_CONTROLS: Final = (
    _option(
        "preset",
        str,
        f"Preset of controls. [{', '.join(PRESETS)}; default: painter]",
        metavar="NAME",
        choices=tuple(PRESETS),
    ),
    *map(_control, (each for each in contract.CONTROLS if each.name not in (*_OF_RUN, contract.IMAGE_FORMAT.name))),
    _option(
        OCTAVES,
        int,
        "Sizes from coarse to fine. [default: by --max-side]",
        metavar="N",
        panel=_RUN,
    ),
    *map(
        _control,
        sorted((each for each in contract.CONTROLS if each.name in _OF_RUN), key=lambda each: _OF_RUN.index(each.name)),
    ),
    _option("bits", str, "Bits of a channel, 8 or 16. [default: 8]", metavar="N", choices=("8", "16")),
)


def or_unset(value: _T | None) -> _T | Unset:
    """Value of an option; unset, for the model's own default, where it is not given."""
    return UNSET if value is None else value
