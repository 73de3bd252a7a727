"""A list of the places where names, docstrings or long lines would stop a newcomer.

``python -m tests.support.prose mtl_runner/weighting`` prints it for a folder.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

LINE_LENGTH = 100

# As part of a name (``found_runs``): words that say how a thing was got, not what it is.
DIALECT_NAMES = {
    "found", "mine", "said", "further", "alike", "opened", "told", "worded", "everyone", "whoever",
    "anybody", "somebody", "theirs", "himself", "itself", "thing", "things", "stuff", "meddle",
}  # fmt: skip
# As a whole name: too little to know what is meant.
BARE_NAMES = {
    "own", "rest", "last", "each", "one", "other", "others", "all_of_it", "what", "who", "where",
    "whole",
}  # fmt: skip
# A docstring that begins so has no subject and no verb.
DIALECT_BEGINNINGS = ("Of ", "Those ", "That of ", "That ", "What ", "All of it", "Do it", "Its ")
DIALECT_PHRASES = (
    "as it should be",
    "whatever comes out",
    "have been so far",
    "by himself",
    "of its own accord",
    "so that nobody",
    "anybody's",
    "is alike",
    "whoever",
    "the said",
    "one's own",
    "as ever",
    "has its say",
)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def python_files(*paths: Path) -> list[Path]:
    """Return the Python files at or under the paths."""
    return sorted(
        file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))
    )


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of whatever a file names: variables, arguments, functions, classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, DEFINITIONS) and not node.name.startswith("test_"):
            yield node.lineno, node.name


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring of a file."""
    for node in ast.walk(tree):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def arguments_on_one_line(text: str) -> list[str]:
    """Return the lines of an ``Args:`` section that describe several arguments."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    lines = section.group(1).splitlines() if section else []
    return [
        line.strip()
        for line in lines
        if re.match(r"\s+\w+, \w+:", line) or re.search(r"\. \w+: \w", line)
    ]


def dialect(path: Path) -> list[str]:
    """Return a line for every place in a file that a newcomer would stumble over."""
    source = path.read_text()
    tree = ast.parse(source)
    file = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    complaints = []
    for line, name in names(tree):
        words = set(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_"))
        if words & DIALECT_NAMES or name in BARE_NAMES:
            complaints.append(f"{file}:{line}: the name {name}")
    for line, text in docstrings(tree):
        if text.startswith(DIALECT_BEGINNINGS):
            complaints.append(f"{file}:{line}: begins without subject or verb: {text[:60]!r}")
        complaints += [f"{file}:{line}: {p!r}" for p in DIALECT_PHRASES if p in text.lower()]
        complaints += [
            f"{file}:{line}: several arguments on one line: {row}"
            for row in arguments_on_one_line(text)
        ]
    for number, row in enumerate(source.splitlines(), 1):
        if len(row) > LINE_LENGTH and not is_one_piece(row):
            complaints.append(f"{file}:{number}: {len(row)} characters")
    return complaints


def is_one_piece(row: str) -> bool:
    """Return whether a long line may be long: it holds a URL, or a sentence for the user."""
    sentence = re.search(r"""(["'])(?:(?!\1).){60,}""", row)
    return "://" in row or (sentence is not None and '"""' not in row)


if __name__ == "__main__":
    for file in python_files(*(Path(argument).resolve() for argument in sys.argv[1:])):
        print(*dialect(file), sep="\n", end="\n" if dialect(file) else "")
