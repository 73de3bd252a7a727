"""Every method on every kind of problem: it runs, and a run that was stopped ends as if nothing had happened."""

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
    prepare,
    read,
    solvers_may_chat,
    start,
    stop_after,
)

SCHEDULES = ("plateau", "staged")  # methods that start the tasks one after another
EVALUATED = (1, 2, 4, 6)  # and 8, the last
# Dropout, so that the global random state takes part in every step.
LENGTH = ("model.dropout=0.2", "trainer.epochs=8", "trainer.evaluate_every=2")


def stopped_and_left_alone(folder: Path, chance: random.Random, *options: str) -> None:
    """A run that is stopped twice, the second time while it goes on, against one that is left alone."""
    whole = finish(prepare(folder / "whole", *options))
    stopped = prepare(folder / "stopped", *options)
    for epoch in sorted(chance.sample(EVALUATED, 2)):
        stop_after(stopped, epoch)
    found = finish(stopped)
    assert found == whole
    assert whole[0].count(b",train,total,") == len(EVALUATED) + 1


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same for every run of a test, another one for every test."""
    return random.Random(request.node.nodeid)


@solvers_may_chat
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_of_every_method_ends_in_the_same_bytes(
    tmp_path: Path, chance: random.Random, method: str
) -> None:
    """Breaks if a state of this method is not in the checkpoint, or is not taken up again."""
    problem = "digits" if method in NEED_THREE_TASKS else "toy_mixed"
    stopped_and_left_alone(tmp_path, chance, *METHODS[method], *PROBLEMS[problem], *SMALL, *LENGTH)
    active = column(read(tmp_path / "whole"), "active")
    if method in SCHEDULES:
        assert active[0].tolist() == [1, 0]
        assert active[-1].tolist() == [1, 1], "no task has started: the test says nothing of starts"


@pytest.mark.parametrize("method", ["fixed", "single_task"])
def test_the_best_model_is_remembered_over_a_stop(tmp_path: Path, method: str) -> None:
    """Breaks if a resumed run takes its own best epoch for the best of the whole run."""
    worse_at_last = (
        "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 4, gamma: 300}"
    )
    options = (*METHODS[method], *PROBLEMS["toy_mixed"], *SMALL, *LENGTH, worse_at_last)
    whole = finish(prepare(tmp_path / "whole", *options))
    stopped = prepare(tmp_path / "stopped", *options)
    stop_after(stopped, 6)
    assert finish(stopped) == whole
    best = json.loads(whole[1])["monitor"]["best_epoch"]
    assert max([best] if isinstance(best, int) else best.values()) < 6, (
        "the best epoch comes after the stop: nothing is tested"
    )


@pytest.mark.parametrize("problem", ["toy_regression", "toy_mixed"])
@pytest.mark.parametrize("method", NEED_THREE_TASKS)
def test_a_method_for_three_tasks_says_so_to_two(tmp_path: Path, method: str, problem: str) -> None:
    """Breaks if a run goes on with an aggregator that has to fail, or to stand for another one, at its first step."""
    directory = prepare(tmp_path / "run", *METHODS[method], *PROBLEMS[problem], *SMALL)
    with pytest.raises(
        ConfigError,
        match=rf"^update\.aggregator={method} needs at least 3 tasks with .*; found 2\.$",
    ):
        start(directory)


@pytest.mark.long
@solvers_may_chat
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
    """Breaks if the axes do not combine freely: as above, with two to four tasks, real data, and tasks that start late."""
    options = [*METHODS[method], *PROBLEMS[problem], *SMALL, *LENGTH]
    if problem == "table":
        options.append(
            f"data.path={request.getfixturevalue('shared_data') / 'multi_target' / 'enb.csv'}"
        )
    if schedule == "staged":
        if method == "staged" or any(option.startswith("schedule=") for option in options):
            pytest.skip("this method has a schedule of its own")
        options.append("schedule=staged")
    if method in NEED_THREE_TASKS and problem != "digits":
        pytest.skip("this method is not defined for two tasks")
    stopped_and_left_alone(tmp_path, chance, *options)
