"""Warm-up, and schedulers that step after every step: the rates that a run has, and its resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_runner.train.position import Position
from mtl_runner.train.trainer import Trainer
from mtl_runner.train.warm_up import WarmUp
from tests.unit.train.small_trainers import make_trainer
from tests.unit.train.test_stop_inside_epoch import assert_equal_ends, run_until

STEPS = 16  # steps of the run, in 4 epochs
ONE_CYCLE = "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.01}"
PER_STEP = "trainer.lr_scheduler_per=step"
CONSTANT = "trainer.lr_scheduler=null"


def rates_of(trainer: Trainer) -> list[list[float]]:
    """Train, and return the learning rate of every optimizer in each step."""
    learner, rates = trainer.learner, list[list[float]]()
    optimizers = [*learner.update.optimizers, *learner.own_optimizers.optimizers]
    step = learner.step

    def observed(*batch: Any) -> Any:
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
        return step(*batch)

    learner.step = observed  # type: ignore[method-assign]
    trainer.run()
    return rates


@pytest.mark.parametrize(("time", "steps"), [("2", 8), ("'5 steps'", 5), ("25%", 4), ("0", 0)])
def test_every_rate_grows_linearly_to_its_own(tmp_path: Path, time: str, steps: int) -> None:
    """Breaks if an optimizer is left out, or the time is read in another unit."""
    options = (CONSTANT, "weighting=uncertainty", "update=per_task")
    plain = rates_of(make_trainer(tmp_path / "plain", *options))
    warmed = rates_of(make_trainer(tmp_path / "warm", *options, f"trainer.warmup={time}"))
    assert len(warmed) == STEPS
    assert len(warmed[0]) > 2
    for step, (rates, full_rates) in enumerate(zip(warmed, plain, strict=True), 1):
        factor = min(1.0, step / steps) if steps else 1.0
        assert rates == pytest.approx([factor * rate for rate in full_rates], rel=1e-12)


def test_warm_up_multiplies_what_the_scheduler_says(tmp_path: Path) -> None:
    """Breaks if a scheduler that computes a rate from the one before meets the factor."""
    options = ("trainer.lr_scheduler=cosine", PER_STEP)
    plain = rates_of(make_trainer(tmp_path / "plain", *options))
    warmed = rates_of(make_trainer(tmp_path / "warm", *options, "trainer.warmup='10 steps'"))
    assert [w[0] for w in warmed] == pytest.approx(
        [min(1, step / 10) * p[0] for step, p in enumerate(plain, 1)], rel=1e-12
    )


def test_one_cycle_is_as_long_as_the_run(tmp_path: Path) -> None:
    """Breaks if it steps per epoch, or gets another length than the run's."""
    rates = [r[0] for r in rates_of(make_trainer(tmp_path, ONE_CYCLE, PER_STEP))]
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=STEPS)
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == expected


def test_a_scheduler_per_epoch_has_one_rate_in_an_epoch(tmp_path: Path) -> None:
    """Breaks if the default steps within epochs, or counts steps."""
    rates = [r[0] for r in rates_of(make_trainer(tmp_path, ONE_CYCLE))]
    epochs = [rates[start : start + 4] for start in range(0, STEPS, 4)]
    assert [len(set(epoch)) for epoch in epochs] == [1, 1, 1, 1]
    assert len(set(rates)) == 4


@pytest.mark.parametrize(
    "options",
    [
        (ONE_CYCLE, PER_STEP, "weighting=uncertainty"),
        ("trainer.warmup=75%", "weighting=gradnorm"),
        ("trainer.lr_scheduler=cosine", PER_STEP, "trainer.warmup='9 steps'", "update=adatask"),
    ],
    ids=lambda options: " ".join(options),
)
def test_a_run_that_stops_within_it_goes_on_to_the_same_bytes(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Breaks if a resumed run forgets how far the scheduler or the warm-up is."""
    undisturbed = make_trainer(tmp_path / "undisturbed", *options)
    undisturbed.run()
    for step in (1, 6, 8, 11):
        run_until(make_trainer(tmp_path / "stopped", *options), step)
    resumed = make_trainer(tmp_path / "stopped", *options)
    assert resumed.position == Position(2, steps=3)
    resumed.run()
    assert_equal_ends([resumed], [undisturbed])


def test_a_step_that_fails_leaves_the_own_rates() -> None:
    """Breaks if a checkpoint after an error has rates that were scaled."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.3)
    rates: list[float] = []

    def step_that_fails() -> None:
        with WarmUp([optimizer], 7).during(1):
            rates.append(optimizer.param_groups[0]["lr"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        step_that_fails()
    assert rates == [pytest.approx(0.3 / 7)]
    assert optimizer.param_groups[0]["lr"] == 0.3
