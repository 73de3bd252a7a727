"""What holds for every weighting and every update, whatever their formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import DivergedError
from mtl_runner.task import Task
from mtl_runner.totals import EpochTotals
from mtl_runner.update import Active, Joint, PerTask, Update
from mtl_runner.weighting import Fixed, Uncertainty, Weighting
from tests.builders import (
    QUICK,
    SGD,
    Adam,
    copied,
    flat,
    gradients_of,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    near,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

Make = Callable[[Sequence[Task]], Weighting]

WEIGHTINGS: dict[str, Make] = {
    "fixed": Fixed,
    "fixed_mean": partial(Fixed, weights={"a": 3.0}, normalize="mean"),
    "kendall": Uncertainty,
    "simplified": partial(Uncertainty, form="simplified", init=0.0, lr=None),
    "jde": partial(Uncertainty, form="jde"),
    "liebel": partial(Uncertainty, form="liebel", init=0.0),
    "closed_form": partial(Uncertainty, solver="closed_form"),
}
UPDATES: dict[str, Callable[..., Update]] = {"joint": Joint, "per_task": PerTask}
weighting_is = pytest.mark.parametrize("make_weighting", WEIGHTINGS.values(), ids=WEIGHTINGS)
update_is = pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)


@weighting_is
@update_is
def test_one_task_alone_moves_along_its_own_gradient(make_weighting: Make, update: type[Update]) -> None:
    """Breaks if a strategy does more to a single task than scale its loss."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    model = make_mlp(tasks)
    before, gradient = flat(model), gradients_of(model, tasks, split)[0]
    train(make_learner(tasks, split, model=model, weighting=make_weighting(tasks), optimizer=SGD, update=update), split, 1)
    cosine = torch.nn.functional.cosine_similarity(before - flat(model), gradient, dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-12)


@weighting_is
@update_is
def test_permuting_the_tasks_permutes_everything(make_weighting: Make, update: type[Update]) -> None:
    """Breaks if a result depends on the order in which the tasks are listed."""
    kinds = {"a": "regression", "b": "classification", "c": "regression_l1"}
    forward, backward = make_tasks(**kinds), make_tasks(**dict(reversed(kinds.items())))
    split = make_split(forward)
    model, turned = make_mlp(forward), make_mlp(backward)
    turned.trunk.load_state_dict(model.trunk.state_dict())
    for head, twin in zip(model.heads, reversed(turned.heads), strict=True):
        twin.load_state_dict(head.state_dict())
    histories = [
        train(
            make_learner(tasks, split, model=m, weighting=make_weighting(tasks), update=update),
            split,
            10,
        )
        for tasks, m in ((forward, model), (backward, turned))
    ]
    near(histories[1].weights.flip(1), histories[0].weights, 1e-10)
    near(histories[1].losses.flip(1), histories[0].losses, 1e-10)
    near(copied(turned.trunk.state_dict()), copied(model.trunk.state_dict()), 1e-10)


@weighting_is
@QUICK
@given(losses=st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3))
def test_the_reported_weight_is_the_slope_of_the_reported_objective(make_weighting: Make, losses: list[float]) -> None:
    """Breaks if the log shows weights that were not the ones in use."""
    weighting = make_weighting(make_tasks(a="regression", b="classification", c="multilabel"))
    values = torch.tensor(losses)
    weights, _ = weighting.weigh(values)
    for index in range(3):
        shift = torch.zeros(3)
        shift[index] = values[index] / 2
        slope = (weighting(values + shift) - weighting(values - shift)) / values[index]
        assert weights[index].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-9)


@weighting_is
def test_idle_tasks_have_no_weight_and_no_say_in_the_objective(make_weighting: Make) -> None:
    """Breaks if a task that does not take part shifts the weights of those that do."""
    weighting = make_weighting(make_tasks(a="regression", b="classification", c="multilabel"))
    found = []
    for garbage in (0.0, 12345.0):
        weights, objective = weighting.weigh(torch.tensor([2.0, garbage, 0.5]), active=[0, 2])
        assert weights[1] == 0
        assert weights[0] > 0
        assert weights[2] > 0
        found.append(torch.cat([weights, objective.reshape(1)]))
    near(found[1], found[0], 1e-12)


@weighting_is
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loss_of_zero_gives_finite_weights(make_weighting: Make, dtype: torch.dtype) -> None:
    """Breaks if a task that is solved exactly turns the run into NaN."""
    torch.set_default_dtype(dtype)
    weighting = make_weighting(make_tasks(a="regression", b="classification", c="regression_l1"))
    for _ in range(3):
        weights, objective = weighting.weigh(torch.tensor([0.0, 1.0, 0.0]))
        assert weights.isfinite().all()
        assert objective.isfinite()


@weighting_is
@update_is
def test_training_lowers_every_loss_of_an_easy_problem(make_weighting: Make, update: type[Update]) -> None:
    """Breaks if a strategy starves a task that nothing stands in the way of."""
    tasks = make_tasks(a="regression", b="classification", c="multilabel")
    split = make_split(tasks, rows=8)
    learner = make_learner(tasks, split, weighting=make_weighting(tasks), update=update)
    history = train(learner, split, 60)
    assert (history.losses[-1] < 0.8 * history.losses[0]).all()


@weighting_is
@update_is
@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_nan_is_reported_with_the_name_of_its_task(make_weighting: Make, update: type[Update], broken: str) -> None:
    """Breaks if a diverged run goes on, or blames the wrong task."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    split.targets[broken][5] = torch.nan  # not marked as missing: what a broken loss looks like
    learner = make_learner(tasks, split, weighting=make_weighting(tasks), update=update, optimizer=Adam)
    totals = EpochTotals(tasks, 3, torch.device("cpu"))
    everyone = Active((1.0, 1.0))
    for _ in range(3):
        totals.add(learner.step(split, everyone), everyone)
    with pytest.raises(DivergedError, match=rf"task '{broken}' became nan in epoch 7, step 101"):
        totals.take(7, 101)


@weighting_is
def test_weights_of_a_fresh_copy_continue_from_a_saved_state(make_weighting: Make) -> None:
    """Breaks if a resumed run starts its weighting anew."""
    tasks = make_tasks(a="regression", b="classification", c="multilabel")
    split = make_split(tasks)
    learner = make_learner(tasks, split, weighting=make_weighting(tasks))
    train(learner, split, 5)
    twin = make_weighting(tasks)
    twin.load_state_dict(learner.weighting.state_dict())
    values = losses_of(learner.model, tasks, split).detach()
    near(twin.weigh(values), learner.weighting.weigh(values), 0)
