"""The verdicts at the top of a report. A report without one is still a report: whatever hinders them is said in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from mtl_runner.errors import MtlError
from mtl_runner.results.read import Run
from mtl_runner.results.sentences import basis, effects
from mtl_runner.results.strategies import label

if TYPE_CHECKING:
    from mtl_runner.results.conclusions import Conclusions
    from mtl_runner.results.verdict import Verdict

# What matters most to a reader comes first.
ORDER = ("helps", "hurts", "static weights suffice", "undecided", "no difference")
MARKS = {
    "helps": "▲",
    "hurts": "▼",
    "static weights suffice": "◆",
    "undecided": "?",
    "no difference": "=",
}
SHOWN = 8
NONE = "No verdict: "


def verdict_html(runs: Sequence[Run], at: str, conclusions: Conclusions | None = None) -> str:
    """The answer and the verdicts per data set, or why there is none.

    Args:
        conclusions: if they are already drawn.
    """
    try:
        if conclusions is None:
            from mtl_runner.results.conclusions import conclude

            conclusions = conclude(runs, label(runs), at)
        found = [v for v in conclusions.verdicts if v.versus_equal is not None]
        names = list(dict.fromkeys(v.data for v in conclusions.verdicts))
        answers = {name: next(iter(conclusions.sentences(name)), "") for name in names}
        bases = {
            name: basis(found, name, conclusions.evidence.split, conclusions.evidence.at)
            for name in names
        }
        data = dict.fromkeys(
            [
                *(each.name for each in conclusions.evidence.sets),
                *(where.data for where in conclusions.shown[1]),
            ]
        )
        missing = list(dict.fromkeys(line for name in data for line in conclusions.missing(name)))
    except MtlError as error:
        return _none(str(error))
    except Exception as error:  # the tables and curves stand without it
        return _none(f"It could not be drawn ({type(error).__name__}: {error}).")
    if not found:
        reason = next(
            (line for line in missing if line.startswith(NONE)),
            f"{NONE}there is no strategy beside equal weights.",
        )
        text = reason.removeprefix(NONE)
        return _none(text[:1].upper() + text[1:]) + _lacks(
            [line for line in missing if line != reason]
        )
    reach = _reach(found)
    parts = []
    for name in names:
        mine = sorted(
            (v for v in found if v.data == name),
            key=lambda v: ORDER.index(v.kind) if v.kind in ORDER else len(ORDER),
        )
        items = [_item(v, reach) for v in mine]
        first, rest = items[:SHOWN], items[SHOWN:]
        more = (
            f'<details><summary>{len(rest)} more</summary><ul class="verdicts">{"".join(rest)}</ul></details>'
            if rest
            else ""
        )
        answer = (
            f'<p class="answer">{_text(answers[name])}</p><p class="basis">{_text(bases[name])}</p>'
            if answers[name]
            else ""
        )
        ends = '<p class="ends" aria-hidden="true"><span>better</span><span>equal weights</span><span>worse</span></p>'
        parts.append(
            f'{answer}{ends if first else ""}<ul class="verdicts">{"".join(first)}</ul>{more}'
        )
    return "".join(parts) + _lacks(missing)


def _text(text: str) -> str:
    """Escaped, and no line ends between a number and its percent sign."""
    return escape(text).replace(" %", "&nbsp;%")


def _lacks(lines: Sequence[str]) -> str:
    return (
        f'<ul class="lacks">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'
        if lines
        else ""
    )


def _item(verdict: Verdict, reach: float) -> str:
    kind, sentence = escape(verdict.kind), _text(verdict.sentence)
    of_fixed = verdict.role == "fixed" and verdict.kind == "static weights suffice"
    words = (
        "fixed weights help" if of_fixed else kind
    )  # they suffice only where no method does better
    if verdict.sentence.startswith(verdict.strategy):
        name = _text(verdict.strategy)
        sentence = f"<strong>{name}</strong>{sentence.removeprefix(name)}"
    tasks = f'<p class="effects">{_text(effects(verdict))}</p>' if effects(verdict) else ""
    return (
        f'<li class="verdict v-{kind.replace(" ", "-")}"><span class="kind"><span aria-hidden="true">{MARKS.get(verdict.kind, "")}</span> '
        f"{words}</span><div><p>{sentence}</p>{tasks}</div>{_forest(verdict, reach)}</li>"
    )


def _forest(verdict: Verdict, reach: float) -> str:
    """The interval of the difference to equal weights as a bar, over the margin; its numbers are in the sentence.

    On a log scale, so that half the loss lies as far to the left as twice the loss to the right.
    """
    versus = verdict.versus_equal
    if versus is None or not math.isfinite(versus.mean) or not reach:
        return ""
    low, high = (versus.low, versus.high) if versus.known else (versus.mean, versus.mean)
    at = {
        name: 50 + 50 * max(-1.0, min(1.0, _log(v) / reach))
        for name, v in (("m", versus.mean), ("l", low), ("h", high))
    }
    at["g"] = 100 * min(1.0, _log(verdict.margin) / reach)
    style = ";".join(f"--{name}:{value:.1f}" for name, value in at.items())
    return f'<div class="forest" style="{style}" aria-hidden="true"><i></i></div>'


def _reach(found: Sequence[Verdict]) -> float:
    """The log ratio at the ends of the bars: the widest interval, but at most five times the largest mean difference."""
    versus = [
        v.versus_equal
        for v in found
        if v.versus_equal is not None and math.isfinite(v.versus_equal.mean)
    ]
    if not versus:
        return 0.0
    margin = 2 * _log(max(v.margin for v in found))
    widest = max(
        abs(_log(end)) for v in versus for end in ((v.low, v.high) if v.known else (v.mean,))
    )
    return max(margin, min(widest, 5 * max(abs(_log(v.mean)) for v in versus)))


def _log(change: float) -> float:
    """The log ratio of a relative difference."""
    return math.log1p(max(change, -0.9999))


def _none(reason: str) -> str:
    return f'<p class="no-verdict"><strong>No verdict.</strong> {escape(reason)}</p>'
