"""The short runs of a probe."""

from __future__ import annotations

import pytest

from mtl_runner.study.probe.plan import candidates, first_runs, other_runs


def test_every_candidate_gets_every_rate_and_seed_once() -> None:
    """Breaks if a strategy is tried less than another, or equal weights are trained twice."""
    trivial = {"depth": 4.0, "label": 1.0}
    runs = [*first_runs(0.01, (0, 1)), *other_runs(trivial, (0.01, 0.03), (0, 1))]
    settings = [(run.candidate.name, run.lr, run.seed) for run in runs]
    names = ["equal", *(candidate.name for candidate in candidates(trivial))]
    expected = {(name, lr, seed) for name in names for lr in (0.01, 0.03) for seed in (0, 1)}
    assert len(settings) == len(set(settings))
    assert set(settings) == expected
    assert [run.overrides for run in first_runs(0.01, (5,))] == [
        ["weighting=fixed", "record.gradients=true", "optimizer.lr=0.01", "seed=5"]
    ]


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_fixed_weights_lean_to_one_task_each(tasks: int) -> None:
    """Breaks if many tasks make many runs, or a weighting does not lean in units of no task."""
    trivial = {f"t{i}": 10.0**i for i in range(tasks)}
    fixed = [c for c in candidates(trivial) if c.role == "fixed"]
    assert len(fixed) == min(tasks, 3) + 1
    options = fixed[0].overrides[1:]
    first = dict(o.removeprefix("weighting.weights.").split("=") for o in options)
    parts = {task: float(weight) * trivial[task] for task, weight in first.items()}
    assert parts["t0"] / sum(parts.values()) == pytest.approx(0.8, rel=1e-2)
    assert fixed[-1].name.startswith("fixed 1/trivial")


def test_without_trivial_losses_there_are_no_weights_by_them() -> None:
    """Breaks if an equation, whose residual has no trivial predictor, cannot be probed."""
    names = [candidate.name for candidate in candidates({"u": 1.0, "pde": None})]
    assert names == [
        *("single_task", "uncertainty", "famo"),
        *("fixed u=1.6 pde=0.4", "fixed u=0.4 pde=1.6"),
    ]
