"""The scripts that reproduce published results: their commands and their tables."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from mtl_runner.experiment.build import build
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import gather
from mtl_runner.results.records.run import find_runs
from mtl_runner.results.verdict.conclusions import conclude
from tests.support.whole_runs import compose_config
from tests.unit.results.run_builders import write_run
from tests.unit.scripts.script_modules import load_script


def test_a_table_of_collapse_counts_collapsed_runs() -> None:
    """Breaks if a run whose reconstructions are no better than the mean image counts as trained."""
    collapse = load_script("reproduce/collapse.py")
    setting = collapse.Setting("[64]", "staged", "joint", 100.0)
    courses = [
        collapse.Course([1, 10, 40], [1.0, 0.5, 0.2], [1.0, 0.1, 0.3]),
        collapse.Course([1, 10, 40], [1.0, 0.7, 1.0], [1.0, 0.3, 1e-9]),
    ]
    (line,) = collapse.table({setting: courses})[2:]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["[64]", "late", "one", "100", "0.60", "0.60", "0.2", "0.15", "1 of 2"]


def test_a_picture_of_collapse_is_drawn(tmp_path: Path) -> None:
    """Breaks if a variance of 0, as of a constant latent, cannot be drawn on a logarithmic axis."""
    collapse = load_script("reproduce/collapse.py")
    setting = collapse.Setting("[64]", "all", "joint", 1.0)
    course = collapse.Course([1, 40], [1.0, 1.0], [1.0, 0.0])
    collapse.picture(tmp_path / "collapse.png", {setting: [course]})
    assert (tmp_path / "collapse.png").stat().st_size > 1000


def test_the_strategies_of_the_gradnorm_toy_can_be_built() -> None:
    """Breaks if the script ends hours later with an unknown option."""
    strategies = load_script("reproduce/gradnorm_toy.py").strategies([1.0, 100.0])
    assert "++weighting.weights={y1: 1, y2: 0.0001}" in strategies["fixed 1/sigma²"]
    for overrides in strategies.values():
        small = ("data=gradnorm_toy", "data.sigmas=[1.0, 100.0]", "data.n=50")
        assert build(compose_config(*small, *overrides)).data.tasks[1].name == "y2"


def test_rows_of_the_gradnorm_toy_are_averaged_by_task() -> None:
    """Breaks if the means over seeds mix the tasks."""
    mean = load_script("reproduce/gradnorm_toy.py").mean
    assert mean([{"y1": 1.0, "y2": 4.0}, {"y1": 2.0, "y2": 6.0}]) == {"y1": 1.5, "y2": 5.0}


@pytest.fixture(scope="module")
def multi_mnist() -> ModuleType:
    """Return scripts/reproduce/multi_mnist.py as a module."""
    return load_script("reproduce/multi_mnist.py")


@pytest.mark.parametrize("short", [False, True])
def test_the_sweep_of_multi_mnist_is_the_published_protocol_unless_it_is_short(
    multi_mnist: ModuleType, short: bool
) -> None:
    """Breaks if the long sweep departs from the protocol, or the short one takes hours."""
    options = argparse.Namespace(
        path=Path("/data"), second_path=None, seeds=3, epochs=None, short=short, output=Path("out")
    )
    command = multi_mnist.command(options)
    assert ("optimizer=sgd" in command) == (not short)
    assert f"trainer.epochs={5 if short else 100}" in command
    assert {"-m", "data.path=/data", "seed=range(0,3)", "hydra.sweep.dir=out"} <= set(command)


def test_the_table_of_multi_mnist_compares_with_equal_weights(multi_mnist: ModuleType) -> None:
    """Breaks if a failed run counts, or the difference is to another strategy."""
    runs = pd.DataFrame(
        {
            "status": ["finished", "finished", "finished", "failed"],
            "strategy": ["fixed", "fixed", "uncertainty", "uncertainty"],
            "final.test.left.accuracy": [0.80, 0.82, 0.90, 0.0],
            "final.test.right.accuracy": [0.70, 0.72, 0.80, 0.0],
            "seconds": [10.0, 12.0, 11.0, 1.0],
        }
    )
    rows = multi_mnist.table(runs).splitlines()[2:]
    assert rows == [
        "| equal weights | 2 | 81.0 ± 1.4 | 71.0 ± 1.4 | 76.0 ± 1.4 | +0.0 | 11 |",
        "| uncertainty | 1 | 90.0 | 80.0 | 85.0 | +9.0 | 11 |",
        "| single task | 0 | | | | | |",
    ]


def test_related_tasks_are_answered_by_the_verdict_of_each_study(tmp_path: Path) -> None:
    """Breaks if a cell shows another study's numbers, or a claim that its verdict does not make."""
    related = load_script("reproduce/related.py")
    assert len(related.places()) == 12
    first = related.options(10, "0.5", tmp_path)
    assert {"data.cosine=0.5", "data.scales=[0.3,3]"} <= set(first)
    assert "resume=true" not in first

    def scaled(factor: float, seed: int) -> dict[str, dict[str, float]]:
        loss = factor * (0.5 + 0.001 * seed)
        return {t: {"rmse": loss, "loss": loss, "relative_loss": loss} for t in ("y1", "y2")}

    methods = {"fixed": 1.1, "famo": 0.9, "single_task": 1.0}
    for seed in range(6):
        for weighting, factor in methods.items():
            options = {"weighting": weighting, "seed": seed, "monitor": factor}
            write_run(tmp_path, f"{weighting}{seed}", scaled(factor, seed), **options)
    answer = related.answer_of(conclude(Records.read([tmp_path])), 10, 0.5)
    assert related.table([answer]).splitlines()[1] == (
        "10,0.5,+10.0 (+10.0 to +10.0),famo,-10.0 (-10.0 to -10.0),-18.2 (-18.2 to -18.2),weights matter"
    )
    related.picture(tmp_path / "related.png", [answer])
    assert (tmp_path / "related.png").stat().st_size > 1000


def test_the_tuned_sweeps_of_physics_can_be_built(tmp_path: Path) -> None:
    """Breaks if a sweep of an hour ends at an unknown option, or begins anew after a stop."""
    tuned = load_script("reproduce/physics_tuned.py")
    for problem in tuned.PROBLEMS:
        options = [o for o in tuned.options(problem, tmp_path) if "," not in o and o != "-m"]
        plain = [o for o in options if not o.startswith("hydra")]
        compose_config(*plain, "weighting=lra")
    assert "resume=true" not in tuned.options("burgers", tmp_path)
    (tmp_path / "burgers").mkdir()
    assert "resume=true" in tuned.options("burgers", tmp_path)


def test_a_row_of_tuned_physics_is_chosen_on_validation(tmp_path: Path) -> None:
    """Breaks if the test grid chooses the learning rate, or one lucky or failed seed does."""
    tuned = load_script("reproduce/physics_tuned.py")
    errors = {  # by rate: validation, then test of three seeds
        "0.001": (0.3, (0.30, 0.34, 0.38)),
        "0.003": (0.2, (0.50, 0.60, 0.70)),
        "0.01": (0.1, (0.01, 0.01, None)),
    }
    for lr, (monitor, of_seeds) in errors.items():
        for seed, error in enumerate(of_seeds):
            write_run(
                tmp_path,
                f"{lr}_{seed}",
                {"u": {"relative_l2": error}},
                seed=seed,
                status="failed" if error is None else "finished",
                monitor=monitor,
                overrides={"optimizer.lr": lr},
            )
    table = tuned.rows("helmholtz", find_runs([tmp_path]))
    assert table[0] == ["helmholtz", "fixed", "0.003", "3", "60 ± 10", "50", "2"]
    assert table[1][:5] == ["helmholtz", "relobralo", "", "0", "failed"]


def test_the_runs_of_physics_can_be_built() -> None:
    """Breaks if the script ends an hour later with an unknown option."""
    runs = load_script("reproduce/physics.py").runs()
    assert len(runs) == 15
    for (problem, *_), options in runs.items():
        if problem in ("helmholtz", "burgers_inverse"):
            assert build(compose_config(*options, "data.grid_lines=5")).data.tasks[1].name == "pde"


def test_a_row_of_physics_tells_errors_of_the_test_grid(tmp_path: Path) -> None:
    """Breaks if the table shows validation, the last model, or one of several outputs."""
    test = {"relative_l2": 0.0123}
    tasks = {
        "u": {"metrics": {"relative_l2": {}}, "best": {"test": test}},
        "v": {"metrics": {"relative_l2": {}}, "best": {"test": {"relative_l2": 0.5}}},
        "pde": {"metrics": {}, "best": {"test": {"viscosity_error": 0.02}}},
    }
    (tmp_path / "summary.json").write_text(json.dumps({"steps": 40, "tasks": tasks}))
    cells = load_script("reproduce/physics.py").cells(tmp_path)
    assert cells == ("40", "u 1.23 %, v 50 %, viscosity 2 % off")


def test_molecules_are_compared_at_the_rate_that_validation_chose(tmp_path: Path) -> None:
    """Breaks if test chooses the learning rate, or changes are not those of the same seed."""
    qm9 = load_script("reproduce/qm9.py")
    factors = {  # by weighting and rate: validation, then the MAE on test
        ("fixed", "0.001"): (0.3, 1.3),
        ("fixed", "0.01"): (0.4, 1.1),
        ("famo", "0.001"): (0.2, 0.9),
        ("single_task", "0.001"): (0.2, 1.0),
    }
    for (weighting, lr), (monitor, factor) in factors.items():
        for seed in range(2):
            mae = factor * (seed + 1.0)
            tasks = {t: {"rmse": mae, "loss": mae, "relative_loss": mae} for t in ("y1", "y2")}
            options = {"weighting": weighting, "seed": seed, "monitor": monitor}
            write_run(
                tmp_path, f"{weighting}{lr}{seed}", tasks, **options, overrides={"optimizer.lr": lr}
            )
    (data,) = gather(Records.read([tmp_path]), at="best", split="test").datasets
    assert qm9.rows("mlp", data) == [
        ["mlp", "fixed", "0.001", "2", "+30.0 ± 0.0", "", "178"],
        ["mlp", "famo", "0.001", "2", "-10.0 ± 0.0", "-30.8 ± 0.0", "58.5"],
    ]
    assert "resume=true" not in qm9.options("mpnn", tmp_path)
