"""Markdown text from plain text: what the generated pages and the directives share."""

from __future__ import annotations

import re
from collections.abc import Sequence


def escaped(text: str) -> str:
    r"""Return text so that Markdown shows it as it is; addresses become links.

    Example:
        >>> escaped("a*b, https://arxiv.org/abs/1")
        'a\\*b, <https://arxiv.org/abs/1>'
    """
    parts = re.split(r"(https?://[^\s,;)]+)", text)
    return "".join(
        f"<{part}>" if part.startswith("http") else re.sub(r"([\\`*_{}\[\]<>$|~^#])", r"\\\1", part)
        for part in parts
    )


def code(text: str) -> str:
    """Return text as a code span, also where it holds backticks."""
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def cell(text: str) -> str:
    """Return a Markdown text so that it fits into a cell of a table."""
    return text.replace("\n", " ").replace("|", "\\|") if "\\|" not in text else text


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """Return a Markdown table.

    Args:
        columns: The names of the columns, as Markdown.
        rows: The cells, as Markdown.
        numbers: Whether all columns but the first stand to the right.
    """
    rule = ["---", *(["---:" if numbers else "---"] * (len(columns) - 1))]
    lines = [columns, rule, *rows]
    return "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines) + "\n"
