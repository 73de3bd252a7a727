"""The sentences of a study of transfer say no more than its numbers do."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import gather
from mtl_runner.results.statistics.differences import percentage
from mtl_runner.results.statistics.paired import Paired, paired
from mtl_runner.study.transfer.answers import (
    Cost,
    difference,
    rate_sentence,
    weights_sentence,
)
from tests.unit.results.run_builders import write_run


def changes(*ratios: float) -> Paired:
    """Return the relative differences of pairs whose losses have these ratios."""
    return percentage(paired([math.log(ratio) for ratio in ratios], tested=False))


@pytest.mark.parametrize(
    ("versus", "beginning"),
    [
        (changes(0.9, 0.91, 0.89, 0.9), "The weights transfer: fixed a=2, the best of the narrow model, are 10 % better than equal weights on the wide one, "),
        (changes(1.1, 1.11, 1.09), "The weights do not transfer: fixed a=2, the best of the narrow model, are 10 % worse than equal"),
        (changes(1.0, 1.001, 0.999, 1.0), "The weights gain nothing on the wide model: "),
        (changes(0.7, 1.2, 0.9), "Whether the weights gain anything on the wide model is undecided: "),
        (changes(0.9, 0.91), "Whether the weights transfer is undecided with 2 paired seeds: "),
        (None, "Whether the weights transfer is undecided with 0 paired seeds: "),
    ],
)  # fmt: skip
def test_the_answer_about_the_weights_follows_from_the_interval(
    versus: Paired | None, beginning: str
) -> None:
    """Breaks if a gain is claimed whose interval does not lie beyond the margin."""
    assert weights_sentence(versus, "fixed a=2", 0.02, "seed").startswith(beginning)


def test_the_answer_about_the_weights_has_the_interval_and_the_pairs() -> None:
    """Breaks if a reader cannot see how sure the answer is."""
    sentence = weights_sentence(changes(0.9, 0.91, 0.89, 0.9), "fixed a=2", 0.02, "seed")
    assert sentence.endswith(
        "each at its best learning rate (95 % interval: 8.7 to 11 % better, 4 paired seeds)."
    )


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        (
            (0.01, 0.01, None, 3),
            "The learning rate transfers: of 3 around it, the 0.01 of the narrow model is the best of the wide one, too.",
        ),
        (
            (0.01, 0.001, changes(1.2, 1.21, 1.19), 3),
            "The learning rate moved: 0.01 was best on the narrow model, 0.001 on the wide one; with the narrow model's the result is 20 % worse (95 % interval: 18 to 23 % worse).",
        ),
        (
            (0.01, 0.001, None, 3),
            "The learning rate moved: 0.01 was best on the narrow model, 0.001 on the wide one.",
        ),
        (
            (0.01, 0.01, None, 1),
            "Whether the learning rate transfers was not tried: the wide model took the 0.01 of the narrow one (study.rates=1).",
        ),
    ],
)
def test_the_answer_about_the_learning_rate(
    rates: tuple[float, float, Paired | None, int], sentence: str
) -> None:
    """Breaks if a rate is called kept that moved, or that was never tried against others."""
    assert rate_sentence(*rates) == sentence


@pytest.mark.parametrize(
    ("cost", "end"),
    [
        (
            Cost([1.0] * 100, [10.0] * 6),
            "Tuning took 100 narrow runs and 6 wide runs, 3 min of training; as many trials of all weightings on the wide model would have taken about 17 min, so the transfer cost 16 % of that.",
        ),
        (
            Cost([5.0, math.nan], [4.0]),
            "Tuning took 2 narrow runs and 1 wide run, 14 s of training; as many trials of all weightings on the wide model would have taken about 8 s, so the transfer cost more than that: narrow runs are hardly cheaper here.",
        ),
        (Cost([math.nan], [4.0]), "Tuning took 1 narrow run and 1 wide run."),
    ],
)
def test_the_cost_is_told_beside_that_of_tuning_the_wide_model(cost: Cost, end: str) -> None:
    """Breaks if a failed run costs nothing, or the price of a transfer that does not pay is hid."""
    assert cost.sentence == end


def test_a_difference_is_one_of_pairs(tmp_path: Path) -> None:
    """Breaks if weights are compared with the equal weights of other seeds."""
    for seed, (loss, base) in enumerate([(0.9, 1.0), (1.8, 2.0), (0.45, 0.5)]):
        for name, value, options in (
            ("equal", base, {}),
            ("fixed", loss, {"weighting.weights.y1": 2}),
        ):
            task = {"rmse": value, "loss": value, "relative_loss": value}
            tasks = {"y1": task, "y2": task}
            write_run(tmp_path, f"{name}{seed}", tasks, seed=seed, overrides=options)
    (data,) = gather(Records.read([tmp_path])).datasets
    (equal,), (fixed,) = data.of_role("equal"), data.of_role("fixed")
    versus = difference(data, fixed.name, equal.name)
    assert versus is not None
    assert versus.mean == pytest.approx(-0.1)
    assert versus.count == 3
    assert difference(data, "nobody", equal.name) is None
