"""The code blocks of README.md and of the pages of the site, as a reader copies them."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.paths import ROOT

GENERATED = ("docs/methods/", "docs/_build/")
FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|:{3,})[ \t]*"
    r"(?:\{code-block\}[ \t]*)?(?P<language>[a-z]+)[ \t]*\n"
    r"(?P<text>.*?)\n(?P=indent)(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
COMMANDS = ("mtl-run", "mtl-compare", "mtl-predict", "mtl-export", "mtl-conform")
NEEDS = re.compile(r"<!--\s*needs:\s*([^>]*?)\s*-->\s*$")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: The page, below the project's folder.
        line: Where the block begins.
        language: ``bash``, ``python``, ``yaml`` or another one.
        text: The code.
        needs: What a machine must have to run it (``several machines``), from the comment before
            the block; empty if any can.
    """

    page: str
    line: int
    language: str
    text: str
    needs: str

    def __str__(self) -> str:
        """Return the place, which names the tests of the block."""
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the reader is told to write: its name is the comment in the first line."""
        name = re.match(r"# (\S+\.(?:py|yaml))\n", self.text)
        return name[1] if name and self.language in ("python", "yaml") else None

    @cached_property
    def commands(self) -> list[list[str]]:
        """The lines that run a command of ours, as words, without ``> file``."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [
            shlex.split(line.split(" > ")[0], comments=True)
            for line in lines
            if line.strip().startswith(COMMANDS)
        ]
        return [command for command in words if not any("..." in word for word in command)]


def pages() -> list[Path]:
    """Return README.md and the hand-written pages of the site."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in paths if not str(page.relative_to(ROOT)).startswith(GENERATED)]


def blocks_of(page: Path, root: Path = ROOT) -> Iterator[Block]:
    """Yield the code blocks of a page, which is named by its path below the root."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        code = re.sub(r"\A(:[\w-]+:.*\n)+\n?", "", textwrap.dedent(match["text"]) + "\n")
        needs = NEEDS.search(before)
        yield Block(
            page.relative_to(root).as_posix(),
            before.count("\n") + 1,
            match["language"],
            code,
            needs[1] if needs else "",
        )


BLOCKS = [block for page in pages() for block in blocks_of(page)]


def block_with(phrase: str) -> Block:
    """Return the first Python block that holds a phrase."""
    return next(block for block in BLOCKS if block.language == "python" and phrase in block.text)
