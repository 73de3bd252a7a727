"""Sentences from ``docs/tables/verdicts.csv``: what the fair studies say of the strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from as_markdown import code, escaped

Row = Mapping[str, str]
FIXED = "best fixed weights"
LOSS = "mean relative loss"


def named(strategy: str) -> str:
    """Return a strategy as Markdown: an option in code, words as they are."""
    return strategy if " " in strategy else code(strategy)


def change(value: str, low: str, high: str, reference: str) -> str:
    """Return how a loss compares with another one; empty if nothing was measured.

    Args:
        value: The difference in percent, negative if lower; empty where only the interval is known.
        low: Lower end of its 95 % interval, may be empty.
        high: Upper end, may be empty.
        reference: What it is compared with.

    Example:
        >>> change("-16", "-23", "-8.1", "the best fixed weights")
        '16 % less than the best fixed weights (95 % interval 8.1 to 23)'
        >>> change("7.9", "-20", "45", "equal weights")
        '7.9 % more than equal weights (95 % interval 20 % less to 45 % more)'
        >>> change("", "-2.4", "1.8", "equal weights")
        'between 2.4 % less and 1.8 % more than equal weights'
    """
    if value:
        interval = ""
        if low and high:
            ends = sorted((abs(float(low)), abs(float(high))))
            interval = f" (95 % interval {ends[0]:g} to {ends[1]:g})"
            if float(low) < 0 < float(high):
                interval = f" (95 % interval {_size(low)} to {_size(high)})"
        return f"{_size(value)} than {reference}{interval}"
    if low and high:
        return f"between {_size(low)} and {_size(high)} than {reference}"
    return ""


def _size(percent: str) -> str:
    return f"{abs(float(percent)):g} % {'less' if float(percent) < 0 else 'more'}"


def sentence(row: Row) -> str:
    """Return what a study says of a strategy, without the problem."""
    parts = [
        change(row["to equal weights %"], row["low"], row["high"], "equal weights"),
        change(
            row["to best fixed weights %"],
            row["low (fixed)"],
            row["high (fixed)"],
            "the best fixed weights",
        ),
        escaped(row["remark"]),
    ]
    parts = [part for part in parts if part]
    if parts and any(row[column] for column in ("to equal weights %", "low")):
        parts[0] = parts[0].replace(" than ", f" {LOSS} than ", 1)
    verdict = f"**{row['verdict']}**"
    return f"{named(row['strategy'])}: {verdict}{'; ' if parts else ''}{', '.join(parts)}"


def evidence(rows: Sequence[Row], strategy: str) -> list[str]:
    """Return a sentence per problem on which a strategy was studied."""
    return [f"on {row['problem']}, {sentence(row)}" for row in rows if row["strategy"] == strategy]


def summary(rows: Sequence[Row]) -> str:
    """Return how often a weighting helped, hurt or made no difference."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    weightings = [row for row in rows if row["strategy"] != FIXED]
    helped = _by_problem(weightings, "helps")
    hurt = _by_problem(weightings, "hurts")
    equal = [
        problem
        for problem in problems
        if all(row["verdict"] == "no difference" for row in weightings if row["problem"] == problem)
    ]
    names = f" ({', '.join(equal)})" if equal else ""
    lines = [
        f"On {len(helped)} of {len(problems)} problems a weighting beat the best fixed weights{_listed(helped)}.",
        f"On {len(equal)} the weighting made no difference{names}.",
        f"On {len(hurt)} a weighting hurt{_listed(hurt)}.",
    ]
    for row in rows:
        if row["strategy"] == FIXED and row["problem"] in helped and row["to equal weights %"]:
            lines.append(
                f"Where one helped ({row['problem']}), the best fixed weights alone had "
                f"{_size(row['to equal weights %'])} {LOSS} than equal weights."
            )
    return " ".join(lines)


def _by_problem(rows: Sequence[Row], verdict: str) -> dict[str, list[str]]:
    strategies: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] == verdict:
            strategies.setdefault(row["problem"], []).append(row["strategy"])
    return strategies


def _listed(strategies: Mapping[str, Sequence[str]]) -> str:
    """Return the problems with the strategies in brackets."""
    entries = [
        f"{problem}: {', '.join(named(name) for name in names)}"
        for problem, names in strategies.items()
    ]
    return f" ({'; '.join(entries)})" if entries else ""


def studies_list(rows: Sequence[Row], studies: Sequence[Row]) -> str:
    """Return the studies one after another: problem, verdicts, runs and command."""
    blocks = []
    for study in studies:
        verdicts = "\n".join(
            f"- {sentence(row)}" for row in rows if row["problem"] == study["problem"]
        )
        runs = (
            f"{study['runs']} runs in {study['minutes']} minutes on 2 cores, "
            f"{study['seeds']} final seeds, test split:"
        )
        blocks.append(
            f"**{escaped(study['problem'])}** ({escaped(study['tasks'])})\n\n{verdicts}\n\n"
            f"{runs}\n\n```bash\n{study['command']}\n```\n"
        )
    return "\n".join(blocks)
