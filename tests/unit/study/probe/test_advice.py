"""Which strategies a probe names, and why."""

from __future__ import annotations

import dataclasses

import pytest

from mtl_runner.study.probe.advice import advise, name_of, nearest
from mtl_runner.study.probe.features import FEATURES
from mtl_runner.study.probe.model import FittedQuestion, Study, Trained
from tests.unit.study.probe.measurements import measurement

EVEN = dict.fromkeys(FEATURES, 0.0)
MODEL = Trained(
    EVEN,
    dict.fromkeys(FEATURES, 1.0),
    dict.fromkeys(FEATURES, -9.0),
    dict.fromkeys(FEATURES, 9.0),
    {"weighting": FittedQuestion(0.0, {}, 0.5, 0, 0.25, 0.25)},
)


def test_without_studies_the_short_runs_decide() -> None:
    """Breaks if a strategy that was worse in the short runs comes first."""
    found = advise(measurement(), MODEL)
    assert [advice.strategy for advice in found] == [
        "fixed 1/trivial depth=0.02 label=1.98",
        "uncertainty",
        "single_task",
    ]
    assert found[1].words == "uncertainty (25.0 % better in the short runs)"


def test_studies_that_are_near_count_as_much() -> None:
    """Breaks if what helped on problems like this one is forgotten, or far ones count."""
    near = [Study(str(i), "f", EVEN, {"famo": 2.0, "uncertainty": 0.0}) for i in range(10)]
    far = [Study("x", "f", dict.fromkeys(FEATURES, 99.0), {"famo": -90.0}) for _ in range(10)]
    model = dataclasses.replace(MODEL, studies=(*far, *near))
    assert nearest(EVEN, model.studies) == near
    first = advise(measurement(), model)[0]
    assert first.strategy == "famo"
    assert first.words.endswith("; better by more than 2 % in 10 of 10 studies like this one)")


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ("fixed", "fixed depth=0.4 label=1.6"),
        ("fixed 1/trivial", "fixed 1/trivial depth=0.02 label=1.98"),
        ("famo", "famo"),
        ("dwa", None),
    ],
)
def test_fixed_weights_are_named_by_the_best_ones(strategy: str, name: str | None) -> None:
    """Breaks if weights are named that were worse in the short runs than others."""
    assert name_of(measurement(), strategy) == name
