"""The sigmas at which uncertainty weighting ends, by a solver and in training on the toy."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.data.toys.toy import ToyRegression
from mtl_runner.models import SeparateMLPs
from mtl_runner.weighting import Uncertainty
from tests.support.builders import (
    KINDS,
    QUICK,
    assert_near,
    make_learner,
    make_tasks,
    minimise,
    train_epochs,
)

pytestmark = pytest.mark.usefixtures("float64")

FORMS = ("kendall", "simplified", "jde", "liebel")
PER_KIND = [(form, kind) for form in FORMS for kind in KINDS]
losses_over_decades = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)


def scale_at_optimum(form: str, kind: str, loss: float) -> float:
    """Return e^s where the objective of a constant loss is least, as published."""
    if form == "liebel":
        return (loss + (loss**2 + 8 * loss) ** 0.5) / 4
    return 2 * loss if form == "kendall" and kind in ("classification", "multilabel") else loss


def log_variances(weighting: Uncertainty) -> torch.Tensor:
    """Return a copy of all log-variances."""
    return torch.stack([s.detach().clone() for s in weighting.log_variance])


@QUICK
@given(loss=losses_over_decades)
@pytest.mark.parametrize(("form", "kind"), PER_KIND)
def test_log_variance_converges_to_the_published_optimum(form: str, kind: str, loss: float) -> None:
    """Breaks if the constants of a form are not those of its paper."""
    expected = scale_at_optimum(form, kind, loss)
    weighting = Uncertainty(make_tasks(a=kind), form=form, init=float(np.log(expected)) + 1)
    minimise(weighting.parameters(), lambda: weighting(torch.tensor([loss])))
    assert_near(log_variances(weighting), torch.tensor([expected]).log(), 1e-7)


@pytest.mark.long
def test_default_reaches_the_log_loss_of_the_toys_last_epoch() -> None:
    """Breaks if the sigmas that a default run reports are not those of its residuals."""
    toy = ToyRegression()
    torch.manual_seed(0)
    model = SeparateMLPs(toy.tasks, (1,), (64,))
    weighting = Uncertainty(toy.tasks)
    learner = make_learner(
        toy.tasks,
        toy.splits["train"],
        model=model,
        weighting=weighting,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
    )
    last_epoch = train_epochs(learner, toy.splits["train"], epochs=400, batch_size=20)
    assert_near(log_variances(weighting), last_epoch.losses.mean(0).log(), 0.02)


@pytest.mark.long
def test_one_adam_for_everything_reproduces_the_published_toy() -> None:
    """Breaks if training cannot reproduce the toy's published log-variances, 4.298 and -0.2037."""
    torch.set_default_dtype(torch.float32)
    toy = ToyRegression()
    torch.manual_seed(0)
    model = SeparateMLPs(toy.tasks, (1,), (1024,))
    weighting = Uncertainty(toy.tasks, form="simplified", init=0.0, lr=None, anneal=False)
    optimizer = partial(torch.optim.Adam, lr=1e-3, eps=1e-7)
    learner = make_learner(
        toy.tasks, toy.splits["train"], model=model, weighting=weighting, optimizer=optimizer
    )
    train_epochs(learner, toy.splits["train"], epochs=2000, batch_size=20)
    learned = log_variances(weighting)
    assert learned[0].item() == pytest.approx(4.298, abs=0.05)
    assert learned[1].item() == pytest.approx(-0.2037, abs=0.03)
