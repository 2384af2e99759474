"""Words that this project avoids are in no code and no document; `language.py` has the list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .language import ALLOWED, AVOIDED, ROOT, findings, text_files

FILES = text_files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_avoided_words(path: Path) -> None:
    assert [str(each) for each in findings(path)] == []


def test_every_folder_is_searched() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith((".", "build"))}
    assert folders <= {path.relative_to(ROOT).parts[0] for path in FILES}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# The run goes\n# on.\n", [(1, "goes on")]),
        ('x = "The server is " "told."\n', [(1, "told")]),
        ("def test_somebody_waits() -> None: ...\n", [(1, "somebody")]),
        ('x = f"{1}\\nNobody waits."\n', [(1, "Nobody")]),
        ("x = 1  # recommended and untold\n", []),
        ('"""Sum of two numbers."""\n', []),
        ('"""What it sums."""\n', [(1, "What")]),
        ('x = 1\n"""Of the server."""\n', [(2, "Of")]),
        ('"""Sum.\n\nArgs:\n    one: Of the client.\n    two: Second.\n"""\n', [(4, "one: Of")]),
        ('"""Sum.\n\nArgs:\n    one (int): that is added.\n"""\n', [(4, "one (int): that")]),
        ('"""Sum.\n\nReturns:\n    What is left.\n"""\n', [(4, "Returns: What")]),
        ('"""Sum.\n\n- where it is sent\n"""\n', [(3, "- where")]),
        ('"""Sum of a list.\n\nReturns:\n    Ofcom\'s number.\n"""\n', []),
    ],
)
def test_findings_in_code(tmp_path: Path, text: str, found: list[tuple[int, str]]) -> None:
    path = tmp_path / "code.py"
    path.write_text(text)
    assert [(each.line, each.text) for each in findings(path)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One line.\nIt went\non.\n", [(2, "went on")]),
        ("# Loopback, as it\n# is for nobody.\n", [(1, "as it is"), (2, "nobody")]),
        ("Runs as user\nnobody, as far as it is known.\n", []),
        ("Tests of old callers, as\nof old: two.\n", [(2, "of old")]),
        ("MENDED: may this user? Whatever.\n", [(1, "MENDED"), (1, "Whatever"), (1, "may this user?")]),
    ],
)
def test_findings_in_documents(tmp_path: Path, text: str, found: list[tuple[int, str]]) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    assert sorted((each.line, each.text) for each in findings(path)) == found


@pytest.mark.parametrize("phrase", [phrase.replace("\\", "") for phrase in AVOIDED if "(" not in phrase])
def test_each_avoided_phrase_is_found(tmp_path: Path, phrase: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"A {phrase} B")
    assert [each.text for each in findings(path)] == [phrase]


@pytest.mark.parametrize("phrase", ALLOWED)
def test_each_allowed_phrase_has_an_avoided_word(tmp_path: Path, phrase: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(phrase)
    assert findings(path) == []
    assert any(re.search(avoided, phrase) for avoided in AVOIDED)
