r"""Fit the probe to its studies, and judge it on families of data that were left out.

    python scripts/reproduce/probe_fit.py

It reads `docs/tables/probe_studies.csv` (made by `probe.py`), fits a logistic regression to each
question, and writes the file that the package ships, `docs/tables/probe.csv` (Brier scores),
`docs/tables/probe_bins.csv` (how often what was said came true) and `docs/tables/probe_advice.csv`
(how good the strategies are that it names).

Whatever is judged is predicted by a model of the other families: mean, scale, range, strength of
the penalty and coefficients.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from mtl_runner.files import write_atomic
from mtl_runner.results.statistics.intervals import interval
from mtl_runner.study.probe.advice import STRATEGIES, nearest, score
from mtl_runner.study.probe.features import FEATURES
from mtl_runner.study.probe.model import TRAINED, Trained

TABLES = Path(__file__).parents[2] / "docs" / "tables"
MARGIN = 0.02
# Inverse strengths of the penalty on squared coefficients that are tried.
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
# {question: the least log ratio that answers yes}
YES = {"weighting": -math.log(1 - MARGIN), "joint": 0.0}
DIFFERENCE = "mean difference over families"
EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Row:
    """A study of the table.

    Attributes:
        family: The family of its data.
        problem: Its name.
        features: Its features.
        answers: ``{question: log ratio}``, above 0 for yes; without those that have no answer.
        gains: ``{strategy: log ratio}`` on test in the whole runs.
        short: The same on validation in the short runs.
    """

    family: str
    problem: str
    features: Mapping[str, float]
    answers: Mapping[str, float]
    gains: Mapping[str, float]
    short: Mapping[str, float]

    def label(self, question: str) -> bool:
        """Return the answer of the study to a question."""
        return self.answers[question] > YES[question]


def read_rows(path: Path = TABLES / "probe_studies.csv") -> list[Row]:
    """Return the studies of the table."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    rows = []
    for cells in csv.DictReader(lines):
        numbers = {k: float(v) for k, v in cells.items() if v and _is_number(v)}
        rows.append(
            Row(
                cells["family"],
                cells["problem"],
                {name: numbers[name] for name in FEATURES},
                {name: numbers[name] for name in YES if name in numbers},
                _by_strategy(numbers, "gain of "),
                _by_strategy(numbers, "short gain of "),
            )
        )
    return rows


def fit(rows: Sequence[Row], penalties: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return the content of the file that the package ships, without its Brier scores.

    Args:
        rows: The studies.
        penalties: The inverse strength of each question's penalty, 0 for the base rate alone; by
            default the one that is best when families are left out of these rows.
    """
    x = np.array([[row.features[name] for name in FEATURES] for row in rows])
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-9)
    questions = {}
    for question in YES:
        known = [i for i, row in enumerate(rows) if question in row.answers]
        y = np.array([rows[i].label(question) for i in known])
        penalty = penalties[question] if penalties else best_penalty(rows, question)
        if y.all() or not y.any() or not penalty:
            # Nothing to tell apart, or nothing that tells it: the share, by the rule of succession.
            rate = (y.sum() + 1) / (len(y) + 2)
            coefficients, intercept = np.zeros(len(FEATURES)), math.log(rate / (1 - rate))
        else:
            model = LogisticRegression(C=penalty, tol=1e-8, max_iter=10_000)
            model.fit((x[known] - mean) / scale, y)
            coefficients, intercept = model.coef_[0], float(model.intercept_[0])
        questions[question] = {
            "intercept": intercept,
            "coefficients": _named(coefficients),
            "base_rate": float(y.mean()),
            "studies": len(known),
            "brier": math.nan,
            "brier_base": math.nan,
            "penalty": penalty,
        }
    standardised = (x - mean) / scale
    return {
        "features": list(FEATURES),
        "mean": _named(mean),
        "scale": _named(scale),
        "low": _named(x.min(0)),
        "high": _named(x.max(0)),
        "questions": questions,
        "studies": [
            {
                "name": row.problem,
                "family": row.family,
                "standardised": _named(standardised[i]),
                "gains": dict(row.gains),
            }
            for i, row in enumerate(rows)
        ],
    }


def best_penalty(rows: Sequence[Row], question: str) -> float:
    """Return the penalty with the least Brier score where families are left out of these rows."""
    scores = {}
    for penalty in PENALTIES:
        pairs = left_out(rows, question, lambda rest, p=penalty: fit(rest, dict.fromkeys(YES, p)))
        scores[penalty] = brier((p, y) for _, p, y, _ in pairs)
    return min(scores, key=scores.__getitem__)


def left_out(
    rows: Sequence[Row], question: str, fitted: Callable[[Sequence[Row]], Mapping[str, Any]]
) -> list[tuple[Row, float, bool, float]]:
    """Return each study's probability by a model of the other families, answer, and base rate."""
    pairs = []
    for family in dict.fromkeys(row.family for row in rows):
        rest = [row for row in rows if row.family != family]
        held = [row for row in rows if row.family == family and question in row.answers]
        if not held:
            continue
        model = Trained.of(fitted(rest))
        for row in held:
            probability = model.predict(row.features).probabilities[question]
            base = model.questions[question].base_rate
            pairs.append((row, probability, row.label(question), base))
    return pairs


def brier(pairs: Iterable[tuple[float, bool]]) -> float:
    """Return the mean squared difference of probabilities and answers."""
    return statistics.fmean((p - y) ** 2 for p, y in pairs)


def judge_advice(rows: Sequence[Row]) -> list[list[str]]:
    """Return a table: how good named strategies are on test, by three ways of naming them."""
    ways = ("probe", "most often best", "at random")
    among: dict[str, list[float]] = {way: [] for way in ways}
    lost: dict[str, list[float]] = {way: [] for way in ways}
    lost_by_first: dict[str, list[float]] = {way: [] for way in ways}
    for row in rows:
        rest = [other for other in rows if other.family != row.family]
        model = Trained.of(fit(rest, dict.fromkeys(YES, 0.0)))
        near = nearest(model.standardised(row.features), model.studies)
        there = [s for s in STRATEGIES if s in row.gains and s in row.short]
        scores = {
            s: score(row.short[s], [study.gains[s] for study in near if s in study.gains])
            for s in there
        }
        wins = {s: sum(_winner(other.gains) == s for other in rest) for s in there}
        orders = {
            "probe": [sorted(there, key=lambda s: -scores[s])],
            "most often best": [sorted(there, key=lambda s: -wins[s])],
            "at random": list(itertools.permutations(there)),
        }
        best = max(row.gains[s] for s in there)
        for way, some in orders.items():
            three = [max(row.gains[s] for s in order[:3]) for order in some]
            among[way].append(statistics.fmean(value == best for value in three))
            lost[way].append(statistics.fmean(best - value for value in three))
            first = statistics.fmean(best - row.gains[order[0]] for order in some)
            lost_by_first[way].append(first)
    return [
        [
            way,
            str(len(rows)),
            f"{statistics.fmean(among[way]):.0%}",
            f"{100 * statistics.fmean(lost[way]):.1f}",
            f"{100 * statistics.fmean(lost_by_first[way]):.1f}",
        ]
        for way in ways
    ]


def main() -> None:
    """Fit, judge, and write all files."""
    rows = read_rows()
    content = fit(rows)
    scores: list[list[str]] = []
    bins: list[list[str]] = []
    for question in YES:
        pairs = left_out(rows, question, fit)
        entry = content["questions"][question]
        entry["brier"] = brier((p, y) for _, p, y, _ in pairs)
        entry["brier_base"] = brier((base, y) for _, _, y, base in pairs)
        families = ["all", *dict.fromkeys(row.family for row, *_ in pairs)]
        for family in families:
            part = [pair for pair in pairs if family in ("all", pair[0].family)]
            cells = [str(len(part)), f"{statistics.fmean(y for _, _, y, _ in part):.2f}"]
            ours, bases = (
                brier((p, y) for _, p, y, _ in part),
                brier((base, y) for _, _, y, base in part),
            )
            cells += [f"{ours:.3f}", f"{bases:.3f}"]
            scores.append([question, family, *cells, _difference(pairs) if family == "all" else ""])
        for low, high in itertools.pairwise(EDGES):
            part = [pair for pair in pairs if low <= pair[1] < high or (high == pair[1] == 1)]
            if part:
                bins.append(
                    [
                        question,
                        f"{low:.0%} to {high:.0%}",
                        str(len(part)),
                        f"{statistics.fmean(p for _, p, _, _ in part):.2f}",
                        f"{statistics.fmean(y for _, _, y, _ in part):.2f}",
                    ]
                )
    # Where a question is not answered better than by the base rate, that is the answer.
    alone = {name: not q["brier"] < q["brier_base"] for name, q in content["questions"].items()}
    for name, question in fit(rows, dict.fromkeys(YES, 0.0))["questions"].items():
        if alone[name]:
            scores_of = {key: content["questions"][name][key] for key in ("brier", "brier_base")}
            content["questions"][name] = question | scores_of
    _write_json(content)
    columns = [
        "question",
        "family left out",
        "studies",
        "yes",
        "Brier score",
        "of the base rate",
        DIFFERENCE,
    ]
    _write_table("probe.csv", columns, scores)
    _write_table("probe_bins.csv", ["question", "said", "studies", "mean", "came true"], bins)
    columns = [
        "named",
        "studies",
        "the best is among them",
        "lost by three in %",
        "by the first in %",
    ]
    _write_table("probe_advice.csv", columns, judge_advice(rows))


def _difference(pairs: Sequence[tuple[Row, float, bool, float]]) -> str:
    """Return the mean over families of both scores' difference, with its 95 % t-interval."""
    families: dict[str, list[float]] = {}
    for row, p, y, base in pairs:
        families.setdefault(row.family, []).append((p - y) ** 2 - (base - y) ** 2)
    mean = interval([statistics.fmean(values) for values in families.values()])
    return f"{mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})"


def _write_json(content: Mapping[str, Any]) -> None:
    text = json.dumps(_rounded(content), indent=1) + "\n"
    write_atomic(TRAINED, text.encode())


def _write_table(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = ["# python scripts/reproduce/probe_fit.py", ",".join(columns), *map(",".join, rows)]
    write_atomic(TABLES / name, ("\n".join(lines) + "\n").encode())
    print(*lines, sep="\n")


def _winner(gains: Mapping[str, float]) -> str:
    return max((s for s in STRATEGIES if s in gains), key=gains.__getitem__)


def _by_strategy(numbers: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {s: numbers[prefix + s] for s in STRATEGIES if prefix + s in numbers}


def _named(values: Iterable[float]) -> dict[str, float]:
    return dict(zip(FEATURES, map(float, values), strict=True))


def _rounded(value: Any) -> Any:
    """Return numbers with six significant digits: what another machine's fit agrees with."""
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


if __name__ == "__main__":
    main()
