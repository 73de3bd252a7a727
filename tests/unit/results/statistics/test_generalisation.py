"""Validation losses at equal training loss: known curves, and runs on the disk."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import gather
from mtl_runner.results.statistics.generalisation import (
    Gap,
    at_equal_training_loss,
    generalisation_gaps,
)
from tests.unit.results.run_builders import COLUMNS, write_run

EPOCHS = 12


def test_between_evaluations_losses_are_interpolated() -> None:
    """Breaks if the losses of different training losses are compared.

    Both have reached .4: the first halfway between its last two evaluations.
    """
    joint = [(1.0, 1.0), (0.6, 0.9), (0.2, 0.7)]
    single = [(1.0, 0.9), (0.4, 0.4)]
    assert math.exp(at_equal_training_loss(joint, single)) == pytest.approx(0.8 / 0.4)


@given(
    st.lists(st.floats(0.1, 10.0), min_size=2, max_size=6),
    st.lists(st.floats(0.1, 10.0), min_size=2, max_size=6),
)
def test_runs_on_one_line_of_losses_do_not_differ(first: list[float], second: list[float]) -> None:
    """Breaks if a run that is only slower seems to generalise worse."""
    top = max(*first, *second) + 1
    joint, single = ([(t, 2 * t + 1) for t in (top, *trained)] for trained in (first, second))
    assert at_equal_training_loss(joint, single) == pytest.approx(0.0, abs=1e-9)


def test_a_run_that_began_lower_has_no_equal_training_loss() -> None:
    """Breaks if losses are compared that no two runs ever had together."""
    assert math.isnan(at_equal_training_loss([(1.0, 1.0), (0.5, 0.5)], [(0.2, 0.2), (0.1, 0.1)]))
    assert math.isnan(at_equal_training_loss([], [(0.2, 0.2)]))
    assert math.isnan(at_equal_training_loss([(1.0, 0.0)], [(1.0, 1.0)]))


Curve = Callable[[int], tuple[float, float]]  # (training loss, validation loss) at an epoch


def write_curves(directory: Path, curves: dict[str, Curve]) -> None:
    """Write metrics.csv of a run."""
    with (directory / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for epoch in range(1, EPOCHS + 1):
            for task, curve in curves.items():
                for split, loss in zip(("train", "val"), curve(epoch), strict=True):
                    place = {"epoch": epoch, "step": 10 * epoch, "split": split, "task": task}
                    writer.writerow({**place, "loss": loss})


def slow(epoch: int) -> tuple[float, float]:
    """Return losses that fall half as fast as those of :func:`fast`, to the same line."""
    return 2.0 ** (-epoch / 2), 2.0 ** (-epoch / 2) + 0.1


def fast(epoch: int) -> tuple[float, float]:
    """Return losses that fall fast."""
    return 2.0**-epoch, 2.0**-epoch + 0.1


def gaps_of(folder: Path, joint: Sequence[Curve], single: Curve, best_epoch: int = 0) -> list[Gap]:
    """Return the gaps of two tasks, of which the second has a joint curve of its own."""
    metrics = {t: {"rmse": 1.0, "loss": 1.0, "relative_loss": 0.5} for t in "ab"}
    for seed in range(4):
        for weighting in ("fixed", "single_task"):
            name = f"{weighting}_{seed}"
            write_run(folder, name, metrics, weighting=weighting, seed=seed)
            curves = joint if weighting == "fixed" else [single, single]
            write_curves(folder / name, dict(zip("ab", curves, strict=True)))
            path = folder / name / "summary.json"
            content = json.loads(path.read_text())
            content["monitor"]["best_epoch"] = best_epoch
            path.write_text(json.dumps(content))
    records = Records.read([folder])
    at = "best" if best_epoch else "final"
    return generalisation_gaps(records.datasets[0], gather(records, at).datasets[0], at)


def test_slow_training_and_bad_generalisation_are_told_apart(tmp_path: Path) -> None:
    """Breaks if the harm of one kind is taken for that of the other."""
    optimisation, generalisation = gaps_of(
        tmp_path, [slow, lambda epoch: (fast(epoch)[0], 1.2 * fast(epoch)[1])], fast
    )
    assert (optimisation.task, generalisation.task) == ("a", "b")
    assert optimisation.harm.mean == pytest.approx(slow(EPOCHS)[1] / fast(EPOCHS)[1] - 1)
    assert optimisation.at_equal_loss.mean == pytest.approx(0.0, abs=1e-9)
    assert generalisation.harm.mean == pytest.approx(0.2)
    assert generalisation.at_equal_loss.mean == pytest.approx(0.2)
    assert generalisation.harm.count == generalisation.at_equal_loss.count == 4


def test_what_a_run_did_after_the_judged_epoch_is_left_out(tmp_path: Path) -> None:
    """Breaks if a run is blamed for what it learned by heart after its best epoch."""

    def overfits(epoch: int) -> tuple[float, float]:
        train, validation = fast(epoch)
        return train, validation if epoch <= 5 else 9.0

    first, _ = gaps_of(tmp_path, [overfits, fast], fast, best_epoch=5)
    assert first.harm.mean == pytest.approx(0.0, abs=1e-9)
    assert first.at_equal_loss.mean == pytest.approx(0.0, abs=1e-9)


def test_without_single_task_runs_there_is_nothing_to_say(tmp_path: Path) -> None:
    """Breaks if a comparison without single-task training fails."""
    write_run(tmp_path, "a", {t: {"rmse": 1.0, "loss": 1.0} for t in "ab"})
    records = Records.read([tmp_path])
    assert generalisation_gaps(records.datasets[0], gather(records).datasets[0], "final") == []
