"""How good a trial has to be by some epoch: the medians of the trials that came to their end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.results.records.summary import Summary
from mtl_runner.study.search.pruning import give_up_option, median_limits, read_limits

Trial = tuple[Path, Summary]


def trial(
    folder: Path, values: Sequence[float], every: float = 1, monitor: str = "relative_loss"
) -> Trial:
    """Return a trial whose monitor took some values at its evaluations."""
    folder.mkdir(parents=True)
    task, _, column = monitor.rpartition(".")
    rows = [f"{n * every},val,{task or 'total'},{value}" for n, value in enumerate(values, 1)]
    text = "\n".join([f"epoch,split,task,{column}", *rows, ""])
    (folder / "metrics.csv").write_text(text)
    metrics = {"metrics": {"accuracy": {"higher_is_better": True}}, "main_metric": "accuracy"}
    content = {
        "epochs": round(len(values) * every),
        "monitor": {"name": monitor},
        "tasks": {"a.b": {"kind": "classification", **metrics}},
    }
    return folder, Summary.of(content)


def test_a_limit_is_the_median_of_the_best_values_so_far(tmp_path: Path) -> None:
    """Breaks if the limit is a mean, of the last values, of another epoch, or without its sign."""
    curves = [
        [1.0, 0.9, 0.5, 0.6, 0.2, 0.1, 0.1, 0.1],
        [1.0, 0.8, 0.9, 0.4, 0.2, 0.1, 0.1, 0.1],
        [1.0, 0.3, 0.7, 0.7, 0.2, 0.1, 0.1, 0.1],
        [1.0, 0.7, 0.8, 0.2, 0.2, 0.1, 0.1, 0.1],
        [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0],
    ]
    trials = [trial(tmp_path / str(k), curve) for k, curve in enumerate(curves)]
    assert median_limits(trials) == {2: 0.8, 4: 0.4}
    # Fewer say too little.
    assert median_limits(trials[1:]) == {}
    accuracies = [
        trial(tmp_path / f"accuracy {k}", [0.1, 0.2 + k / 10, 0.1, 0.9], monitor="a.b.accuracy")
        for k in range(5)
    ]
    assert median_limits(accuracies) == {1: 0.1, 2: 0.4}


@pytest.mark.parametrize(
    ("count", "every", "epochs"),
    [
        (100, 1, [25, 50]),
        (3, 1, [1, 2]),
        (2, 1, [1]),
        (1, 1, []),
        (4, 5, [5, 10]),
        (3, 7, [7, 14]),
        (8, 0.5, [1, 2]),
        (5, 0.8, [2, 3]),
    ],
)
def test_limits_are_for_whole_epochs_that_are_evaluated(
    tmp_path: Path, count: int, every: float, epochs: list[int]
) -> None:
    """Breaks if a limit is asked for where there is no evaluation yet, or at the end of a run."""
    trials = [trial(tmp_path / str(k), [0.5] * count, every) for k in range(5)]
    assert list(median_limits(trials)) == epochs


def test_without_curves_there_are_no_limits(tmp_path: Path) -> None:
    """Breaks if a metrics.csv that somebody has removed ends a search in a traceback."""
    trials = [trial(tmp_path / str(k), [0.5] * 4) for k in range(5)]
    for folder, _ in trials:
        (folder / "metrics.csv").unlink()
    assert median_limits(trials) == {}


@given(
    limits=st.dictionaries(
        st.integers(1, 10**6), st.floats(allow_nan=False, allow_infinity=False), min_size=1
    )
)
def test_limits_come_back_from_the_record_and_from_the_option(limits: dict[int, float]) -> None:
    """Breaks if a number is written in a way that JSON or Hydra reads as something else."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert read_limits(json.loads(json.dumps(limits))) == limits
    (option,) = give_up_option(limits)
    assert OverridesParser.create().parse_override(option).value() == limits
