"""The loss of clicks and conversions on all rows is the product formula, to the last digit."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn import metrics as sk

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.esmm import ESMM
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")


def rows(count: int = 200) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return outputs and targets; a conversion has no label without a click."""
    generator = torch.Generator().manual_seed(0)
    outputs = {
        name: torch.randn(count, 2, generator=generator, requires_grad=True)
        for name in ("click", "conversion")
    }
    click = torch.randint(2, (count,), generator=generator)
    conversion = torch.randint(2, (count,), generator=generator)
    return outputs, {"click": click, "conversion": torch.where(click == 1, conversion, -100)}


def test_the_loss_is_the_cross_entropy_of_the_product() -> None:
    """Breaks eq. 3 of the paper, or its gradient, which reaches both outputs."""
    outputs, targets = rows()
    p = outputs["click"].softmax(1)[:, 1] * outputs["conversion"].softmax(1)[:, 1]
    both = ((targets["click"] == 1) & (targets["conversion"] == 1)).double()
    expected = torch.nn.functional.binary_cross_entropy(p, both)
    loss = ESMM()(outputs, targets)
    assert_near(loss, expected, 1e-12)
    leaves = list(outputs.values())
    for gradient, by_hand in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        assert by_hand.abs().max() > 0
        assert_near(gradient, by_hand, 1e-12)


def test_a_conversion_that_is_0_without_a_click_is_the_same_table() -> None:
    """Breaks if the way to write "no click, no conversion" changes the loss."""
    outputs, targets = rows()
    written = {**targets, "conversion": targets["conversion"].clamp(min=0)}
    assert torch.equal(ESMM()(outputs, written), ESMM()(outputs, targets))


def test_rows_of_which_nobody_knows_do_not_count() -> None:
    """Breaks if a click without a known conversion, or an unknown click, is taken for a 0."""
    outputs, targets = rows(4)
    targets = {
        "click": torch.tensor([1, 1, -100, 0]),
        "conversion": torch.tensor([1, -100, 1, -100]),
    }
    kept = torch.tensor([0, 3])
    expected = ESMM()(
        {name: output[kept] for name, output in outputs.items()},
        {name: target[kept] for name, target in targets.items()},
    )
    assert_near(ESMM()(outputs, targets), expected, 1e-12)
    nothing = {"click": torch.full((4,), -100), "conversion": torch.full((4,), -100)}
    assert ESMM()(outputs, nothing).item() == 0


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_certain_probabilities_have_finite_losses_and_gradients(logit: float) -> None:
    """Breaks where 1 - p rounds to 0: log(1 - p) and its gradient must stay exact."""
    outputs = {
        name: torch.tensor([[0.0, logit]] * 2, requires_grad=True)
        for name in ("click", "conversion")
    }
    targets = {"click": torch.tensor([1, 0]), "conversion": torch.tensor([1, -100])}
    loss = ESMM()(outputs, targets)
    assert math.isfinite(loss.item())
    # One row is surely right, the other one surely wrong.
    assert loss.item() == pytest.approx(200 if logit < 0 else (200 - math.log(2)) / 2)
    loss.backward()
    assert all(
        output.grad.isfinite().all() for output in outputs.values() if output.grad is not None
    )


def test_the_area_of_the_product_is_scikit_learns() -> None:
    """Breaks `ctcvr_auc`, which is measured on all rows."""
    outputs, targets = rows()
    metric = ESMM().metrics["ctcvr_auc"]
    scores = outputs["click"].softmax(1)[:, 1] * outputs["conversion"].softmax(1)[:, 1]
    both = (targets["click"] == 1) & (targets["conversion"] == 1)
    assert metric(outputs, targets).item() == pytest.approx(sk.roc_auc_score(both, scores.detach()))
    task = Task("conversion", "classification", size=2, loss_term=ESMM())
    assert task.directions["ctcvr_auc"] is True


def test_other_names_and_wrong_tasks() -> None:
    """Breaks the options, or the sentences about a task that is not there or has more classes."""
    outputs, targets = rows()
    renamed = {"view": outputs["click"], "buy": outputs["conversion"]}
    views = {"view": targets["click"], "buy": targets["conversion"]}
    assert torch.equal(ESMM("view", "buy")(renamed, views), ESMM()(outputs, targets))
    with pytest.raises(
        ConfigError,
        match=r"^data\.losses: ESMM needs a task for the click, and there is none called 'click'; .*, and set click=<name> beside _target_\.$",
    ):
        ESMM()(renamed, views)
    with pytest.raises(
        ConfigError,
        match=r"^data\.losses: ESMM needs two classes of the task 'click', a classification of 0 and 1; its outputs have the shape \(3, 4\)\.$",
    ):
        ESMM()({"click": torch.zeros(3, 4), "conversion": torch.zeros(3, 2)}, targets)
