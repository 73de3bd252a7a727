"""Tables and numbers as aligned text, Markdown or CSV, safe for a terminal and a spreadsheet."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Signs that end or turn round a line in a terminal, beside those of the category "control".
_TURNING = frozenset("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as aligned text with a line under the first row.

    Example:
        >>> print(align([["task", "loss"], ["y1", "105.3"]]))
        task  loss
        ----  -----
        y1    105.3
    """
    rows = [list(map(printable, row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table, escaped."""
    lines = [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", printable(" ".join(text.split())))


def printable(text: str) -> str:
    r"""Return the text on one line, without signs that steer a terminal.

    Example:
        >>> print(printable("a\x1b[2Jb\nc"))
        a\x1b[2Jb c
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_printable_sign, text))


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as a CSV file in which no cell can act as a formula of a spreadsheet.

    A text that begins with one of ``= + - @`` and is no number gets an apostrophe in front, as
    OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection).

    Args:
        table: The table; its index is left out.

    Example:
        >>> import pandas as pd
        >>> print(csv_bytes(pd.DataFrame({"run": ["=1+1", "-2"], "loss": [-1.5, 2]})).decode())
        run,loss
        '=1+1,-1.5
        -2,2.0
        <BLANKLINE>
    """
    texts = table.copy(deep=False)
    texts.columns = [_cell(name) for name in table.columns]
    for place, dtype in enumerate(table.dtypes):
        if dtype.kind == "O":
            texts.isetitem(place, [_cell(value) for value in table.iloc[:, place]])
    return bytes(texts.to_csv(index=False, lineterminator="\n").encode())


def _cell(value: Any) -> Any:
    """Return a cell of a CSV file."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _printable_sign(sign: str) -> str:
    if sign in "\t\n\r":
        return " "
    if unicodedata.category(sign) in ("Cc", "Cs") or sign in _TURNING:
        return sign.encode("unicode_escape").decode()
    return sign


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits; nothing for None and NaN."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}g}"
