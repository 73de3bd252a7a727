"""Short names of strategies, for pictures and tables of a paper."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from mtl_runner.results.records.evidence import StrategyEvidence

LONGEST = 28  # letters of a name beside a row


def short_names(strategies: Sequence[StrategyEvidence], longest: int = LONGEST) -> dict[str, str]:
    """Return a name for every strategy that is short enough to stand beside a row; no two agree.

    Numbers, which a search makes of sixteen digits, are rounded to four. Fixed weights of many
    tasks are called so where they are the only ones; of other long names the settings that are the
    default are left out, and of those that remain the last ones.

    Example:
        >>> equal = StrategyEvidence("equal", "equal")
        >>> fixed = StrategyEvidence("fixed digit=1.2 parity=0.4 ink=0.3 image=2.1", "fixed")
        >>> tuned = StrategyEvidence("uncertainty, lr=0.01, optimizer.momentum=0.9", "strategy")
        >>> list(short_names([equal, fixed, tuned]).values())
        ['equal', 'best fixed weights', 'uncertainty, lr=0.01, ...']
    """
    fixed = [strategy for strategy in strategies if strategy.role == "fixed"]
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for strategy in strategies:
        rounded = re.sub(r"\d+\.\d{4,}(e-?\d+)?", _four_digits, strategy.name)
        name = _cut(rounded, longest)
        if name != rounded and [strategy] == fixed:
            name = "best fixed weights"
        counts[name] += 1
        names[strategy.name] = f"{name} ({counts[name]})" if counts[name] > 1 else name
    return names


def _four_digits(number: re.Match[str]) -> str:
    return f"{float(number[0]):.4g}"


def _cut(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    first, *settings = name.split(", ")
    changed = [setting for setting in settings if not setting.endswith("=default")]
    if settings and not changed:
        return f"{first} (defaults)"
    if len(", ".join([first, *changed])) <= longest:
        return ", ".join([first, *changed])
    while changed and len(", ".join([first, *changed, "..."])) > longest:
        changed.pop()
    short = ", ".join([first, *changed, "..."])
    return short if len(short) <= longest else f"{name[: longest - 3]}..."
