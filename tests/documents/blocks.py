"""The documents, as blocks of code that can be tried."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)(?P=fence)$", re.MULTILINE | re.DOTALL
)
_NEEDS_TENSORFLOW = re.compile(r"import tensorflow|styleserve\.(serving|export|model)\b")


@dataclass(frozen=True)
class Block:
    """A block of code in a document.

    Attributes:
        page: it stands in.
        line: Line of its fence.
        language: after the fence, as in "python"; "{eval-rst}" and the like are directives of the site.
        text: in it.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def needs_tensorflow(self) -> bool:
        return _NEEDS_TENSORFLOW.search(self.text) is not None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Call:
    """A command in a shell block.

    Attributes:
        block: it stands in.
        words: Words of the command, without variables before it, comments and redirections.
    """

    block: Block
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.block} {' '.join(self.words)}"


def blocks(language: str | None = None) -> list[Block]:
    """All blocks, or those of one language."""
    found: list[Block] = []
    for page in PAGES:
        if "_build" in page.parts:
            continue
        text = page.read_text()
        for fence in _FENCE.finditer(text):
            line = text.count("\n", 0, fence.start()) + 1
            block = Block(page, line, fence["info"].strip().split(" ")[0], textwrap.dedent(fence["text"]))
            if language in (None, block.language):
                found.append(block)
    return found


def calls(program: str) -> list[Call]:
    """All calls of a program in the shell blocks."""
    return [call for block in blocks("sh") for call in calls_of(block) if call.words[0] == program]


def calls_of(block: Block) -> Iterator[Call]:
    """The commands of a block, in order."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        command: list[str] = []
        for word in [*words, "&&"]:
            if word in ("&&", ";", "|"):
                if command:
                    yield Call(block, tuple(command))
                command = []
            elif not command and re.fullmatch(r"[A-Z_]+=.*", word):
                continue
            elif word in (">", "&"):
                break
            else:
                command.append(word)
        else:
            continue
        yield Call(block, tuple(command))
