"""What in a run depends on its length, so that it cannot go on for more epochs."""

from __future__ import annotations

import pytest

from mtl_runner.experiment.build import build
from mtl_runner.runs.longer import bound_to_length
from tests.support.whole_runs import compose_config

FREE = ("data=toy_regression", "weighting=fixed", "trainer.lr_scheduler=null", "name=x")
STEP_LR = "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 3}"
T_MAX = "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.CosineAnnealingLR, T_max: 20}"


@pytest.mark.parametrize(
    "options",
    [
        (),
        (STEP_LR,),
        (T_MAX,),
        ("trainer.warmup='30 steps'", "trainer.checkpoint_every=10%"),
        ("schedule=staged", "schedule.start={y2: 3}"),
        ("weighting=uncertainty", "weighting.lr=null"),
        ("update=per_task", "weighting=dwa"),
    ],
    ids=" ".join,
)
def test_a_run_whose_first_part_stays_can_go_on(options: tuple[str, ...]) -> None:
    """Breaks if a run must start from scratch without a reason."""
    config = compose_config(*FREE, *options)
    assert bound_to_length(build(config), config) == ""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("trainer.lr_scheduler=cosine",),
            "its learning rate (trainer.lr_scheduler=cosine) falls towards that end",
        ),
        (
            (
                "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.1}",
                "trainer.lr_scheduler_per=step",
            ),
            "its learning rate (trainer.lr_scheduler=OneCycleLR) falls towards that end",
        ),
        (
            ("weighting=uncertainty",),
            "the learning rate of its weighting falls over the last 30% of them",
        ),
        (
            ("weighting=fixed", "likelihood=homoscedastic"),
            "the learning rate of its likelihood falls over the last 30% of them",
        ),
        (("trainer.warmup=5%",), "trainer.warmup=5% is a share of them"),
        (
            ("schedule=staged", "schedule.start={y2: 25%}"),
            "schedule.start.y2=25% is a share of them",
        ),
        (("trainer.evaluate_every=10%",), "trainer.evaluate_every=10% is a share of them"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_depends_on_the_length_is_named(options: tuple[str, ...], reason: str) -> None:
    """Breaks if a run goes on that would have begun otherwise in the longer run."""
    config = compose_config(*FREE, *options)
    assert bound_to_length(build(config), config) == reason
