"""Staged tasks: what a schedule makes of the times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.schedule import Staged
from mtl_runner.train.trainer import Trainer
from tests.unit.schedule.runs import LENGTH, TASKS, THREE, active

OPTIMIZERS = [path.stem for path in sorted((conf_directory() / "optimizer").glob("*.yaml"))]


def test_without_times_the_tasks_start_evenly_over_the_first_half() -> None:
    """Breaks if `schedule=staged` alone stages nothing, or leaves the last task too little time."""
    active_steps = active(Staged(THREE, LENGTH))
    assert [steps[0] for steps in active_steps] == [0, 50, 100]
    assert all(steps[-1] == 199 for steps in active_steps)
    assert [steps[0] for steps in active(Staged(TASKS, LENGTH))] == [0, 100]
    assert active(Staged(TASKS[:1], LENGTH)) == [list(range(200))]


def test_a_task_is_active_from_its_start_on() -> None:
    """Breaks if a start is off by one step, or a task that is not named starts late."""
    assert active(Staged(TASKS, LENGTH, start={"y2": "30 steps"})) == [
        list(range(200)),
        list(range(30, 200)),
    ]


def test_a_task_is_idle_from_its_end_on() -> None:
    """Breaks if `until` is off by one step, or brings the default staging with it."""
    assert active(Staged(TASKS, LENGTH, until={"y1": 10})) == [list(range(50)), list(range(200))]


def test_start_and_until_make_a_window() -> None:
    """Breaks if the two cannot be combined, for one task or for a hand-over between two."""
    schedule = Staged(TASKS, LENGTH, start={"y2": "25%"}, until={"y2": "60 steps"})
    assert active(schedule) == [list(range(200)), list(range(50, 60))]
    assert active(Staged(TASKS, LENGTH, start={"y2": "50%"}, until={"y1": "50%"})) == [
        list(range(100)),
        list(range(100, 200)),
    ]


def test_a_start_after_the_end_of_the_run_never_comes() -> None:
    """Breaks if a reference run without a task cannot be made by its start."""
    assert active(Staged(TASKS, LENGTH, start={"y2": 1000})) == [list(range(200)), []]


def test_starts_and_ends_are_told_to_the_plots_in_epochs() -> None:
    """Breaks if the lines in the pictures stand at the wrong epoch, or at a border."""
    schedule = Staged(
        TASKS, LENGTH, start={"y1": 0, "y2": "10 steps"}, until={"y1": "50%", "y2": "100%"}
    )
    assert schedule.epoch_marks() == {"y2 starts": 2.0, "y1 ends": 20.0}
    assert Staged(TASKS, LENGTH, start={"y2": 41}).epoch_marks() == {}


def test_who_starts_last_and_who_never_does_is_known_before_the_run() -> None:
    """Breaks if early stopping does not wait for a stage, or waits for one that never comes."""
    late = Staged(TASKS, LENGTH, start={"y2": "75%"})
    assert (late.last_start(), late.never_active()) == (30.0, [])
    too_late = Staged(TASKS, LENGTH, start={"y2": 41})
    assert (too_late.last_start(), too_late.never_active()) == (0.0, ["y2"])
    assert Staged(TASKS, LENGTH, start={"y2": 20}, until={"y2": 20}).never_active() == ["y2"]


# In training, with every optimizer of conf/


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "sgd with momentum"])
def test_a_head_that_starts_late_gets_its_optimizer_state_then(
    optimizer: str, tmp_path: Path
) -> None:
    """Breaks where torch's fused SGD does: only some parameters of a group have momentum yet."""
    name, *momentum = optimizer.split(" with ")
    overrides = [
        "data=toy_regression",
        f"optimizer={name}",
        "schedule=staged",
        "++schedule.start={y2: 2}",
        "trainer.epochs=4",
        "name=run",
    ]
    overrides += ["++optimizer.momentum=0.9", "optimizer.lr=1e-4"] if momentum else []
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        trainer = Trainer(build(compose("config", overrides)), tmp_path)
    before = {name: p.clone() for name, p in trainer.learner.model.named_parameters()}
    trainer.run()
    assert trainer.epoch == 4
    assert all(not p.equal(before[name]) for name, p in trainer.learner.model.named_parameters()), (
        "every parameter moved"
    )


# What it refuses


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"start": {"y3": 5}}, "schedule.start names the unknown task 'y3'; allowed: y1, y2."),
        ({"until": {"z": 5}}, "schedule.until names the unknown task 'z'; allowed: y1, y2."),
        (
            {"start": {"y1": 2, "y2": 3}},
            "schedule: no task is active at step 0 (epoch 0); let at least one start there.",
        ),
        ({"until": {"y1": 10, "y2": "25%"}}, "no task is active at step 50 (epoch 10)"),
        ({"start": {"y2": 20}, "until": {"y1": 10}}, "no task is active at step 50 (epoch 10)"),
        ({"start": {"y2": "later"}}, "schedule.start.y2='later' is not a time"),
        ({"start": 5}, "schedule.start must be {task: when}; found 5."),
        ({"until": ["y2"]}, "schedule.until must be {task: when}; found ['y2']."),
    ],
)
def test_a_schedule_that_cannot_be_says_why(times: dict[str, Any], words: str) -> None:
    """Breaks if a typo starts nothing, or a run trains no task for a while without a word."""
    with pytest.raises(ConfigError) as error:
        Staged(TASKS, LENGTH, **times)
    assert words in str(error.value)
