"""How Sphinx builds these documents. `make docs` runs it, with every warning an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.highlighting import lexer_classes

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import generated

from styleserve import __version__

project = "styleserve"
author = "the authors of styleserve"
project_copyright = "the authors of styleserve, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
smartquotes = False  # what is copied from a page is what the program says
nitpicky = False  # the standard library's types are named, and no other site is asked when this one is built

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # of docstrings, whose one backtick is Markdown

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {name: name for name in ("PictureSource", "StyleSources", "Regions")}
napoleon_use_ivar = True  # of a dataclass, each attribute once
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"styleserve {__version__}"
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"


def _insert(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = generated.filled(source[0])


def _named(*described: str | object) -> tuple[str | None, str | None]:
    """Signature and result with the plain names of type aliases, which Sphinx writes out in a union."""
    signature, returned = (
        re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) if isinstance(text, str) else None
        for text in described[-2:]
    )
    return signature, returned


def setup(app: Sphinx) -> dict[str, bool]:
    """Lets pages hold tables that are made from the code: `{{ errors }}` is what `generated.errors` returns."""
    app.connect("source-read", _insert)
    app.connect("autodoc-process-signature", _named)
    for language in ("csv", "jsonl", "textproto"):  # Pygments has none for them, but the tests go by the name
        lexer_classes[language] = lexer_classes["none"]
    return {"parallel_read_safe": True}
