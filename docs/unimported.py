"""The reference of the rooms that need TensorFlow, read from their source: nothing is imported, nothing is mocked."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import Final

from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring

_ROOT: Final = Path(__file__).parents[1]
_FRONT_DOORS: Final = {
    "Embedded server": (
        ("serving/server.py", "EmbeddedServer"),
        ("serving/settings.py", "ServerSettings"),
        ("serving/errors.py", "StartError"),
    ),
    "Exporter": (
        ("export/exporter.py", "export_model"),
        ("export/exporter.py", "ExportSettings"),
        ("export/exporter.py", "ExportError"),
    ),
    "Model": (
        ("model/module.py", "StyleTransfer"),
        ("model/module.py", "ModelSettings"),
        ("model/network/weights.py", "imagenet_weights"),
        ("model/network/weights.py", "file_weights"),
        ("model/network/calibration.py", "random_weights"),
    ),
}
_CONFIG: Final = Config(napoleon_use_ivar=True)
_INDENT: Final = "   "


def server_reference() -> str:
    """The front doors of server, exporter and model, as reStructuredText inside Markdown."""
    parts: list[str] = []
    for title, names in _FRONT_DOORS.items():
        described = "\n\n".join(_described(*each) for each in names)
        parts += [f"## {title}", f"```{{eval-rst}}\n{described}\n```"]
    return "\n\n".join(parts)


def _described(path: str, name: str) -> str:
    tree = ast.parse((_ROOT / path).read_text())
    (found,) = (each for each in tree.body if getattr(each, "name", None) == name)
    full_name = f"styleserve.{Path(path).parts[0]}.{name}"
    if isinstance(found, ast.FunctionDef):
        return _directive("function", f"{full_name}{_signature(found)}", found)
    assert isinstance(found, ast.ClassDef)  # noqa: S101 - a front door is one or the other
    methods = [each for each in found.body if isinstance(each, ast.FunctionDef)]
    public = [_member(each) for each in methods if not each.name.startswith("_") and ast.get_docstring(each)]
    kind = "exception" if name.endswith("Error") else "class"
    made_with = next((_signature(each) for each in methods if each.name == "__init__"), _fields(found))
    return "\n\n".join([_directive(kind, full_name + made_with, found), *public])


def _member(method: ast.FunctionDef) -> str:
    is_property = any(isinstance(each, ast.Name) and each.id == "property" for each in method.decorator_list)
    kind, signature = ("property", "") if is_property else ("method", _signature(method))
    return textwrap.indent(_directive(kind, method.name + signature, method), _INDENT)


def _directive(kind: str, title: str, documented: ast.FunctionDef | ast.ClassDef) -> str:
    text = str(GoogleDocstring(ast.get_docstring(documented) or "", _CONFIG))  # pyright: ignore[reportArgumentType] - duck
    return f".. py:{kind}:: {title}\n\n{textwrap.indent(text, _INDENT)}"


def _signature(function: ast.FunctionDef) -> str:
    given = ast.unparse(function.args).removeprefix("self").removeprefix(", ")
    returned = f" -> {ast.unparse(function.returns)}" if function.returns is not None else ""
    return f"({given}){returned if function.name != '__init__' else ''}"


def _fields(settings: ast.ClassDef) -> str:
    """The arguments of a dataclass."""
    found = [
        ast.unparse(each.target) + (" = ..." if each.value is not None else "")
        for each in settings.body
        if isinstance(each, ast.AnnAssign)
    ]
    return f"({', '.join(found)})" if found else ""
