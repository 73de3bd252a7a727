"""A recorded sweep and study, and the tables of their comparison.

``python -m tests.unit.results.golden.make`` writes the tables anew, after a change that is meant.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from mtl_runner.results.compare import compare
from tests.unit.results.evidence_builders import NOISE
from tests.unit.results.run_builders import write_run, write_study, write_trained_run

FOLDER = Path(__file__).parent
WEIGHTINGS = {"equal": "fixed", "twin": "fixed"}
COMMAND = "python -m tests.unit.results.golden.make"


def write_sweep(folder: Path) -> None:
    """Write a sweep of four weightings at two learning rates, with runs that did not finish."""
    number = 0
    for weighting, factor in (("fixed", 1.0), ("uncertainty", 0.9), ("famo", 1.4)):
        for rate in (0.001, 0.01):
            for seed in range(3):
                diverged = (weighting, rate) == ("famo", 0.01) and seed > 0
                write_trained_run(
                    folder / f"{number}_{weighting}",
                    weighting,
                    seed,
                    loss_factor=factor * (1 + 10 * rate),
                    status="failed" if diverged else "finished",
                    reason="The loss of task 'y1' became nan in epoch 3." if diverged else "",
                    optimizer__lr=rate,
                )
                number += 1
    for seed in range(3):
        directory = folder / f"{number + seed}_single"
        write_trained_run(directory, "single_task", seed, optimizer__lr=0.001)
    write_trained_run(folder / "30_killed", "fixed", 7, status="killed", optimizer__lr=0.001)
    write_trained_run(folder / "31_cut", "uncertainty", 8, status="cut off", optimizer__lr=0.001)


def write_made_study(folder: Path) -> None:
    """Write a study: trials, final runs of every role, a strategy given up, notes and a margin."""
    jobs = {}
    roles = {
        "equal": ("equal", "", 0.0),
        "fixed a=2": ("fixed", "", -3.0),
        "fixed b=2": ("fixed", "", 4.0),
        "famo": ("strategy", "", -9.0),
        "famo frozen": ("twin", "famo", -8.9),
        "dwa": ("strategy", "", 1.0),
        "uncertainty": ("strategy", "", 6.0),
        "single_task": ("single_task", "", -1.0),
    }
    for i, (strategy, (role, twin_of, change)) in enumerate(roles.items()):
        for j in range(7 if role == "strategy" else 0):
            rate, name = 10 ** (j / 3 - 4), f"{i}_trial_{j}"
            monitor = 1 + change / 100 + abs(j - 4) / 10
            overrides = {"optimizer.lr": rate}
            write_run(
                folder,
                name,
                _metrics(change, 0.0),
                weighting=strategy,
                overrides=overrides,
                monitor=monitor,
            )
            jobs[name] = {"strategy": strategy, "phase": 1, "final": False, "lr": rate}
        for seed in range(6):
            name = f"{i}_final_{seed}"
            write_run(
                folder,
                name,
                _metrics(change, NOISE[seed] if role != "equal" else 0.0),
                weighting=WEIGHTINGS.get(role, strategy.split()[0]),
                seed=100 + seed,
                monitor=1 + change / 100,
                status="failed" if (strategy, seed) == ("uncertainty", 2) else "finished",
                backward_passes=2 if strategy == "famo" else 1,
            )
            jobs[name] = {"strategy": strategy, "role": role, "of": twin_of}
    write_run(folder, "9_gradnorm", _metrics(0.0, 0.0), weighting="gradnorm", status="failed")
    jobs["9_gradnorm"] = {"strategy": "gradnorm", "phase": 1, "final": False, "lr": 0.1}
    note = "The best learning rate of dwa is the largest that was tried."
    write_study(folder, jobs, margin=0.03, notes=[note])


RECORDED: dict[str, Callable[[Path], None]] = {"sweep": write_sweep, "study": write_made_study}


def tables_of(name: str) -> dict[str, str]:
    """Return ``{file name: content}`` of the comparison of a recorded sweep or study."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        RECORDED[name](folder)
        comparison = compare(folder)
    return {
        "overview.txt": comparison.text() + "\n",
        "comparison.csv": comparison.strategies.to_csv(index=False, lineterminator="\n"),
        "verdicts.csv": comparison.verdicts.to_csv(index=False, lineterminator="\n"),
    }


def _metrics(change: float, noise: float) -> dict[str, dict[str, float]]:
    """Return the metrics of both tasks; task b gains half as much as task a."""
    a, b = (1 + (part * change + noise) / 100 for part in (1.0, 0.5))
    return {
        "a": {"rmse": a, "mae": 0.8 * a, "loss": a * a, "relative_loss": 0.5 * a},
        "b": {"rmse": 10 * b, "mae": 7 * b, "loss": 100 * b * b, "relative_loss": 0.4 * b},
    }


if __name__ == "__main__":
    for name in RECORDED:
        (FOLDER / name).mkdir(exist_ok=True)
        for file, content in tables_of(name).items():
            (FOLDER / name / file).write_text(content, encoding="utf-8")
