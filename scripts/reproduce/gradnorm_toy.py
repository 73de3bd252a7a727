"""Tasks that differ only in scale: which strategies train both?

The problem is the toy of GradNorm (Chen et al., ICML 2018, section 4).

    python scripts/reproduce/gradnorm_toy.py
    python scripts/reproduce/gradnorm_toy.py --sigmas 1 2 5 10 20 30 50 70 85 100 --seeds 1

Per task the test loss after 4000 steps of Adam over that before the first one, means over seeds,
and their sum over tasks, the paper's measure. 1 is a task that learned nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.experiment.build import build
from mtl_runner.train.trainer import Trainer


def strategies(sigmas: Sequence[float]) -> dict[str, list[str]]:
    """Return the overrides of each row of the table, by the name of the row."""
    inverse = ", ".join(f"y{t}: {sigma**-2:.12g}" for t, sigma in enumerate(sigmas, 1))
    return {
        "equal weights": ["weighting=fixed"],
        "uncertainty, s from 0, the model's Adam": ["weighting=uncertainty_simplified"],
        "uncertainty, s from 0, own lr": ["weighting=uncertainty", "weighting.init=0.0"],
        "per-task Adam": ["weighting=per_task_adam"],
        "fixed 1/sigma²": ["weighting=fixed", f"++weighting.weights={{{inverse}}}"],
        "uncertainty (default: s from the first batch)": ["weighting=uncertainty"],
        "GradNorm": ["weighting=gradnorm"],
    }


def ratios(seed: int, sigmas: Sequence[float], *overrides: str) -> dict[str, float]:
    """Return each task's test loss after training over that before it."""
    setup = [
        "data=gradnorm_toy",
        f"data.sigmas={list(sigmas)}",
        f"seed={seed}",
        "name=gradnorm_toy",
        "trainer.evaluate_every=40",
    ]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = compose("config", [*setup, *overrides])
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(build(config), Path(folder))
        before = trainer.measure("test").values
        trainer.run()
        after = trainer.measure("test").values
    return {task: row["loss"] / before[task]["loss"] for task, row in after.items()}


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each task over the seeds."""
    return {task: statistics.mean(row[task] for row in rows) for task in rows[0]}


def main(sigmas: Sequence[float], seeds: int) -> None:
    """Print the table, a row per strategy."""
    names = [f"y{t} (sigma {sigma:g})" for t, sigma in enumerate(sigmas, 1)]
    print(f"| strategy | {' | '.join(names)} | sum |")
    print(f"|---|{'---:|' * (len(names) + 1)}")
    for name, overrides in strategies(sigmas).items():
        means = mean([ratios(seed, sigmas, *overrides) for seed in range(seeds)])
        print(
            f"| {name} | {' | '.join(f'{value:.2f}' for value in means.values())} | {sum(means.values()):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sigmas", type=float, nargs="+", default=[1.0, 100.0])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.sigmas, arguments.seeds)
