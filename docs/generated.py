"""Tables of these documents that are made from the code, so that the two cannot disagree. Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from typer.models import ArgumentInfo, OptionInfo, ParameterInfo
from unimported import server_reference

from styleserve import contract
from styleserve.__main__ import app
from styleserve.client import PRESETS, ConnectionSettings, StyleServeError
from styleserve.client.cli.options import option_of
from styleserve.client.errors import exit_codes
from styleserve.client.inputs.control_values import allowed_values
from styleserve.client.transport.settings import ENVIRONMENT
from styleserve.serving.deploy.deployment import Deployment, Target

_ROOT: Final = Path(__file__).parents[1]
_PLACE: Final = re.compile(r"^\{\{ (\w+) \}\}$", re.MULTILINE)


def filled(page: str) -> str:
    """The page, with each line `{{ name }}` replaced by what the function of that name here returns.

    Raises:
        KeyError: there is no such table.
    """
    return _PLACE.sub(lambda found: TABLES[found[1]](), page)


def signatures() -> str:
    """Every signature of the model, with its inputs and outputs."""
    parts: list[str] = []
    for signature in contract.SIGNATURES.values():
        rows = [
            (
                f"`{field.name}`",
                way,
                f"{field.dtype} `{_shape(field.shape)}`",
                _need(field) if way == "in" else "",
                field.help,
            )
            for way, found in (("in", signature.inputs), ("out", signature.outputs))
            for field in found
        ]
        parts += [f"### `{signature.name}`", signature.help, _table(("tensor", "", "type", "", "what"), rows)]
    return "\n\n".join(parts)


def signature_list() -> str:
    """A line for each signature."""
    rows = [(f"`{each.name}`", each.help) for each in contract.SIGNATURES.values()]
    return _table(("signature", "what it does"), rows)


def controls() -> str:
    """Every control of `paint`, with its range and default."""
    rows = [
        (
            f"`{control.name}`",
            f"{control.dtype} `{_shape(control.shape)}`",
            allowed_values(control).removeprefix("a whole number "),
            f"one for all, or for each {control.per}" if control.per else "",
            _value(control.relative),
            "" if control.choices else control.unit,
            control.help,
        )
        for control in contract.CONTROLS
    ]
    return _table(("control", "type", "allowed", "values", "default", "unit", "what"), rows)


def absolute_weights() -> str:
    """Weights of the signatures with the tutorial's loss, with their two defaults."""
    weights = [term.absolute_weight for term in contract.TERMS if term.absolute_weight is not None]
    rows = [(f"`{each.name}`", _value(each.tutorial), _value(each.relative), each.help) for each in weights]
    return _table(("weight", "tutorial", "relative", "what"), rows)


def options_of_controls() -> str:
    """Every control that has an option of its name, with its field of `Controls`, its range and its default."""
    rows = [
        (f"`{option_of(each.name)}`", f"`{each.name}`", allowed_values(each), _value(each.relative), each.help)
        for each in contract.CONTROLS
        if each.name != contract.IMAGE_FORMAT.name
    ]
    return _table(("option", "`Controls`", "allowed", "default", "what"), rows)


def presets() -> str:
    """Every preset, with the options that it stands for."""
    rows = [
        (
            f"`{name}`",
            " ".join(f"`{option_of(control)} {_value(value)}`" for control, value in controls.given().items())
            or "the defaults",
        )
        for name, controls in PRESETS.items()
    ]
    return _table(("preset", "stands for"), rows)


def limits() -> str:
    """Limits that are exported with a model, and their defaults."""
    described = dict(re.findall(r"^\s+(max_\w+): (.+)$", inspect.getdoc(contract.Limits) or "", re.MULTILINE))
    numbers = contract.Limits().numbers()
    rows = [
        (f"`{name}`", f"{value:,.9g}", described[name].replace("None for", "as it comes,"))
        for name, value in numbers.items()
    ]
    return _table(("limit", "default", "what"), rows)


def errors() -> str:
    """Every error of the client, with its exit code, as a tree."""
    rows = [
        (f"{'&emsp;' * depth}`{error.__name__}`", str(error.exit_code), (error.__doc__ or "").partition("\n")[0])
        for depth, error in _errors(StyleServeError)
    ]
    return _table(("error", "exit code", "what it means"), rows)


def exit_code_list() -> str:
    """Every exit code of the client's commands."""
    return _table(("exit code", "meaning"), [(str(code), meaning) for code, meaning in exit_codes().items()])


def environment() -> str:
    """The environment variables, with the option and the setting that each one stands for."""
    found = ConnectionSettings()
    rows = [
        (f"`{variable}`", f"`{_flag(name)}`", f"`{name}`", _code(getattr(found, name)))
        for name, variable in ENVIRONMENT.items()
    ]
    return _table(("variable", "option", "`ConnectionSettings`", "default"), rows)


def commands() -> str:
    """The command line, as it describes itself."""
    parts: list[str] = []
    groups = [(each.name, each.typer_instance) for each in app.registered_groups]
    found_commands = [("", command) for command in app.registered_commands]
    found_commands += [
        (f"{name} ", command) for name, group in groups if group for command in group.registered_commands
    ]
    for before, command in found_commands:
        assert command.callback is not None  # noqa: S101 - it has a decorated function
        found = list(_parameters(command.callback))
        arguments = [each for each in found if isinstance(each.info, ArgumentInfo)]
        options = [each for each in found if isinstance(each.info, OptionInfo)]
        name = f"{before}{command.name or command.callback.__name__}".removesuffix(" run")
        usage = " ".join(
            ["styleserve", name, *(each.info.metavar or each.name.upper() for each in arguments), "[OPTIONS]"]
        )
        parts += [f"## {name}", inspect.getdoc(command.callback) or "", f"```text\n{usage}\n```"]
        if arguments:
            rows = [(f"`{each.name.upper()}`", _prose(each.info.help or "")) for each in arguments]
            parts.append(_table(("argument", "what"), rows))
        for panel in dict.fromkeys(each.info.rich_help_panel for each in options):
            rows = [(each.flags, each.about) for each in options if each.info.rich_help_panel == panel]
            parts.append(_table((panel or "option", "what"), rows))
    return "\n\n".join(parts)


def memory() -> str:
    """Memory of a server, by the longest side and by the calls at a time."""
    calls = (1, 2, 4)

    def given(side: int, number: int) -> str:
        size = Deployment(target=Target.compose, model="models", max_side=side, calls=number)
        return f"{size.memory_mib / 1024:.1f} GiB"

    rows = [(f"{side}", *(given(side, number) for number in calls)) for side in (256, 512, 1024)]
    return _table(("`--max-side`", *(f"`--calls {number}`" for number in calls)), rows)


def changelog() -> str:
    """The changelog, without its title."""
    return (_ROOT / "CHANGELOG.md").read_text().partition("\n")[2]


def security_policy() -> str:
    """Text of SECURITY.md, without its title, and with links for this folder."""
    return (_ROOT / "SECURITY.md").read_text().partition("\n")[2].replace("](docs/", "](../")


TABLES: Final[dict[str, Callable[[], str]]] = {
    each.__name__: each
    for each in (
        absolute_weights,
        changelog,
        commands,
        controls,
        environment,
        errors,
        exit_code_list,
        limits,
        memory,
        options_of_controls,
        presets,
        security_policy,
        server_reference,
        signature_list,
        signatures,
    )
}
"""Every table by its name."""


def _errors(root: type[StyleServeError], depth: int = 0) -> Iterator[tuple[int, type[StyleServeError]]]:
    yield depth, root
    for child in root.__subclasses__():
        yield from _errors(child, depth + 1)


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _need(field: contract.Field) -> str:
    if field.control is not None:
        return "control"
    if field.required:
        return "required"
    return f"default {field.default}" if field.default else "may be left out"


@dataclass(frozen=True)
class _Parameter:
    """A parameter of a command."""

    name: str
    kind: Any
    info: ParameterInfo
    default: object

    @property
    def flags(self) -> str:
        """The option's names, and what it takes."""
        # In an annotation Typer's first name stands where a default would.
        names = [str(name) for name in (self.info.default, *(self.info.param_decls or ())) if isinstance(name, str)]
        flags = ", ".join(f"`{flag}`" for name in names or self._usual_names for flag in name.split("/"))
        kinds = [kind for kind in (self.kind, *get_args(self.kind)) if isinstance(kind, type)]
        enums = [kind for kind in kinds if issubclass(kind, Enum)]
        if enums:
            return f"{flags} {', '.join(f'`{member.value}`' for member in enums[0])}"
        return f"{flags} `{self.info.metavar}`" if self.info.metavar else flags

    @property
    def _usual_names(self) -> list[str]:
        flag = _flag(self.name)
        return [flag, flag.replace("--", "--no-", 1)] if self.kind is bool else [flag]

    @property
    def about(self) -> str:
        """Help of the parameter, whether it is required, and its default."""
        notes: list[str] = []
        if self.default is inspect.Parameter.empty:
            notes.append("required")
        elif isinstance(self.info.show_default, str):
            notes.append(f"default: {self.info.show_default}")
        elif self.info.show_default and self.default is not None and not isinstance(self.default, bool):
            notes.append(f"default: {_code(getattr(self.default, 'value', self.default))}")
        if self.info.envvar:
            notes.append(f"or the variable `{self.info.envvar}`")
        return _prose(self.info.help or "") + (f" *({'; '.join(notes)})*" if notes else "")


def _parameters(command: Callable[..., object]) -> Iterator[_Parameter]:
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        hint = hints[name]
        # Python 3.10 puts what has None for a default into an Optional of its own.
        kind, info = get_args(next(each for each in (hint, *get_args(hint)) if hasattr(each, "__metadata__")))
        yield _Parameter(name, kind, info, parameter.default)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _code(value: object) -> str:
    return "" if value is None else f"`{value}`"


def _prose(text: str) -> str:
    return re.sub(r"(?<![`\w])(--[a-z-]+)", r"`\1`", text)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(cell.replace("|", "\\|") for cell in row) for row in (head, *rows)]
    lines.insert(1, ("---",) * len(lines[0]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
