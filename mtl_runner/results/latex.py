r"""The table of strategies in LaTeX, for booktabs and siunitx: best bold, second underlined."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence, Set

from mtl_runner.errors.words import counted
from mtl_runner.results.names import short_names
from mtl_runner.results.table import Cell, Column, StrategyTable
from mtl_runner.results.text import printable

ERRORS = {  # what stands beside a mean, and how a caption calls it
    "half": r"mean $\pm$ half of the 95\,\% interval",
    "ends": r"mean with its 95\,\% interval",
    "sd": r"mean $\pm$ standard deviation",
    "none": "mean",
}
MARK = "$^{*}$"
# A table that is wider than the text, or than the column of a paper that has two, is scaled down.
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
LONGEST = 40  # letters of a strategy's name
_TITLES = {  # of numbers over all tasks
    "relative_loss": "relative loss",
    "delta_m": r"$\Delta_m$ (\%)",
    "delta_m_task": r"$\Delta_m$ (\%, tasks)",
}
_SPLITS = {"val": "validation", "test": "test"}
_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def latex(tables: Sequence[StrategyTable], error: str = "half") -> str:
    """Return a ``table`` environment per data set.

    Args:
        tables: The table of every data set.
        error: What stands beside a mean: ``half``, ``ends``, ``sd`` or ``none``.
    """
    head = r"% Needs \usepackage{booktabs}, \usepackage{graphicx} and \usepackage{siunitx}."
    return "\n\n".join([head, *(_table(table, error) for table in tables)])


def escape(text: str) -> str:
    r"""Return a text that LaTeX shows as it is.

    Example:
        >>> print(escape("fixed y_1=50 %"))
        fixed y\_1=50 \%
    """
    return "".join(_ESCAPES.get(sign, sign) for sign in printable(text))


def _table(table: StrategyTable, error: str) -> str:
    differing = table.differing()
    marked = {key: names for key, names in differing.items() if names}
    runs = sorted({runs for runs, _ in table.runs})
    shows_runs = len(runs) > 1
    columns = _without_twice(table.columns)
    specification = " ".join(
        _specification(c, error, bool(marked.get((c.task, c.metric)))) for c in columns
    )
    lines = [
        *(f"% {printable(note)}" for note in table.notes),
        *(f"% {line}" for line in _about_marks(table, differing)),
        r"\begin{table}",
        r"  \centering",
        r"  \setlength{\belowcaptionskip}{4pt}",
        f"  \\caption{{{_caption(table, error, bool(marked), runs)}}}",
        f"  \\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', table.data).strip('-') or 'strategies'}}}",
        f"  {FIT}",
        f"  \\begin{{tabular}}{{l{'r' if shows_runs else ''} {specification}}}",
        r"    \toprule",
        *(f"    {line}" for line in _header(columns, shows_runs)),
        r"    \midrule",
    ]
    cells = [_cells(c, error, marked.get((c.task, c.metric), set()), table) for c in columns]
    names = short_names(table.strategies, LONGEST)
    for place, strategy in enumerate(table.strategies):
        count = [table.count(place)] if shows_runs else []
        row = [escape(names[strategy.name]), *count, *(column[place] for column in cells)]
        lines.append(f"    {' & '.join(row)} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}}", r"\end{table}"])


def _without_twice(columns: Sequence[Column]) -> list[Column]:
    """Return the columns without a delta-m over tasks that prints as that over metrics does."""
    printed = [
        [_number(cell.mean, column.decimals) for cell in column.cells]
        for column in columns
        if column.metric in ("delta_m", "delta_m_task")
    ]
    is_twice = len(printed) == 2 and printed[0] == printed[1]
    return [c for c in columns if not (is_twice and c.metric == "delta_m_task")]


def _about_marks(table: StrategyTable, differing: dict[tuple[str, str], set[str]]) -> list[str]:
    """Return a remark on why no difference is marked."""
    if not differing and table.seeds < 2:
        return []
    if not table.can_differ:
        return [
            f"No difference is marked: {counted(table.seeds, table.evidence.replicate)} cannot reach p < .05."
        ]
    return []


def _caption(table: StrategyTable, error: str, is_marked: bool, runs: Sequence[int]) -> str:
    count = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}" if runs else "0"
    over = f"{ERRORS[error]} over {count} runs" if runs and runs[-1] > 1 else "one run each"
    sentences = [
        f"Strategies on {escape(table.data)}, {_SPLITS[table.split]} split, {table.at} epoch: {over}.",
        r"Bold: best; underlined: second best.",
    ]
    if is_marked:
        sentences.append(
            f"{MARK}: differs from equal weights ($p < .05$, paired sign-flip test, Holm's correction over the strategies)."
        )
    return " ".join(sentences)


def _header(columns: Sequence[Column], shows_runs: bool) -> list[str]:
    """Return the rows of the header: the tasks, their rules, and the metrics with their arrows."""
    first = 2 + shows_runs
    tasks, rules = [], []
    for task, members in itertools.groupby(columns, key=lambda column: column.task):
        count = len(list(members))
        tasks.append(f"\\multicolumn{{{count}}}{{c}}{{{escape(task)}}}")
        if task:
            rules.append(f"\\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    names = [_metric(column) for column in columns]
    blank = ["", ""] if shows_runs else [""]
    lines = [f"{' & '.join([*blank, *tasks])} \\\\", " ".join(rules)] if rules else []
    titles = ["Strategy", *(["{runs}"] if shows_runs else []), *names]
    return [*lines, f"{' & '.join(titles)} \\\\"]


def _metric(column: Column) -> str:
    text = _TITLES.get("" if column.task else column.metric, "")
    text = text or escape(column.metric if column.task else column.title)
    if column.higher_is_better is None:
        return f"{{{text}}}"
    arrow = r"$\uparrow$" if column.higher_is_better else r"$\downarrow$"
    return f"{{{text} {arrow}}}"


def _specification(column: Column, error: str, is_marked: bool) -> str:
    """Return the specification of a column: siunitx's ``S``, or ``r`` for ends of intervals."""
    if error == "ends":
        return "r"
    numbers = [_number(cell.mean, column.decimals) for cell in column.cells]
    digits_before = max((len(n.lstrip("-").split(".")[0]) for n in numbers if n), default=1)
    sign = "-" if any(n.startswith("-") for n in numbers) else ""
    errors = [_error(cell, error, column.decimals) for cell in column.cells]
    digits = max((len(e.replace(".", "").lstrip("0") or "0") for e in errors if e), default=0)
    options = [
        f"table-format={sign}{digits_before}.{column.decimals}{f'({digits})' if digits else ''}"
    ]
    options += ["separate-uncertainty", "table-align-uncertainty=false"] if digits else []
    options += ["detect-weight"]
    options += [f"table-space-text-post={{{MARK}}}"] if is_marked else []
    return f"S[{', '.join(options)}]"


def _cells(column: Column, error: str, marked: Set[str], table: StrategyTable) -> list[str]:
    cells = []
    for cell, place, strategy in zip(column.cells, column.places, table.strategies, strict=True):
        is_marked = strategy.name in marked
        mark = MARK if is_marked else f"\\phantom{{{MARK}}}" if marked else ""
        if not math.isfinite(cell.mean):
            cells.append("{--}")
        elif error == "ends":
            cells.append(_with_ends(cell, place, column.decimals) + mark)
        else:
            cells.append(_with_error(cell, place, column.decimals, error, mark, is_marked))
    return cells


def _with_ends(cell: Cell, place: int, decimals: int) -> str:
    """Return a mean and the ends of its interval, of a column of plain text."""

    def shown(value: float) -> str:
        return f"\\num[detect-weight]{{{_number(value, decimals)}}}"

    text = shown(cell.mean)
    if math.isfinite(cell.low):
        text += f" [{shown(cell.low)}, {shown(cell.high)}]"
    return {1: f"\\textbf{{{text}}}", 2: f"\\underline{{{text}}}"}.get(place, text)


def _with_error(
    cell: Cell, place: int, decimals: int, error: str, mark: str, is_marked: bool
) -> str:
    """Return a mean and its error for a column of siunitx; underlined text is no number to it."""
    half = _error(cell, error, decimals)
    text = _number(cell.mean, decimals) + (f" +- {half}" if half else "")
    if place == 2:
        options = "[separate-uncertainty]" if half else ""
        return f"{{\\underline{{\\num{options}{{{text}}}}}{mark}}}"
    return ("\\bfseries " if place == 1 else "") + text + (f" {{{mark}}}" if is_marked else "")


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else ""


def _error(cell: Cell, error: str, decimals: int) -> str:
    """Return what stands after the ± sign; empty for nothing."""
    value = {"half": cell.half, "sd": cell.deviation}.get(error, math.nan)
    return _number(value, decimals)
