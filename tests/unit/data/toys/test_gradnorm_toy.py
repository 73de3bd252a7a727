"""Tasks that differ in nothing but their scale are what they say."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from mtl_runner.data import GradNormToy
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError
from tests.support.builders import assert_near, assert_same_bits

SMALL: dict[str, Any] = {"n": 40, "n_val": 10, "n_test": 20}


def test_the_scale_of_a_task_is_exactly_its_sigma() -> None:
    """Breaks the point of the problem: tasks that differ in anything but scale."""
    plain, scaled = GradNormToy([1, 1, 1], **SMALL), GradNormToy([3, 100, 0.1], **SMALL)
    for split in ("train", "val", "test"):
        for task, sigma in zip(("y1", "y2", "y3"), (3, 100, 0.1), strict=True):
            assert_same_bits(
                scaled.splits[split].targets[task], sigma * plain.splits[split].targets[task]
            )
            assert float(plain.splits[split].targets[task].abs().max()) <= 1


def test_inputs_lie_on_the_unit_sphere_and_in_no_preferred_direction() -> None:
    """Breaks the hardness: the size of the inputs is how far tanh saturates."""
    for split in GradNormToy(n_val=50, n_test=50, n=2000).splits.values():
        assert isinstance(split.inputs, torch.Tensor)
        assert_near(split.inputs.norm(dim=1), torch.ones(len(split)), 1e-6)
        assert split.inputs.shape[1] == 250
        assert split.inputs.mean(0).norm() < 2 / math.sqrt(len(split))


def test_two_tasks_share_as_much_of_their_maps_as_the_variances_say() -> None:
    """Breaks what the tasks can learn from each other.

    Signs of two normal numbers of correlation 10 / 13.5 agree in 76.6 % of all cases.
    """
    targets = GradNormToy(n=2000).splits["train"].targets
    agree = (targets["y1"].sign() == targets["y2"].sign()).double().mean()
    assert float(agree) == pytest.approx(0.5 + math.asin(10 / 13.5) / math.pi, abs=0.01)
    assert not torch.equal(targets["y1"], targets["y2"] / 100)


def test_the_spread_before_tanh_is_that_of_both_maps() -> None:
    """Breaks the variances 10 and 3.5 (they are no standard deviations).

    The middle of |N(0, 13.5)| is at 0.6745 times its root.
    """
    target = GradNormToy(n=2000).splits["train"].targets["y1"]
    assert float(target.abs().median()) == pytest.approx(
        math.tanh(0.67449 * math.sqrt(13.5)), abs=0.002
    )
    assert float(target.mean()) == pytest.approx(0, abs=0.02)


def test_as_many_tasks_as_scales_and_sizes_as_asked() -> None:
    """Breaks `data.sigmas`, `data.dim`, `data.outputs` and the numbers of points."""
    prepared = prepare(
        GradNormToy([1, 2, 5, 10, 20, 30, 50, 70, 85, 100], dim=7, outputs=3, **SMALL)
    )
    assert [(task.name, task.kind, task.size) for task in prepared.tasks] == [
        (f"y{index}", "regression", 3) for index in range(1, 11)
    ]
    assert {name: len(split) for name, split in prepared.splits.items()} == {
        "train": 40,
        "val": 10,
        "test": 20,
    }


def test_the_same_seed_gives_the_same_data_whatever_else_was_drawn() -> None:
    """Breaks reproducibility, or comparisons between runs with more and fewer training points."""
    torch.manual_seed(5)
    state = torch.get_rng_state()
    few_rows, more_rows, other_seed = (
        GradNormToy(**SMALL),
        GradNormToy(**{**SMALL, "n": 60}),
        GradNormToy(**SMALL, seed=1),
    )
    assert torch.equal(torch.get_rng_state(), state)
    for split in ("val", "test"):
        assert_same_bits(few_rows.splits[split].inputs, more_rows.splits[split].inputs)
        assert_same_bits(few_rows.splits[split].targets, more_rows.splits[split].targets)
    assert not torch.equal(
        few_rows.splits["train"].targets["y1"], other_seed.splits["train"].targets["y1"]
    )


@pytest.mark.parametrize(
    "sigmas", [[], 5, [1, 0], [1, -2], [1, "2"], [True], [1, math.inf], [1, math.nan]]
)
def test_scales_that_are_none_are_refused(sigmas: Any) -> None:
    """Breaks the sentence about `data.sigmas`."""
    with pytest.raises(
        ConfigError,
        match=r"data\.sigmas must be a list of positive numbers, one per task, e\.g\. \[1, 100\]; found",
    ):
        GradNormToy(sigmas)


@pytest.mark.parametrize("name", ["dim", "outputs", "n", "n_val", "n_test"])
@pytest.mark.parametrize("size", [0, -3, 2.5, True])
def test_sizes_that_are_none_are_refused(name: str, size: Any) -> None:
    """Breaks the sentence about the sizes."""
    with pytest.raises(
        ConfigError,
        match=re.escape(f"data.{name} must be a whole number of at least 1; found {size!r}."),
    ):
        GradNormToy(**{name: size})
