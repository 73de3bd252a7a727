"""What a comparison says beside its verdicts, and when it says nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl_runner.results.records.dataset import DatasetRuns, Records
from mtl_runner.results.records.evidence import DatasetEvidence, gather
from mtl_runner.results.statistics.generalisation import Gap
from mtl_runner.results.statistics.paired import Paired
from mtl_runner.results.verdict.conclusions import conclude
from mtl_runner.results.verdict.remarks import (
    across_sentences,
    gap_sentences,
    interference_sentence,
    preference_sentence,
)
from tests.unit.results.evidence_builders import data_of, strategy
from tests.unit.results.run_builders import METRICS, write_run
from tests.unit.results.verdict.made_verdicts import versus


def measured(folder: Path, *values: dict[str, float | None]) -> tuple[DatasetRuns, DatasetEvidence]:
    """Return equal weights whose runs measured their interference."""
    for seed, interference in enumerate(values):
        write_run(folder, f"{seed}", METRICS, seed=seed)
        path = folder / f"{seed}" / "summary.json"
        content = {**json.loads(path.read_text()), "interference": interference}
        path.write_text(json.dumps(content))
    records = Records.read([folder])
    return records.datasets[0], gather(records).datasets[0]


def test_interference_is_that_of_the_runs_with_equal_weights(tmp_path: Path) -> None:
    """Breaks if the sentence has another mean, or a number that infinity hides."""
    data, evidence = measured(
        tmp_path,
        {"cosine": 0.5, "cosine_orthogonal": 0.6, "norm_ratio": 2.0, "condition": 3.0, "rows": 80},
        {"cosine": 0.7, "cosine_orthogonal": 0.7, "norm_ratio": 4.0, "condition": None, "rows": 80},
        {
            "cosine": 0.6,
            "cosine_orthogonal": 0.65,
            "norm_ratio": 90.0,
            "condition": 5.0,
            "rows": 80,
        },
    )
    assert (
        interference_sentence(data, evidence)
        == "Gradients of the tasks under equal weights (3 runs, validation rows): their cosine to their mean is 0.6 ± 0.25 (1 where they agree, 0.65 if they were orthogonal), the largest is 4 times as long as the smallest and the condition number of their directions is 4."
    )
    (line,) = [
        line for line in conclude(Records.read([tmp_path])).remarks("d") if "Gradients" in line
    ]
    assert line == interference_sentence(data, evidence)


def test_interference_that_was_not_measured_is_not_mentioned(tmp_path: Path) -> None:
    """Breaks if runs without the measurement have an empty sentence."""
    assert interference_sentence(*measured(tmp_path, {}, {"cosine": None})) == ""


def gap(harm: Paired, equal: Paired, task: str = "a") -> Gap:
    """Return a gap of a task."""
    return Gap(task, harm, equal)


HARM = versus(0.2, 0.15, 0.25)


@pytest.mark.parametrize(
    ("equal", "where"),
    [
        (versus(0.2, 0.14, 0.26), "in generalisation"),
        (versus(0.13, 0.12, 0.14), "mostly in generalisation"),
        (versus(0.12, 0.1, 0.14), "in both"),
        (versus(0.05, 0.02, 0.06), "mostly in optimisation"),
        (versus(0.02, -0.02, 0.06), "mostly in optimisation"),
        (versus(0.001, -0.01, 0.012), "in optimisation"),
        (versus(-0.1, -0.2, 0.0), "in optimisation"),
        (versus(0.05, -0.1, 0.2), ""),
    ],
)
def test_the_harm_is_where_the_interval_says(equal: Paired, where: str) -> None:
    """Breaks if a harm is placed that the runs do not place, or in the other place."""
    sentences = gap_sentences([gap(HARM, equal)], margin=0.02)
    assert [line.rpartition("the harm is ")[2] for line in sentences] == (
        [f"{where}."] if where else []
    )


def test_a_harm_in_words() -> None:
    """Breaks if higher and lower are exchanged, or one of both numbers is lost."""
    assert gap_sentences([gap(HARM, versus(-0.1, -0.2, 0.01))], 0.02) == [
        "At equal training loss, joint training's validation loss of a is 10 % lower (95 % interval: 20 % lower to 1 % higher), and 20 % higher (95 % interval: 15 to 25 % higher) where runs are judged: the harm is in optimisation."
    ]


def test_no_harm_needs_no_place() -> None:
    """Breaks if a task that joint training does not harm, or not surely, has a sentence."""
    harms = (versus(-0.2, -0.3, -0.1), versus(0.2, -0.1, 0.5), versus(0.2, 0.1, 0.3, count=2))
    for harm in (*harms, versus(0.01, 0.005, 0.015)):
        assert gap_sentences([gap(harm, HARM)], 0.02) == []


def test_the_rank_of_an_unknown_preference_is_said_where_it_differs() -> None:
    """Breaks if the sentence repeats the order of the table, or ranks by another number.

    With losses of .44 and .44, and .25 and .61, ``one`` is the better where w > 17/36, and it is
    the best by the mean; but of the preferences that dislike it, ``also`` is before it, too.
    """
    equal, even, also, one = (
        strategy(name, role, change, noise=0.0)
        for name, role, change in (
            ("fixed", "equal", 0.0),
            ("even", "strategy", -12.0),
            ("also", "strategy", -11.0),
            ("one", "strategy", [-50.0, 22.0]),
        )
    )
    assert (
        preference_sentence(data_of(equal, even, also, one))
        == "If it is not known how much each task counts (weights drawn uniformly from the simplex), even has the best mean rank of 4, 1.53; one, best by the mean relative loss, has 2.24."
    )
    assert preference_sentence(data_of(equal, even, also)) == ""
    assert preference_sentence(data_of(equal, one)) == ""


def test_two_data_sets_have_no_sentence_over_all() -> None:
    """Breaks if a test of two data sets is reported."""
    data = data_of(
        strategy("fixed", "equal"), *(strategy(f"s{i}", "strategy", -9.0 * i) for i in range(2))
    )
    assert across_sentences([data] * 2) == []


def test_ranks_that_differ_name_how_far_apart_they_have_to_lie() -> None:
    """Breaks if ranks stand without their test, or changes without their interval."""
    data = data_of(
        strategy("fixed", "equal", noise=0.0),
        *(strategy(f"s{i}", "strategy", -9.0 * i, noise=0.0) for i in (1, 2)),
    )
    assert across_sentences([data] * 9) == [
        "Mean ranks over 9 data sets, 3 strategies: s2 1, s1 2 and equal weights 3. They differ (Friedman's test: p 0.00012), by Nemenyi's test where 1.1 or more lies between two; s2 is better than equal weights.",
        "Interquartile mean against equal weights, over data sets and seeds: s2 18 % better (95 % interval: 18 to 18 % better); s1 9 % better (95 % interval: 9 to 9 % better).",
    ]


def test_ranks_that_chance_gives_are_said_to_be_so() -> None:
    """Breaks if an order that means nothing looks like one that does."""
    first, second = (
        data_of(
            strategy("fixed", "equal"),
            *(strategy(f"s{i}", "strategy", sign * i) for i in (1, 2)),
        )
        for sign in (-9.0, 9.0)
    )
    (ranks, _) = across_sentences([first, second, first, second])
    assert "Chance alone could give such ranks (Friedman's test: p 1)." in ranks


def test_a_multiple_is_one_of_the_loss() -> None:
    """Breaks if a loss that is many times as high is told in percent, or as a loss of a loss."""
    many = versus(13.0, 12.0, 14.0)
    (line,) = gap_sentences([gap(many, versus(0.04, 0.03, 0.05))], 0.02)
    assert "and 14 times as high (95 % interval: 13 to 15 times as high) where" in line
    assert line.endswith("the harm is mostly in optimisation.")
