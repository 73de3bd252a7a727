"""Equations with known solutions: which weights and which optimizer find them?

    python scripts/reproduce/physics.py > docs/tables/physics.csv
    python scripts/reproduce/physics.py --only kovasznay --output runs

A row per run: the relative L2 error of every output on the test grid, of the model that is best on
validation, and the CPU seconds of the whole command. One seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

LBFGS = ["optimizer=lbfgs", "data.resample=false", "trainer.lr_scheduler=null"]
ADAM = ["optimizer.lr=0.005"]
# Steps of Adam per problem, and the options of a run by L-BFGS, whose batch is all there is.
WITH_ADAM = {
    "helmholtz": [*ADAM, "trainer.epochs=200"],
    "burgers": [*ADAM, "trainer.epochs=200", "data.n_interior=6000"],
    "kovasznay": [*ADAM, "trainer.epochs=100", "data.n_interior=3000"],
}
WITH_LBFGS = {
    "poisson": [
        "weighting.weights.u=100",
        "data.batch_size=500",
        "data.n_boundary=500",
        "data.n_interior=1000",
        "trainer.epochs=20",
    ],
    "helmholtz": [
        "weighting.weights.u=100",
        "data.batch_size=500",
        "data.n_boundary=500",
        "data.n_interior=2000",
        "trainer.epochs=40",
    ],
    "klein_gordon": [
        "weighting.weights={u: 100, boundary: 100, velocity: 10}",
        "data.batch_size=200",
        "data.n_initial=200",
        "data.n_boundary=200",
        "data.n_interior=1000",
        "trainer.epochs=40",
    ],
    "burgers": [
        "data.batch_size=200",
        "data.n_initial=200",
        "data.n_boundary=100",
        "data.n_interior=2500",
        "trainer.epochs=100",
    ],
    "burgers_inverse": [
        "weighting.weights.u=20",
        "data.batch_size=1000",
        "data.n_measured=1000",
        "data.n_interior=1500",
        "trainer.epochs=40",
    ],
    "kovasznay": [
        "data.batch_size=300",
        "data.n_boundary=300",
        "data.n_interior=500",
        "trainer.epochs=60",
    ],
}
COLUMNS = ("problem", "weighting", "optimizer", "steps", "relative L2 (test)", "CPU s")


def runs() -> dict[tuple[str, str, str], list[str]]:
    """Return the options of every run, by problem, weighting and optimizer."""
    table = {
        (problem, weighting, "adam"): [f"data={problem}", f"weighting={weighting}", *options]
        for problem, options in WITH_ADAM.items()
        for weighting in ("fixed", "uncertainty", "gradnorm")
    }
    for problem, options in WITH_LBFGS.items():
        weights = "fixed" + (" (chosen)" if any("weights" in o for o in options) else "")
        table[problem, weights, "lbfgs"] = [
            f"data={problem}",
            "weighting=fixed",
            *LBFGS,
            *options,
        ]
    return table


def cells(directory: Path) -> tuple[str, str]:
    """Return the number of steps of a run, and its errors on the test grid.

    Args:
        directory: The run directory.
    """
    summary = json.loads((directory / "summary.json").read_text())
    errors = {
        name: task["best"]["test"]["relative_l2"]
        for name, task in summary["tasks"].items()
        if "relative_l2" in task["metrics"]
    }
    texts = [f"{100 * error:.3g} %" for error in errors.values()]
    if len(texts) > 1:
        texts = [f"{name} {text}" for name, text in zip(errors, texts, strict=True)]
    viscosities = [
        f"viscosity {100 * task['best']['test']['viscosity_error']:.2g} % off"
        for task in summary["tasks"].values()
        if "viscosity_error" in task["best"]["test"]
    ]
    return str(summary["steps"]), ", ".join(texts + viscosities)


def cpu_seconds() -> float:
    """Return the CPU seconds of all commands so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(only: str | None, output: Path) -> None:
    """Run everything, and print the table."""
    writer = csv.writer(sys.stdout)
    print("# python scripts/reproduce/physics.py")
    writer.writerow(COLUMNS)
    for (problem, weighting, optimizer), options in runs().items():
        if only not in (None, problem):
            continue
        directory = output / f"{problem}_{weighting.split()[0]}_{optimizer}"
        before = cpu_seconds()
        target = ("record.plots=none", f"hydra.run.dir={directory}")
        command = [sys.executable, "-m", "mtl_runner", *options, *target]
        subprocess.run(command, check=True, stdout=sys.stderr)
        seconds = cpu_seconds() - before
        row = (problem, weighting, optimizer, *cells(directory), f"{seconds:.0f}")
        writer.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=sorted(WITH_LBFGS), help="one problem")
    parser.add_argument(
        "--output", type=Path, help="where the runs go; default: nowhere that stays"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        main(arguments.only, arguments.output or Path(folder))
