"""Words and phrases that this project avoids, and the places that have them.

`python -m tests.documents.language` counts them by folder; with paths it lists the places.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]

AVOIDED: Final = {
    "nobody": "name who or what does not: no user, no server",
    "somebody": "name the user or the process",
    "whoever": "name the user or the process",
    "whatever": "name what is meant: any text, each error",
    "told": "sent, given, reported, documented",
    "found to be": "is",
    "(go|goes|going|went|gone) on": "continue, resume",
    "as it is": "unchanged",
    r"of old(?!\s+\w)": "formerly; a noun may follow, as in `of old files`",
    "in its midst": "inside",
    "mend(s|ed|ing)?": "fix",
    r"may this user\?": "check that the user may read the file",
}
"""Patterns of words, each with what to write in its place."""

ALLOWED: Final = {
    "as far as it is": "limits a statement",
    "user nobody": "a user of Unix",
}
"""Phrases that have an avoided word for a reason, each with that reason."""

_SUFFIXES: Final = frozenset({".py", ".md", ".yaml", ".yml", ".config", ".env", ".toml", ".json", ".proto", ".sh"})
_NAMES: Final = frozenset({"Makefile", "Dockerfile", "run"})
_FOLDERS: Final = (
    "benchmarks",
    "bulk",
    "client",
    "demo",
    "docs",
    "examples",
    "export",
    "model",
    "serving",
    "studio",
    "styleserve",
    "tests",
    ".ci",
)
_IGNORED: Final = frozenset({"__pycache__", "_build", "results"})
"""Folders of generated files, and of figures with the commands that made them."""

_OWN: Final = frozenset({"language.py", "test_language.py"})
"""Files that have to name the words."""


def _pattern(phrase: str) -> re.Pattern[str]:
    end = "" if phrase.endswith("?") else r"\b"
    return re.compile(r"\b" + phrase.replace(" ", r"\s+") + end, re.IGNORECASE)


_AVOIDED: Final = {_pattern(phrase): advice for phrase, advice in AVOIDED.items()}
_ALLOWED: Final = tuple(_pattern(phrase) for phrase in ALLOWED)

_VAGUE: Final = r"(of|that|what|whoever|where)\b"
_VAGUE_START: Final = re.compile(rf"\s*{_VAGUE}", re.IGNORECASE)
_VAGUE_ENTRY: Final = re.compile(
    rf"^[ ]*([-*]|\*{{0,2}}[\w.]+( \([^)]*\))?:|(Returns|Yields|Raises):\n)\s+{_VAGUE}", re.IGNORECASE | re.MULTILINE
)


class Finding(NamedTuple):
    """A place with a word to avoid.

    Attributes:
        path: File.
        line: Line in the file.
        text: Words that were found.
        advice: Text to write in their place.
    """

    path: Path
    line: int
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.text!r}: {self.advice}"


def text_files(*places: str) -> list[Path]:
    """Files of code and documents under these paths, relative to the repository; all of its files without paths."""
    places = places or (*_FOLDERS, *(path.name for path in ROOT.glob("*.md")), "Makefile", "pyproject.toml")
    found: set[Path] = set()
    for place in places:
        path = ROOT / place
        found |= {path} if path.is_file() else {each for each in path.rglob("*") if _is_text(each)}
    return sorted(found)


def _is_text(path: Path) -> bool:
    inside = path.relative_to(ROOT)
    # styleserve/ has a link to each room, which stands beside it.
    linked = any((ROOT / parent).is_symlink() for parent in inside.parents)
    generated = _IGNORED.intersection(inside.parts)
    return path.is_file() and not linked and not generated and (path.suffix in _SUFFIXES or path.name in _NAMES)


def findings(path: Path) -> list[Finding]:
    """Places in a file, in the order of their lines."""
    if path.name in _OWN:
        return []
    text = path.read_text(encoding="utf-8")
    found = [*_words_of_code(path, text), *_vague_docstrings(path, text)] if path.suffix == ".py" else []
    if path.suffix != ".py":
        prose = re.sub(r"^ *#(?= )", lambda mark: " " * len(mark[0]), text, flags=re.MULTILINE)
        found = _words(path, prose, 1)
    return sorted(set(found), key=lambda each: each.line)


def _words(path: Path, text: str, line: int) -> list[Finding]:
    for allowed in _ALLOWED:
        text = allowed.sub(lambda phrase: re.sub(r"\S", "-", phrase[0]), text)
    return [
        Finding(path, line + text.count("\n", 0, match.start()), re.sub(r"\s+", " ", match[0]), advice)
        for pattern, advice in _AVOIDED.items()
        for match in pattern.finditer(text)
    ]


def _words_of_code(path: Path, text: str) -> Iterator[Finding]:
    """Places in texts, comments and names. A phrase may be divided between two lines of a text or comment."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            last = node.end_lineno or node.lineno  # `\\n` in a text counts as a line, and is none
            yield from (each._replace(line=min(each.line, last)) for each in _words(path, node.value, node.lineno))
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield from _words(path, token.string.replace("_", " "), token.start[0])
        if token.type == tokenize.COMMENT:
            comments.append((token.start[0], token.string.lstrip("# ")))
    for block in _adjacent(comments):
        yield from _words(path, "\n".join(comment for _, comment in block), block[0][0])


def _adjacent(comments: Iterable[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    blocks: list[list[tuple[int, str]]] = []
    for comment in comments:
        if blocks and blocks[-1][-1][0] == comment[0] - 1:
            blocks[-1].append(comment)
        else:
            blocks.append([comment])
    return blocks


def _vague_docstrings(path: Path, text: str) -> Iterator[Finding]:
    """Docstrings, also those of attributes, and their entries that begin without a noun."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstring = node.value.value
            starts = [*_VAGUE_ENTRY.finditer(docstring)]
            if first := _VAGUE_START.match(docstring):
                starts.append(first)
            for start in starts:
                line = node.lineno + docstring.count("\n", 0, start.end())
                yield Finding(path, line, " ".join(start[0].split()), "begin with the noun")


def main(places: list[str]) -> None:
    """Prints the findings under these paths, or counts those of the repository by folder."""
    if places:
        for path in text_files(*places):
            for found in findings(path):
                print(found)
        return
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in text_files() for _ in findings(path))
    for folder, count in sorted(counts.items()):
        print(f"{count:5} {folder}")
    print(f"{counts.total():5} in all")


if __name__ == "__main__":
    main(sys.argv[1:])
