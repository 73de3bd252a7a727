"""Every method runs on every kind of problem, and a stopped and resumed run ends the same."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mtl_runner.errors import ConfigError
from tests.oracles.methods.runs import (
    METHODS,
    NEED_THREE_TASKS,
    PROBLEMS,
    SMALL,
    column,
    finish,
    ignore_solver_warnings,
    prepare,
    read,
    start,
    stop_after,
)
from tests.support.lengths import long_but

# Methods that start the tasks one after another.
SCHEDULES = ("plateau", "staged")
# The evaluated epochs before the last one, which is 8.
EVALUATED = (1, 2, 4, 6)
# With dropout the global random state takes part in every step.
LENGTH = ("model.dropout=0.2", "trainer.epochs=8", "trainer.evaluate_every=2")


def assert_stops_change_nothing(folder: Path, chance: random.Random, *options: str) -> None:
    """Compare a run that is stopped at two random epochs with one that is not stopped."""
    uninterrupted = finish(prepare(folder / "whole", *options))
    stopped = prepare(folder / "stopped", *options)
    for epoch in sorted(chance.sample(EVALUATED, 2)):
        stop_after(stopped, epoch)
    resumed = finish(stopped)
    assert resumed == uninterrupted
    assert uninterrupted[0].count(b",train,total,") == len(EVALUATED) + 1


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Return a random generator whose seed is the name of the test."""
    return random.Random(request.node.nodeid)


@ignore_solver_warnings
@pytest.mark.parametrize("method", long_but(list(METHODS)[::3], METHODS))
def test_a_stopped_run_of_every_method_ends_in_the_same_bytes(
    tmp_path: Path, chance: random.Random, method: str
) -> None:
    """Breaks if a state of this method is not in the checkpoint, or is not loaded from it."""
    problem = "digits" if method in NEED_THREE_TASKS else "toy_mixed"
    assert_stops_change_nothing(
        tmp_path, chance, *METHODS[method], *PROBLEMS[problem], *SMALL, *LENGTH
    )
    active = column(read(tmp_path / "whole"), "active")
    if method in SCHEDULES:
        assert active[0].tolist() == [1, 0]
        assert active[-1].tolist() == [1, 1], "no task has started: the test says nothing of starts"


@pytest.mark.parametrize("method", ["fixed", "single_task"])
def test_the_best_model_is_remembered_over_a_stop(tmp_path: Path, method: str) -> None:
    """Breaks if a resumed run forgets the best epoch before the stop."""
    worse_at_last = (
        "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 4, gamma: 300}"
    )
    options = (*METHODS[method], *PROBLEMS["toy_mixed"], *SMALL, *LENGTH, worse_at_last)
    uninterrupted = finish(prepare(tmp_path / "whole", *options))
    stopped = prepare(tmp_path / "stopped", *options)
    stop_after(stopped, 6)
    assert finish(stopped) == uninterrupted
    best = json.loads(uninterrupted[1])["monitor"]["best_epoch"]
    assert max([best] if isinstance(best, int) else best.values()) < 6, (
        "the best epoch comes after the stop: nothing is tested"
    )


@pytest.mark.parametrize("problem", ["toy_regression", "toy_mixed"])
@pytest.mark.parametrize("method", NEED_THREE_TASKS)
def test_a_method_for_three_tasks_says_so_to_two(tmp_path: Path, method: str, problem: str) -> None:
    """Breaks if a run starts with an aggregator that is not defined for its number of tasks."""
    directory = prepare(tmp_path / "run", *METHODS[method], *PROBLEMS[problem], *SMALL)
    with pytest.raises(
        ConfigError,
        match=rf"^update\.aggregator={method} needs at least 3 tasks with .*; found 2\.$",
    ):
        start(directory)


@pytest.mark.long
@ignore_solver_warnings
@pytest.mark.parametrize("schedule", ["alone", "staged"])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_resumes_on_every_problem(
    tmp_path: Path,
    chance: random.Random,
    request: pytest.FixtureRequest,
    method: str,
    problem: str,
    schedule: str,
) -> None:
    """Breaks if a method cannot be combined with every problem and schedule, and be resumed.

    The problems have two to four tasks and real data; under a schedule some tasks start late.
    """
    options = [*METHODS[method], *PROBLEMS[problem], *SMALL, *LENGTH]
    if problem == "table":
        options.append(
            f"data.path={request.getfixturevalue('shared_data') / 'multi_target' / 'enb.csv'}"
        )
    if schedule == "staged":
        if method == "staged" or any(option.startswith("schedule=") for option in options):
            pytest.skip("this method chooses its schedule")
        options.append("schedule=staged")
    if method in NEED_THREE_TASKS and problem != "digits":
        pytest.skip("this method is not defined for two tasks")
    assert_stops_change_nothing(tmp_path, chance, *options)
