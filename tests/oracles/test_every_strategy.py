"""What holds for every weighting and every update, whatever their formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mtl_runner.errors import DivergedError
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.models import MLP
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.train.advice import lessons_of_losses
from mtl_runner.train.totals import EpochMeans, EpochTotals
from mtl_runner.update import AdaTask, Joint, PerTask, Update
from mtl_runner.weighting import (
    COSMOS,
    DWA,
    FAMO,
    IMTLL,
    PBI,
    STCH,
    Fixed,
    GeometricMean,
    GradNorm,
    Learned,
    LogSum,
    Random,
    Uncertainty,
    UncertaintyAnalytic,
    UncertaintySoftmax,
    Weighting,
)
from mtl_runner.weighting.protocols import KeepsLosses, ObservesLosses, ObservesNorms
from tests.support.builders import (
    INPUTS,
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
    same_bits,
    some,
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
    "uw_o": UncertaintyAnalytic,
    "uw_so": UncertaintySoftmax,
    "learned_softmax": Learned,
    "learned_exp": partial(Learned, form="exp"),
    "log_sum": LogSum,
    "geometric_mean": GeometricMean,
    "random_normal": Random,
    "random_dirichlet": partial(Random, distribution="dirichlet", total="one"),
    "dwa": DWA,
    "gradnorm": GradNorm,
    "famo": FAMO,
    "imtl_l": IMTLL,
    "stch": partial(STCH, weights={"a": 2.0}),
    "stch_smooth": partial(STCH, mu=100.0),
    "pbi": partial(
        PBI, theta=0.5, weights={"a": 2.0}
    ),  # with a larger theta a weight may be negative
    "cosmos": partial(COSMOS, penalty=0.1, weights={"a": 2.0}),
}
LEARNED = {
    name: WEIGHTINGS[name]
    for name in (
        "kendall",
        "simplified",
        "liebel",
        "learned_softmax",
        "learned_exp",
        "gradnorm",
        "famo",
        "imtl_l",
    )
}
UPDATES: dict[str, Callable[..., Update]] = {
    "joint": Joint,
    "per_task": PerTask,
    "adatask": AdaTask,
}
update_is = pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
BY_TORCHJD = ("stch", "stch_smooth", "pbi", "cosmos")
needs_torchjd = pytest.mark.skipif(find_spec("torchjd") is None, reason="TorchJD is not installed")
NORMS = torch.tensor([3.0, 1.0, 0.2])


def begin_epoch(weighting: Weighting) -> None:
    """As the trainer does."""
    if isinstance(weighting, KeepsLosses):
        weighting.begin_epoch()


def all_but(*left_out: str) -> pytest.MarkDecorator:
    """Every weighting except these, which must exist; the reason stands where they are left out."""
    assert set(left_out) <= set(WEIGHTINGS)
    kept = [
        pytest.param(make, id=name, marks=needs_torchjd if name in BY_TORCHJD else ())
        for name, make in WEIGHTINGS.items()
        if name not in left_out
    ]
    return pytest.mark.parametrize("make_weighting", kept)


weighting_is = all_but()


def live(
    weighting: Weighting, *batches: torch.Tensor, active: Active | None = None
) -> torch.Tensor:
    """Epochs of two steps, with everything that a run tells a weighting; returns the last weights and objective ``[T + 1]``."""
    own = OwnOptimizers(weighting, Adam)
    for step, losses in enumerate(batches):
        if step % 2 == 0:
            begin_epoch(weighting)
        weights, objective = weighting.weigh(losses, active)
        if isinstance(weighting, ObservesNorms):
            pulls = torch.zeros_like(losses)
            for t in range(len(losses)) if active is None else active.tasks:
                pulls[t] = NORMS[t] * (losses[t] != 0)
            weighting.observe_norms(pulls, losses, active)
        if isinstance(weighting, ObservesLosses):
            weighting.observe_losses(losses, 0.9 * losses, active)
        own.step()
    return torch.cat([weights, objective.reshape(1)])


def means_of(*losses: float) -> EpochMeans:
    """An epoch with these mean losses."""
    ones = [1.0] * len(losses)
    return EpochMeans(list(losses), ones, ones, objective=1.0)


# SGD, the optimizer that follows the gradient itself, is not among those that AdaTask has a formula for.
@weighting_is
@pytest.mark.parametrize("update", [Joint, PerTask])
def test_one_task_alone_moves_along_its_own_gradient(
    make_weighting: Make, update: type[Update]
) -> None:
    """Breaks if a strategy does more to a single task than scale its loss."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    model = make_mlp(tasks)
    before, gradient = flat(model), gradients_of(model, tasks, split)[0]
    train(
        make_learner(
            tasks, split, model=model, weighting=make_weighting(tasks), optimizer=SGD, update=update
        ),
        split,
        1,
    )
    cosine = torch.nn.functional.cosine_similarity(before - flat(model), gradient, dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-12)


# Random weights are drawn by position: which task gets which draw is a matter of the order.
@all_but("random_normal", "random_dirichlet")
@update_is
def test_permuting_the_tasks_permutes_everything(
    make_weighting: Make, update: type[Update]
) -> None:
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


# Weights that are recomputed from the losses as constants (uw_o, uw_so, famo's c) are no slopes of the objective's value, and random
# ones change between two looks; stch and pbi bend within the finite step (each has its own test against autograd).
@all_but("uw_o", "uw_so", "famo", "random_normal", "random_dirichlet", "stch", "pbi")
@QUICK
@given(losses=st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3))
def test_the_reported_weight_is_the_slope_of_the_reported_objective(
    make_weighting: Make, losses: list[float]
) -> None:
    """Breaks if the log shows weights that were not the ones in use."""
    weighting = make_weighting(make_tasks(a="regression", b="classification", c="multilabel"))
    values = torch.tensor(losses)
    weights, _ = weighting.weigh(values)
    for index in range(3):
        shift = torch.zeros(3)
        shift[index] = 1e-3 * values[index]
        inner = weighting(values + shift) - weighting(values - shift)
        outer = weighting(values + 2 * shift) - weighting(values - 2 * shift)
        slope = (8 * inner - outer) / (12 * shift[index])  # exact up to the fourth order
        assert weights[index].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-7)


@weighting_is
def test_idle_tasks_have_no_weight_and_no_say_in_the_objective(make_weighting: Make) -> None:
    """Breaks if a task that does not take part shifts the weights of those that do, now or in the epochs after."""
    found = []
    for garbage in (0.0, 12345.0):
        weighting = make_weighting(make_tasks(a="regression", b="classification", c="multilabel"))
        batches = [torch.tensor([2.0 / (1 + step), garbage, 0.5]) for step in range(6)]
        found.append(live(weighting, *batches, active=some(0, 2)))
        weights = found[-1]
        assert weights[1] == 0
        assert weights[0] > 0
        assert weights[2] > 0
    near(found[1], found[0], 1e-12)


@pytest.mark.parametrize("early", [0, 3])
@pytest.mark.parametrize("make_weighting", LEARNED.values(), ids=LEARNED)
def test_what_is_learned_of_an_idle_task_stands_still(make_weighting: Make, early: int) -> None:
    """Breaks if the weight of an idle task moves, or its optimizer's clock runs, while the others train."""
    tasks = make_tasks(a="regression", b="regression", c="regression_l1")
    split = make_split(tasks)
    weighting = make_weighting(tasks)
    learner = make_learner(tasks, split, weighting=weighting)
    for _ in range(early):
        learner.step(split, Active.all(3))
    (learned,) = (module for module in weighting.modules() if isinstance(module, nn.ParameterList))
    (optimizer,) = learner.own_optimizers.optimizers
    before = [parameter.detach().clone() for parameter in learned]
    for _ in range(5):
        learner.step(split, Active((1.0, 0.0, 1.0)))
    same_bits(learned[1].detach(), before[1])
    assert learned[0] != before[0]
    assert learned[2] != before[2]
    steps = [
        int(optimizer.state[parameter]["step"]) if parameter in optimizer.state else 0
        for parameter in learned
    ]
    assert steps == [early + 5, early, early + 5]


@weighting_is
def test_the_random_stream_of_the_run_is_left_alone(make_weighting: Make) -> None:
    """Breaks if dropout and later draws differ between strategies with the same seed."""
    tasks = make_tasks(a="regression", b="classification")
    split = make_split(tasks)
    states = []
    for make in (Fixed, make_weighting):
        torch.manual_seed(7)
        model = MLP(tasks, (INPUTS,), (8,), dropout=0.5)
        train(make_learner(tasks, split, model=model, weighting=make(tasks)), split, 3)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@weighting_is
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loss_of_zero_gives_finite_weights(make_weighting: Make, dtype: torch.dtype) -> None:
    """Breaks if a task that is solved exactly turns the run into NaN."""
    torch.set_default_dtype(dtype)
    weighting = make_weighting(make_tasks(a="regression", b="classification", c="regression_l1"))
    for solved in ([0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]):
        assert live(weighting, *[torch.tensor(solved)] * 3).isfinite().all()
    assert all(p.isfinite().all() for p in weighting.parameters())


@weighting_is
def test_a_negative_loss_gives_finite_weights(make_weighting: Make) -> None:
    """Breaks if a negative log-likelihood, which is legal, turns the run into NaN."""
    weighting = make_weighting(make_tasks(a="regression", b="classification", c="regression_l1"))
    for losses in ([0.5, 1.0, 2.0], [-0.5, 1.0, 0.5], [-1.0, -0.5, -2.0], [1.0, 1.0, -1e-3]):
        assert live(weighting, *[torch.tensor(losses)] * 2).isfinite().all()
    assert all(p.isfinite().all() for p in weighting.parameters())


# Sums with weights that do not depend on the losses' size, and distances from an ideal, are as good below 0 as above.
INDIFFERENT = (
    "fixed",
    "fixed_mean",
    "learned_softmax",
    "learned_exp",
    "random_normal",
    "random_dirichlet",
)
BELOW_ZERO = ("stch", "stch_smooth", "pbi", "cosmos")


@all_but(*INDIFFERENT, *BELOW_ZERO)
def test_a_weighting_by_logarithms_or_ratios_warns_of_a_negative_loss(make_weighting: Make) -> None:
    """Breaks if a negative log-likelihood is silently taken as 1e-12 (dwa) or stops a weight (gradnorm)."""
    tasks = make_tasks(a="regression", b="regression")
    learner = make_learner(tasks, make_split(tasks), weighting=make_weighting(tasks))
    assert set(lessons_of_losses(learner, means_of(0.5, -0.5))) == {"b"}
    assert lessons_of_losses(learner, means_of(0.5, 0.5)) == {}


@pytest.mark.parametrize("name", INDIFFERENT)
def test_a_weighted_sum_does_not_warn_of_a_negative_loss(name: str) -> None:
    """Breaks if a legal loss is called a mistake where it is none."""
    tasks = make_tasks(a="regression", b="regression")
    learner = make_learner(tasks, make_split(tasks), weighting=WEIGHTINGS[name](tasks))
    assert lessons_of_losses(learner, means_of(0.5, -0.5)) == {}


# The learned weights are negative controls: they promise no task anything.
@all_but("learned_softmax", "learned_exp")
@update_is
def test_training_lowers_every_loss_of_an_easy_problem(
    make_weighting: Make, update: type[Update]
) -> None:
    """Breaks if a strategy starves a task that nothing stands in the way of."""
    tasks = make_tasks(a="regression", b="classification", c="multilabel")
    split = make_split(tasks, rows=8)
    learner = make_learner(tasks, split, weighting=make_weighting(tasks), update=update)
    history = train(learner, split, 60)
    assert (history.losses[-1] < 0.8 * history.losses[0]).all()


@weighting_is
@update_is
@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_nan_is_reported_with_the_name_of_its_task(
    make_weighting: Make, update: type[Update], broken: str
) -> None:
    """Breaks if a diverged run goes on, or blames the wrong task."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    split.targets[broken][5] = torch.nan  # not marked as missing: what a broken loss looks like
    learner = make_learner(
        tasks, split, weighting=make_weighting(tasks), update=update, optimizer=Adam
    )
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
    for _ in range(3):
        begin_epoch(learner.weighting)
        train(learner, split, 2)
    twin = make_weighting(tasks)
    twin.load_state_dict(learner.weighting.state_dict())
    for _ in range(2):  # within the epoch, and in the next
        values = losses_of(learner.model, tasks, split).detach()
        same_bits(twin.weigh(values), learner.weighting.weigh(values))
        begin_epoch(twin)
        begin_epoch(learner.weighting)
