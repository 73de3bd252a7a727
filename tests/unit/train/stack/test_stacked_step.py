"""The step of a stack equals the step of every replica's learner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_runner.tasks.activity import Active
from mtl_runner.train.stack.stacked_split import StackedSplit
from mtl_runner.train.stack.stacked_step import (
    CannotStackError,
    StackedStep,
    cannot_stack_on_error,
)
from mtl_runner.train.trainer import Trainer
from tests.support.builders import assert_near
from tests.unit.train.small_trainers import make_trainer

RATES = (0.01, 0.03, 0.03)


def make_trainers(folder: Path, *overrides: str) -> list[Trainer]:
    """Return trainers of runs that differ in seed and learning rate."""
    return [
        make_trainer(folder / str(seed), f"seed={seed}", f"optimizer.lr={lr}", *overrides)
        for seed, lr in enumerate(RATES)
    ]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "options",
    [
        ("weighting=fixed",),
        ("weighting=uncertainty", "update=per_task"),
        ("weighting=famo",),
        ("weighting=dwa", "likelihood=homoscedastic"),
    ],
)
def test_a_step_of_the_stack_is_a_step_of_every_learner(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    """Breaks if losses, weights or parameters of a replica differ from those of its single run."""
    single, stacked = (make_trainers(tmp_path / name, *options) for name in ("single", "stacked"))
    step = StackedStep(stacked, compiled=False)
    rows = torch.arange(12).reshape(3, 4)
    inputs, targets = StackedSplit([t.experiment.data.splits["train"] for t in stacked]).gather(
        rows
    )
    for trainers in (single, stacked):
        for trainer in trainers:
            trainer.learner.model.train()
    step.begin_epoch(0.0)
    layout = single[0].learner.layout
    for active in (Active.all(4), Active((1.0, 0.0, 1.0, 0.5))):
        record = torch.zeros(3, layout.width)
        step((inputs, targets, {}), active, record)
        for k, trainer in enumerate(single):
            batch = trainer.experiment.data.splits["train"].rows(rows[k])
            fields = trainer.learner.step(batch, active).fields()
            for name, values in fields.items():
                assert_near(layout.of(record[k], name), values.reshape(-1), 1e-9)
    for trainer, replica in zip(single, stacked, strict=True):
        for part in ("model", "likelihood", "weighting"):
            assert_near(
                dict(getattr(replica.learner, part).named_parameters()),
                dict(getattr(trainer.learner, part).named_parameters()),
                1e-9,
            )


def test_neighbours_with_equal_settings_share_an_optimizer(tmp_path: Path) -> None:
    """Breaks if a sweep over the seed makes as many optimizers as runs, or rates get mixed up."""
    step = StackedStep(make_trainers(tmp_path), compiled=False)
    assert [(o.first, o.end) for o in step.optimizers] == [(0, 1), (1, 3)]
    assert [o.optimizer.param_groups[0]["lr"] for o in step.optimizers] == [0.01, 0.03]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory")])
def test_too_little_memory_is_no_reason_against_the_model(error: Exception) -> None:
    """Breaks if a stack that is too large is taken for a model that cannot be stacked."""
    with pytest.raises(type(error)), cannot_stack_on_error():
        raise error


def test_the_first_line_of_an_error_is_the_reason() -> None:
    """Breaks if a page of torch.func's advice ends on the terminal."""
    with pytest.raises(CannotStackError) as reason, cannot_stack_on_error():
        raise ValueError("vmap takes no such thing.\nSee also ...")
    assert str(reason.value) == "vmap takes no such thing"
