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

from mtl_runner.results.records.curves import RecordedCurves
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import gather
from mtl_runner.results.records.run import Run
from mtl_runner.results.statistics.generalisation import (
    Gap,
    Trajectory,
    at_equal_training_loss,
    generalisation_gaps,
    trajectory,
)
from tests.unit.results.run_builders import COLUMNS, write_run

EPOCHS = 12


def falling(rate: float, start: float = 0.5, epochs: int = 20, factor: float = 1.0) -> Trajectory:
    """Return losses that fall exponentially, by both their curves the same function of the epoch."""
    return Trajectory(
        [(start + e, math.exp(-rate * (start + e))) for e in range(epochs)],
        [(1.0 + e, factor * math.exp(-rate * (1 + e))) for e in range(epochs)],
    )


@given(st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.floats(0.5, 2.0))
def test_a_run_that_is_only_slower_does_not_generalise_worse(
    slow: float, fast: float, factor: float
) -> None:
    """Breaks if the losses of different moments or training losses are compared."""
    gap = at_equal_training_loss(falling(slow, factor=factor), falling(fast))
    assert gap == pytest.approx(math.log(factor), abs=1e-9) or math.isnan(gap)


def test_losses_that_no_two_runs_had_together_are_not_compared() -> None:
    """Breaks if a curve is drawn beyond its ends, or through 0."""
    low = Trajectory([(0.5, 0.2), (1.5, 0.1)], [(1.0, 0.2), (2.0, 0.1)])
    high = Trajectory([(0.5, 1.0), (1.5, 0.5)], [(1.0, 0.9), (2.0, 0.4)])
    assert math.isnan(at_equal_training_loss(high, low))
    assert math.isnan(at_equal_training_loss(Trajectory([], []), low))
    zero = Trajectory(low.train, [(1.0, 0.2), (2.0, 0.0)])
    assert math.isnan(at_equal_training_loss(zero, low))


@given(st.lists(st.floats(allow_nan=True), min_size=4, max_size=4))
def test_whatever_a_file_holds_is_a_number_or_unknown(losses: list[float]) -> None:
    """Breaks if one odd loss in metrics.csv costs the whole comparison."""
    curve = [(0.5 + e, loss) for e, loss in enumerate(losses)]
    gap = at_equal_training_loss(Trajectory(curve, curve), falling(0.5))
    assert math.isnan(gap) or math.isfinite(gap)


@pytest.mark.parametrize(
    ("epochs", "middles"),
    [
        ([1, 2, 3], [0.5, 1.5, 2.5]),
        ([1, 5, 10], [0.5, 4.5, 9.5]),
        ([0.5, 1, 1.5], [0.25, 0.75, 1.25]),
        ([0.8, 1.2, 2], [0.4, 1.1, 1.6]),
    ],
)
def test_a_training_loss_stands_in_the_middle_of_its_batches(
    epochs: list[float], middles: list[float]
) -> None:
    """Breaks if a run that learns fast seems to generalise better, as its mean lags behind."""
    rows = [[str(epoch), "1.0"] for epoch in epochs]
    curves = RecordedCurves({"epoch": 0, "loss": 1}, {("train", "a"): rows, ("val", "a"): rows})
    run = Run(Path(), "finished", "", {}, {})
    found = trajectory(curves, run, "a", "final")
    assert [time for time, _ in found.train] == pytest.approx(middles)
    assert [time for time, _ in found.validation] == epochs


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
    """Return losses that fall half as fast as those of :func:`fast`, on the same way."""
    return 2.0 ** (-(epoch - 0.5) / 2), 2.0 ** (-epoch / 2)


def fast(epoch: int) -> tuple[float, float]:
    """Return losses that fall fast."""
    return 2.0 ** -(epoch - 0.5), 2.0**-epoch


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
