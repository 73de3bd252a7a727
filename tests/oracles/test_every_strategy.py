"""Properties of every weighting and every update, which do not depend on their formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import mtl_runner.weighting as package
from mtl_runner.errors import DivergedError
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.models import MLP
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.train.advice import advice_on_losses
from mtl_runner.train.epoch_record import EpochBuffer, EpochMeans
from mtl_runner.update import AdaTask, Joint, PerTask, Update
from mtl_runner.weighting import (
    COSMOS,
    DWA,
    FAMO,
    IGB,
    IMTLL,
    NTK,
    PBI,
    STCH,
    CoV,
    Fixed,
    FrozenMean,
    GeometricMean,
    GradNorm,
    Learned,
    LogSum,
    LRAnnealing,
    NormBalance,
    Random,
    ReLoBRaLo,
    SoftAdapt,
    Uncertainty,
    UncertaintyAnalytic,
    UncertaintySoftmax,
    Weighting,
)
from mtl_runner.weighting.protocols import (
    KeepsLosses,
    ObservesGradients,
    ObservesLosses,
    ObservesNorms,
    ObservesTraces,
)
from tests.support.builders import (
    INPUTS,
    QUICK,
    SGD,
    Adam,
    assert_near,
    assert_same_bits,
    copy_state,
    flat_parameters,
    gradients_of,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    only_active,
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
    "cov": CoV,
    "softadapt": SoftAdapt,
    "relobralo": partial(ReLoBRaLo, momentum=0.5, memory=0.5),
    "softadapt_weighted": partial(SoftAdapt, normalized=True, loss_weighted=True),
    "igb": partial(IGB, base_epoch=1),
    "gradnorm": GradNorm,
    "lra": partial(LRAnnealing, reference="a", every=2),
    "frozen_mean": lambda tasks: FrozenMean(tasks, NormBalance(tasks), after="3 steps"),
    "ntk": partial(NTK, every=2, rate=0.5),
    "norm_balance": partial(NormBalance, shares={"a": 2.0}, decay=0.9),
    "famo": FAMO,
    "imtl_l": IMTLL,
    "stch": partial(STCH, weights={"a": 2.0}),
    "stch_smooth": partial(STCH, mu=100.0),
    "stch_log_nadir": partial(STCH, form="log_nadir", nadir={"a": 3.0}),
    # With a larger theta a weight may be negative.
    "pbi": partial(PBI, theta=0.5, weights={"a": 2.0}),
    "cosmos": partial(COSMOS, penalty=0.1, weights={"a": 2.0}),
}


def test_every_weighting_is_here() -> None:
    """Breaks if the properties below are not asked of a new method."""
    classes = {type(make(make_tasks(a="regression"))) for make in WEIGHTINGS.values()}
    weightings = {getattr(package, name) for name in package.__all__}
    subclasses = {c for c in weightings if isinstance(c, type) and issubclass(c, Weighting)}
    assert subclasses - {Weighting, package.WrappedScalarizer} <= classes


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
BY_TORCHJD = ("stch", "stch_smooth", "stch_log_nadir", "pbi", "cosmos")
needs_torchjd = pytest.mark.skipif(find_spec("torchjd") is None, reason="TorchJD is not installed")
NORMS = torch.tensor([3.0, 1.0, 0.2])


def begin_epoch(weighting: Weighting) -> None:
    """Tell a weighting that an epoch begins, as the trainer does."""
    if isinstance(weighting, KeepsLosses):
        weighting.begin_epoch()


def all_but(*left_out: str) -> pytest.MarkDecorator:
    """Return the mark that runs a test with every weighting except these, which must exist."""
    assert set(left_out) <= set(WEIGHTINGS)
    kept = [
        pytest.param(make, id=name, marks=needs_torchjd if name in BY_TORCHJD else ())
        for name, make in WEIGHTINGS.items()
        if name not in left_out
    ]
    return pytest.mark.parametrize("make_weighting", kept)


weighting_is = all_but()


def run_weighting(
    weighting: Weighting, *batches: torch.Tensor, active: Active | None = None
) -> torch.Tensor:
    """Call a weighting as a run does, in epochs of two steps.

    Args:
        weighting: The weighting.
        *batches: The losses of each step, ``[T]``.
        active: The activity of the tasks; by default all take part.

    Returns:
        The weights and the objective of the last step, ``[T + 1]``.
    """
    own_optimizers = OwnOptimizers(weighting, Adam)
    for step, losses in enumerate(batches):
        if step % 2 == 0:
            begin_epoch(weighting)
        norms = torch.zeros_like(losses)
        for t in range(len(losses)) if active is None else active.tasks:
            norms[t] = NORMS[t] * (losses[t] != 0)
        if isinstance(weighting, ObservesNorms) and weighting.norms_come_first:
            weighting.observe_norms(norms, losses, active)
        if isinstance(weighting, ObservesGradients) and weighting.measures_now():
            weighting.observe_gradients(5 * norms, norms, active)
        if isinstance(weighting, ObservesTraces) and weighting.measures_now():
            weighting.observe_traces(norms.square(), active)
        weights, objective = weighting.weigh(losses, active)
        if isinstance(weighting, ObservesNorms) and not weighting.norms_come_first:
            weighting.observe_norms(norms, losses, active)
        if isinstance(weighting, ObservesLosses):
            weighting.observe_losses(losses, 0.9 * losses, active)
        own_optimizers.step()
    return torch.cat([weights, objective.reshape(1)])


def means_of(*losses: float) -> EpochMeans:
    """Return the means of an epoch with these mean losses."""
    ones = [1.0] * len(losses)
    return EpochMeans(list(losses), ones, ones, objective=1.0)


# Not AdaTask, which has no formula for SGD, the optimizer that follows the gradient itself.
@weighting_is
@pytest.mark.parametrize("update", [Joint, PerTask])
def test_one_task_alone_moves_along_its_own_gradient(
    make_weighting: Make, update: type[Update]
) -> None:
    """Breaks if a strategy changes the direction of the steps of a single task."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    model = make_mlp(tasks)
    before, gradient = flat_parameters(model), gradients_of(model, tasks, split)[0]
    train(
        make_learner(
            tasks, split, model=model, weighting=make_weighting(tasks), optimizer=SGD, update=update
        ),
        split,
        1,
    )
    cosine = torch.nn.functional.cosine_similarity(before - flat_parameters(model), gradient, dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-12)


# Not the random weights: which task gets which draw depends on the order.
@all_but("random_normal", "random_dirichlet")
@update_is
def test_permuting_the_tasks_permutes_everything(
    make_weighting: Make, update: type[Update]
) -> None:
    """Breaks if a result depends on the order in which the tasks are listed."""
    kinds = {"a": "regression", "b": "classification", "c": "regression_l1"}
    forward, backward = make_tasks(**kinds), make_tasks(**dict(reversed(kinds.items())))
    split = make_split(forward)
    model, reversed_model = make_mlp(forward), make_mlp(backward)
    reversed_model.trunk.load_state_dict(model.trunk.state_dict())
    for head, twin in zip(model.heads, reversed(reversed_model.heads), strict=True):
        twin.load_state_dict(head.state_dict())
    histories = [
        train(
            make_learner(tasks, split, model=m, weighting=make_weighting(tasks), update=update),
            split,
            10,
        )
        for tasks, m in ((forward, model), (backward, reversed_model))
    ]
    assert_near(histories[1].weights.flip(1), histories[0].weights, 1e-10)
    assert_near(histories[1].losses.flip(1), histories[0].losses, 1e-10)
    assert_near(
        copy_state(reversed_model.trunk.state_dict()), copy_state(model.trunk.state_dict()), 1e-10
    )


# Not the weights that are recomputed from the losses as constants (uw_o, uw_so, famo's c,
# softadapt, relobralo), which are no slopes of the objective's value; nor random ones, which change between two calls; nor stch
# and pbi, which bend within the finite step (each has its own test against autograd).
@all_but(
    *("uw_o", "uw_so", "famo", "random_normal", "random_dirichlet", "stch", "pbi"),
    *("softadapt", "softadapt_weighted", "relobralo"),
)
@QUICK
@given(losses=st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3))
def test_the_reported_weight_is_the_slope_of_the_reported_objective(
    make_weighting: Make, losses: list[float]
) -> None:
    """Breaks if other weights are logged than used."""
    weighting = make_weighting(make_tasks(a="regression", b="classification", c="multilabel"))
    values = torch.tensor(losses)
    weights, _ = weighting.weigh(values)
    # It keeps no more losses.
    weighting.eval()
    for index in range(3):
        shift = torch.zeros(3)
        shift[index] = 1e-3 * values[index]
        inner = weighting(values + shift) - weighting(values - shift)
        outer = weighting(values + 2 * shift) - weighting(values - 2 * shift)
        # Exact up to the fourth order.
        slope = (8 * inner - outer) / (12 * shift[index])
        assert weights[index].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-7)


@weighting_is
def test_idle_tasks_have_no_weight_and_no_part_in_the_objective(make_weighting: Make) -> None:
    """Breaks if an idle task changes the weights of the others, in this epoch or a later one."""
    results = []
    for garbage in (0.0, 12345.0):
        weighting = make_weighting(make_tasks(a="regression", b="classification", c="multilabel"))
        batches = [torch.tensor([2.0 / (1 + step), garbage, 0.5]) for step in range(6)]
        results.append(run_weighting(weighting, *batches, active=only_active(0, 2)))
        weights = results[-1]
        assert weights[1] == 0
        assert weights[0] > 0
        assert weights[2] > 0
    assert_near(results[1], results[0], 1e-12)


@pytest.mark.parametrize("early", [0, 3])
@pytest.mark.parametrize("make_weighting", LEARNED.values(), ids=LEARNED)
def test_learned_parameters_of_an_idle_task_do_not_move(make_weighting: Make, early: int) -> None:
    """Breaks if the weight of an idle task moves, or Adam counts steps for it."""
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
    assert_same_bits(learned[1].detach(), before[1])
    assert learned[0] != before[0]
    assert learned[2] != before[2]
    steps = [
        int(optimizer.state[parameter]["step"]) if parameter in optimizer.state else 0
        for parameter in learned
    ]
    assert steps == [early + 5, early, early + 5]


@weighting_is
def test_the_random_stream_of_the_run_is_left_alone(make_weighting: Make) -> None:
    """Breaks if dropout or later random draws differ between strategies with the same seed."""
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
        assert run_weighting(weighting, *[torch.tensor(solved)] * 3).isfinite().all()
    assert all(p.isfinite().all() for p in weighting.parameters())


@weighting_is
def test_a_negative_loss_gives_finite_weights(make_weighting: Make) -> None:
    """Breaks if a negative log-likelihood, which is legal, turns the run into NaN."""
    weighting = make_weighting(make_tasks(a="regression", b="classification", c="regression_l1"))
    for losses in ([0.5, 1.0, 2.0], [-0.5, 1.0, 0.5], [-1.0, -0.5, -2.0], [1.0, 1.0, -1e-3]):
        assert run_weighting(weighting, *[torch.tensor(losses)] * 2).isfinite().all()
    assert all(p.isfinite().all() for p in weighting.parameters())


# Weights that do not depend on the size of the losses are as good below 0 as above.
INDIFFERENT = (
    "fixed",
    "fixed_mean",
    "learned_softmax",
    "learned_exp",
    "frozen_mean",
    "lra",
    "norm_balance",
    "ntk",
    "random_normal",
    "random_dirichlet",
    "softadapt",
)
# So are distances from an ideal point.
BELOW_ZERO = ("stch", "stch_smooth", "pbi", "cosmos")


@all_but(*INDIFFERENT, *BELOW_ZERO)
def test_a_weighting_by_logarithms_or_ratios_warns_of_a_negative_loss(make_weighting: Make) -> None:
    """Breaks if a weighting that cannot use negative losses is given one without a warning.

    For example dwa takes it as 1e-12, and under gradnorm the weight stops.
    """
    tasks = make_tasks(a="regression", b="regression")
    learner = make_learner(tasks, make_split(tasks), weighting=make_weighting(tasks))
    assert set(advice_on_losses(learner, means_of(0.5, -0.5))) == {"b"}
    assert advice_on_losses(learner, means_of(0.5, 0.5)) == {}


@pytest.mark.parametrize("name", INDIFFERENT)
def test_a_weighted_sum_does_not_warn_of_a_negative_loss(name: str) -> None:
    """Breaks if there is a warning of a negative loss where it does no harm."""
    tasks = make_tasks(a="regression", b="regression")
    learner = make_learner(tasks, make_split(tasks), weighting=WEIGHTINGS[name](tasks))
    assert advice_on_losses(learner, means_of(0.5, -0.5)) == {}


# Not the learned weights, which are negative controls and may starve a task.
@all_but("learned_softmax", "learned_exp")
@update_is
def test_training_lowers_every_loss_of_an_easy_problem(
    make_weighting: Make, update: type[Update]
) -> None:
    """Breaks if a strategy starves a task that does not conflict with another."""
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
    # A NaN that is not marked as missing makes the loss NaN, as a diverged model does.
    split.targets[broken][5] = torch.nan
    learner = make_learner(
        tasks, split, weighting=make_weighting(tasks), update=update, optimizer=Adam
    )
    buffer = EpochBuffer(tasks, 3, torch.device("cpu"))
    active = Active((1.0, 1.0))
    for _ in range(3):
        buffer.add(learner.step(split, active), active)
    with pytest.raises(DivergedError, match=rf"task '{broken}' became nan in epoch 7, step 101"):
        buffer.take(7, 101)


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
    # Within the epoch, and in the next one.
    for _ in range(2):
        values = losses_of(learner.model, tasks, split).detach()
        assert_same_bits(twin.weigh(values), learner.weighting.weigh(values))
        begin_epoch(twin)
        begin_epoch(learner.weighting)
