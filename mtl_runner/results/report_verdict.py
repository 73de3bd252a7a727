"""The verdicts at the top of a report. A report without one is still a report: whatever hinders them is said in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from mtl_runner.errors import MtlError
from mtl_runner.results.read import Run
from mtl_runner.results.strategies import label

if TYPE_CHECKING:
    from mtl_runner.results.conclusions import Conclusions
    from mtl_runner.results.verdict import Verdict

# What matters most to a reader comes first.
ORDER = ("helps", "hurts", "static weights suffice", "undecided", "no difference")
MARKS = {"helps": "▲", "hurts": "▼", "static weights suffice": "◆", "undecided": "?", "no difference": "="}
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
        missing = list(dict.fromkeys(line for data in conclusions.evidence.sets for line in conclusions.missing(data.name)))
    except MtlError as error:
        return _none(str(error))
    except Exception as error:  # the tables and curves stand without it
        return _none(f"It could not be drawn ({type(error).__name__}: {error}).")
    lacks = f'<ul class="lacks">{"".join(f"<li>{escape(line)}</li>" for line in missing)}</ul>' if missing else ""
    if not found:
        reason = next((line for line in missing if line.startswith(NONE)), f"{NONE}there is no strategy beside equal weights.")
        return _none(reason.removeprefix(NONE).capitalize())
    reach = _reach(found)
    parts = []
    for name in names:
        mine = sorted(
            (v for v in found if v.data == name), key=lambda v: ORDER.index(v.kind) if v.kind in ORDER else len(ORDER)
        )
        items = [_item(v, reach) for v in mine]
        first, rest = items[:SHOWN], items[SHOWN:]
        more = (
            f'<details><summary>{len(rest)} more</summary><ul class="verdicts">{"".join(rest)}</ul></details>' if rest else ""
        )
        answer = f'<p class="answer">{escape(answers[name])}</p>' if answers[name] else ""
        ends = '<p class="ends" aria-hidden="true"><span>better</span><span>equal weights</span><span>worse</span></p>'
        parts.append(f'{answer}{ends if first else ""}<ul class="verdicts">{"".join(first)}</ul>{more}')
    return "".join(parts) + lacks


def _item(verdict: Verdict, reach: float) -> str:
    kind, sentence = escape(verdict.kind), escape(verdict.sentence)
    if verdict.sentence.startswith(verdict.strategy):
        name = escape(verdict.strategy)
        sentence = f"<strong>{name}</strong>{sentence.removeprefix(name)}"
    return (
        f'<li class="verdict v-{kind.replace(" ", "-")}"><span class="kind"><span aria-hidden="true">{MARKS.get(verdict.kind, "")}</span> '
        f"{kind}</span><p>{sentence}</p>{_forest(verdict, reach)}</li>"
    )


def _forest(verdict: Verdict, reach: float) -> str:
    """The interval of the difference to equal weights as a bar, over the margin; its numbers are in the sentence."""
    versus = verdict.versus_equal
    if versus is None or not math.isfinite(versus.mean) or not reach:
        return ""
    low, high = (versus.low, versus.high) if versus.known else (versus.mean, versus.mean)
    at = {name: 50 + 50 * max(-1.0, min(1.0, value / reach)) for name, value in (("m", versus.mean), ("l", low), ("h", high))}
    at["g"] = 100 * min(1.0, verdict.margin / reach)
    style = ";".join(f"--{name}:{value:.1f}" for name, value in at.items())
    return f'<div class="forest" style="{style}" aria-hidden="true"><i></i></div>'


def _reach(found: Sequence[Verdict]) -> float:
    """The difference at the ends of the bars: the widest interval, but at most five times the largest mean difference."""
    versus = [v.versus_equal for v in found if v.versus_equal is not None and math.isfinite(v.versus_equal.mean)]
    if not versus:
        return 0.0
    margin = 2 * max(v.margin for v in found)
    widest = max(abs(end) for v in versus for end in ((v.low, v.high) if v.known else (v.mean,)))
    return max(margin, min(widest, 5 * max(abs(v.mean) for v in versus)))


def _none(reason: str) -> str:
    return f'<p class="no-verdict"><strong>No verdict.</strong> {escape(reason)}</p>'
