"""The leaderboard as Markdown: its summary, a method's row, and all cells as one table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from as_markdown import code, table

from mtl_runner.errors.words import counted

REFERENCE = "reference"
AUTO = "fixed_auto"
COUNTED = (  # {column of leaderboard_methods.csv: how a sentence says it}
    ("better", "better on {}"),
    ("no difference", "no difference on {}"),
    ("hurts", "worse on {}"),
    ("undecided", "undecided on {}"),
    ("failed", "failed on {}"),
    ("not applicable", "not applicable on {}"),
)


def sentence(standing: Mapping[str, str]) -> str:
    """Return what the board says of a method, from its row of ``leaderboard_methods.csv``.

    Example:
        >>> row = dict.fromkeys(name for name, _ in COUNTED) | {"better": "3", "hurts": "1"}
        >>> row |= {"method": "famo", "problems": "4", "IQM of change %": "-5.2", "CPU": "1.9"}
        >>> row |= {"low": "-7", "high": "-3.1", "mean rank": "8.25"}
        >>> for part in sentence(row).split("; "):
        ...     print(part)
        On 4 small problems: better on 3, worse on 1
        interquartile mean of the change against equal weights -5.2 % (-7 to -3.1), mean rank 8.25
        1.9 times the processor time
    """
    counts = [
        words.format(standing[name])
        for name, words in COUNTED
        if standing[name] not in (None, "", "0")
    ]
    problems = int(standing["problems"])
    parts = [f"On {counted(problems, 'small problem')}: {', '.join(counts)}"]
    if standing["IQM of change %"]:
        change = f"{standing['IQM of change %']} % ({standing['low']} to {standing['high']})"
        parts.append(
            f"interquartile mean of the change against equal weights {change}, mean rank {standing['mean rank']}"
        )
    if standing["CPU"]:
        parts.append(f"{standing['CPU']} times the processor time")
    return "; ".join(parts)


def entry(standings: Iterable[Mapping[str, str]], method: str) -> str:
    """Return what a method's card says of the board; empty where it has no row.

    Equal weights are what others are compared with: the card of ``fixed`` has its other weights.

    Args:
        standings: The rows of ``leaderboard_methods.csv``.
        method: The method.
    """
    name, start = (AUTO, "`weighting.weights=auto`: ") if method == "fixed" else (method, "")
    row = next((row for row in standings if row["method"] == name), None)
    return "" if row is None else f"{start}{sentence(row)}"


def summary(rows: Sequence[Mapping[str, str]]) -> str:
    """Return how many cells there are, and how often each verdict was given.

    Args:
        rows: The rows of ``leaderboard.csv``.
    """
    judged = [row for row in rows if row["verdict"] != REFERENCE]
    methods = Counter(row["method"] for row in judged)
    problems = dict.fromkeys(row["problem"] for row in rows)
    complete = sum(count == len(problems) for count in methods.values())
    counts = Counter(row["verdict"] for row in judged)
    verdicts = ", ".join(
        f"*{kind}* in {count} ({100 * count / len(judged):.0f} %)"
        for kind, count in counts.most_common()
    )
    seconds = [float(row["CPU s"]) for row in rows if row["CPU s"]]
    part = "" if complete == len(methods) else f", {complete} of them on all"
    return (
        f"{counted(len(judged), 'cell')} beside those of equal weights: {counted(len(methods), 'method')} on "
        f"{counted(len(problems), 'problem')}{part}. The verdict is {verdicts}. "
        f"The 15 runs of a cell take {median(seconds):.1f} s of one core in the median, {max(seconds):.1f} s at most.\n"
    )


def edges(rows: Sequence[Mapping[str, str]], problems: Iterable[Mapping[str, str]]) -> str:
    """Return how often the best learning rate is the largest or the smallest that was tried.

    Args:
        rows: The rows of ``leaderboard.csv``.
        problems: The rows of ``leaderboard_problems.csv``.

    Example:
        >>> problems = [{"problem": "digits", "command": "mtl-run optimizer.lr=0.1,0.3,1 seed=0"}]
        >>> edges([{"problem": "digits", "lr": lr} for lr in ("0.1", "0.3", "0.3", "1", "1")], problems)
        'the largest in 40 %, the smallest in 20 % of the cells'
    """
    tried = {
        row["problem"]: re.findall(r"optimizer\.lr=(\S+)", row["command"])[0].split(",")
        for row in problems
    }
    chosen = [row for row in rows if row["lr"]]
    largest, smallest = (
        100 * sum(row["lr"] == tried[row["problem"]][end] for row in chosen) / len(chosen)
        for end in (-1, 0)
    )
    return f"the largest in {largest:.0f} %, the smallest in {smallest:.0f} % of the cells"


def board(rows: Sequence[Mapping[str, str]], order: Sequence[str]) -> str:
    """Return all cells as a table with a row per method and a column per problem.

    Args:
        rows: The rows of ``leaderboard.csv``.
        order: The methods, the best first.
    """
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    cells = {(row["method"], row["problem"]): _cell(row) for row in rows}
    body = [
        [method_link(method), *(cells.get((method, problem), "") for problem in problems)]
        for method in order
    ]
    return table(["method", *map(code, problems)], body, numbers=True)


def method_link(method: str) -> str:
    """Return a link to the card of a method.

    Example:
        >>> method_link("fixed_auto")
        '[fixed_auto](methods/weighting/fixed.md)'
    """
    return f"[{method}](methods/weighting/{'fixed' if method == AUTO else method}.md)"


def _cell(row: Mapping[str, str]) -> str:
    """Return the change of a cell: bold where it is better, in italics where it hurts."""
    verdict = row["verdict"]
    if verdict in ("failed", "not applicable"):
        return {"failed": "failed", "not applicable": "n/a"}[verdict]
    if verdict == REFERENCE or not row["change %"]:
        return "0" if verdict == REFERENCE else "?"
    change = f"{float(row['change %']):+.1f}"
    marks = {
        "better than equal weights": f"**{change}**",
        "hurts": f"*{change}*",
        "no difference": f"{change} =",
    }
    return marks.get(verdict, change)
