"""AdaTask: what it equals, what it is invariant to, and what it keeps for each task by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.learner import Learner
from mtl_runner.models import SeparateMLPs
from mtl_runner.tasks.task import Task
from mtl_runner.update import AdaTask, Joint, PerTask
from mtl_runner.weighting import Fixed
from tests.support.builders import (
    NO_DATA,
    QUICK,
    Adam,
    Point,
    assert_near,
    assert_same_bits,
    copy_state,
    flat_parameters,
    head_state,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    make_terms,
    train,
)
from tests.unit.update.learners import (
    EXPONENTS,
    KINDS_OF,
    Optimizer,
    Pairs,
    every_transition,
    learner_with,
    only,
    through_a_file,
)

pytestmark = pytest.mark.usefixtures("float64")

AdamW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
RMSprop = partial(torch.optim.RMSprop, lr=0.01)
Adagrad = partial(torch.optim.Adagrad, lr=0.05)

OPTIMIZERS: dict[str, Optimizer] = {
    "Adam": Adam,
    "Adam, other betas": partial(Adam, betas=(0.5, 0.9), eps=1e-3),
    "Adam, L2": partial(Adam, weight_decay=0.1),
    "Adam, decoupled": partial(Adam, weight_decay=0.1, decoupled_weight_decay=True),
    "AdamW": AdamW,
    "RMSprop": RMSprop,
    "RMSprop, L2": partial(RMSprop, alpha=0.9, weight_decay=0.1),
    "Adagrad": Adagrad,
    "Adagrad, L2": partial(Adagrad, weight_decay=0.1),
}
optimizer_is = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
clip_is = pytest.mark.parametrize("clip", [None, 0.05])


def pulls() -> list[Task]:
    """Return three losses that pull a point to different places with different strength."""
    return make_terms(
        a=lambda p: (p - torch.tensor([1.0, 2.0])).square().sum(),
        b=lambda p: 50 * (p + 1).square().sum(),
        c=lambda p: 0.1 * (p * torch.tensor([1.0, -3.0])).sum().cosh(),
    )


def trained_point(
    tasks: Sequence[Task], steps: int = 30, optimizer: Optimizer = Adam, **options: object
) -> Tensor:
    """Return the point that training from (0.3, -0.4) arrives at."""
    model = Point(0.3, -0.4)
    train(
        learner_with(AdaTask, tasks, NO_DATA, model=model, optimizer=optimizer, **options),
        NO_DATA,
        steps,
    )
    return flat_parameters(model)


# What it equals


@optimizer_is
@clip_is
def test_it_is_one_optimizer_per_task_at_the_same_point(
    optimizer: Optimizer, clip: float | None
) -> None:
    """Breaks if the moments in one matrix are not those of one torch optimizer per task."""
    tasks, point = pulls(), Point(0.3, -0.4)
    start = optimizer([point.point])
    decay = start.defaults.get("weight_decay", 0.0)
    decoupled = isinstance(start, torch.optim.AdamW) or start.defaults.get("decoupled_weight_decay")
    shares = [decay * (t == 0) for t in range(3)] if decoupled else [decay / 3] * 3  # once in all
    copies = [torch.zeros(2, requires_grad=True) for _ in tasks]
    optimizers = [
        optimizer([c], weight_decay=share) for c, share in zip(copies, shares, strict=True)
    ]
    for _ in range(30):
        losses = losses_of(point, tasks, NO_DATA)
        gradients = [
            torch.autograd.grad(loss, point.point, retain_graph=True)[0] for loss in losses
        ]
        change = torch.zeros(2)
        for copy, task_optimizer, gradient in zip(copies, optimizers, gradients, strict=True):
            copy.data.copy_(point.point.data)
            copy.grad = gradient.clone()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_([copy], clip)
            task_optimizer.step()
            change += copy.detach() - point.point.detach()
        point.point.data += change
    assert_near(trained_point(tasks, optimizer=optimizer, clip=clip), flat_parameters(point), 1e-14)


@optimizer_is
@clip_is
def test_it_takes_the_steps_of_per_task(optimizer: Optimizer, clip: float | None) -> None:
    """Breaks if decay, clipping or clocks differ from `per_task gradients=same`."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    models = []
    for update in (PerTask, AdaTask):
        models.append(Pairs(tasks))
        learner = learner_with(
            update, tasks, split, model=models[-1], optimizer=optimizer, clip=clip
        )
        for active in every_transition():
            learner.step(split, only(*active))
    assert_near(models[1].state_dict(), models[0].state_dict(), 1e-14)


@optimizer_is
def test_tasks_that_share_nothing_train_as_one_optimizer_trains_them(optimizer: Optimizer) -> None:
    """Breaks if private parameters get anything but their own optimizer's step, to the last bit."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    models = []
    for update in (Joint, AdaTask):
        models.append(make_mlp(tasks, kind=SeparateMLPs))
        train(learner_with(update, tasks, split, model=models[-1], optimizer=optimizer), split, 15)
    assert_same_bits(models[1].state_dict(), models[0].state_dict())


@QUICK
@given(lr=st.floats(1e-4, 0.05), steps=st.integers(1, 20))
def test_two_identical_tasks_are_one_adam_at_twice_the_rate(lr: float, steps: int) -> None:
    """Breaks if the steps of the tasks do not simply add up."""
    twins = make_terms(a=lambda p: (p - 1).square().sum(), b=lambda p: (p - 1).square().sum())
    single = make_learner(
        make_terms(a=lambda p: (p - 1).square().sum()),
        NO_DATA,
        model=Point(0.3, -0.4),
        optimizer=partial(torch.optim.Adam, lr=2 * lr),
    )
    train(single, NO_DATA, steps)
    assert_near(
        trained_point(twins, steps, partial(torch.optim.Adam, lr=lr)),
        flat_parameters(single.model),
        1e-14,
    )


@pytest.mark.parametrize(
    "scheduler", [partial(torch.optim.lr_scheduler.StepLR, step_size=5, gamma=0.5)]
)
def test_a_scheduler_reaches_the_shared_parameters(
    scheduler: partial[torch.optim.lr_scheduler.LRScheduler],
) -> None:
    """Breaks if the steps of AdaTask ignore the learning rate that a scheduler sets."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    models = []
    for update in (PerTask, AdaTask):
        models.append(Pairs(tasks))
        learner = learner_with(update, tasks, split, model=models[-1], optimizer=AdamW)
        schedule(learner, scheduler, split, 20)
    assert_near(models[1].state_dict(), models[0].state_dict(), 1e-14)


def schedule(
    learner: Learner,
    scheduler: partial[torch.optim.lr_scheduler.LRScheduler],
    split: object,
    steps: int,
) -> list[torch.optim.lr_scheduler.LRScheduler]:
    """Train with a scheduler on every optimizer of the update; some of them never step."""
    schedulers = [scheduler(optimizer) for optimizer in learner.update.optimizers]
    for optimizer in learner.update.optimizers:
        # AdaTask's first one holds settings only; torch would warn that it has not stepped.
        optimizer._opt_called = True
    continue_training(learner, schedulers, split, steps)
    return schedulers


def continue_training(
    learner: Learner,
    schedulers: Sequence[torch.optim.lr_scheduler.LRScheduler],
    split: object,
    steps: int,
) -> None:
    """Take steps with all tasks active, and a step of every scheduler after each."""
    for _ in range(steps):
        learner.step(split, only(0, 1, 2))
        for scheduler in schedulers:
            scheduler.step()


# What it is invariant to


@pytest.mark.parametrize("exponents", EXPONENTS, ids=str)
@pytest.mark.parametrize(
    "optimizer", [Adam, AdamW, RMSprop, Adagrad], ids=["Adam", "AdamW", "RMSprop", "Adagrad"]
)
def test_rescaling_each_task_by_a_power_of_two_changes_no_bit(
    optimizer: Optimizer, exponents: tuple[int, ...]
) -> None:
    """Breaks if the size of a task's loss reaches the parameters; its moments divide it out."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    weights = {task.name: 2.0**e for task, e in zip(tasks, exponents, strict=True)}
    models = []
    for weighting in (Fixed(tasks), Fixed(tasks, weights)):
        models.append(make_mlp(tasks))
        exact = partial(optimizer, eps=0.0)
        train(
            learner_with(
                AdaTask, tasks, split, model=models[-1], optimizer=exact, weighting=weighting
            ),
            split,
            10,
        )
    assert_same_bits(models[1].state_dict(), models[0].state_dict())


def test_a_parameter_that_one_task_does_not_reach_needs_no_eps() -> None:
    """Breaks if a task that has no gradient in a parameter others share divides 0 by 0 there."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    models = []
    for update in (PerTask, AdaTask):
        models.append(Pairs(tasks))
        train(
            learner_with(update, tasks, split, model=models[-1], optimizer=partial(Adam, eps=0.0)),
            split,
            10,
        )
    assert_near(models[1].state_dict(), models[0].state_dict(), 1e-14)


@pytest.mark.parametrize("eps", [1e-8, 1.0])
def test_a_weight_is_a_factor_of_the_loss(eps: float) -> None:
    """Breaks if the weights of the weighting get lost on the way; a large eps lets them through."""
    a, b, c = pulls()
    scaled = [Task("a", "term", loss_term=lambda o, t: 3 * a.loss(o, t)), b, c]
    optimizer = partial(Adam, eps=eps)
    weighted = trained_point([a, b, c], optimizer=optimizer, weighting=Fixed([a, b, c], {"a": 3.0}))
    assert_near(weighted, trained_point(scaled, optimizer=optimizer), 1e-13)
    difference = (weighted - trained_point([a, b, c], optimizer=optimizer)).abs().max()
    assert (difference > 1e-3) == (eps == 1.0)


def test_with_l2_decay_the_sizes_of_the_losses_matter() -> None:
    """Breaks if the L2 term is left out of the moments, as in AdamW."""
    a, b, c = pulls()
    decaying = partial(Adam, weight_decay=1.0)
    scaled = trained_point([a, b, c], optimizer=decaying, weighting=Fixed([a, b, c], {"c": 2.0**6}))
    assert (scaled - trained_point([a, b, c], optimizer=decaying)).abs().max() > 1e-3


def test_the_order_of_the_tasks_does_not_matter() -> None:
    """Breaks if one task's step changes the next task's gradient or moments."""
    a, b, c = pulls()
    assert_near(trained_point([c, a, b]), trained_point([a, b, c]), 1e-14)


# Decay


@QUICK
@given(pattern=st.lists(st.booleans(), min_size=2, max_size=4).filter(any))
@pytest.mark.parametrize(
    "optimizer", [torch.optim.AdamW, partial(torch.optim.Adam, decoupled_weight_decay=True)]
)
def test_decoupled_decay_acts_once_whoever_is_active(
    optimizer: Optimizer, pattern: list[bool]
) -> None:
    """Breaks if T tasks decay shared parameters T times, or decay depends on who is idle."""
    tasks = make_terms(**{f"t{i}": lambda p: 0.0 * p.sum() for i in range(len(pattern))})
    model = Point(0.3, -0.4)
    learner = learner_with(
        AdaTask, tasks, NO_DATA, model=model, optimizer=partial(optimizer, lr=0.1, weight_decay=0.5)
    )
    for _ in range(3):
        learner.step(
            NO_DATA,
            only(*[t for t, taking_part in enumerate(pattern) if taking_part], of=len(pattern)),
        )
    assert_near(flat_parameters(model), 0.95**3 * torch.tensor([0.3, -0.4]), 1e-15)


@QUICK
@given(pattern=st.lists(st.booleans(), min_size=2, max_size=4).filter(any))
def test_an_l2_term_acts_once_whoever_is_active(pattern: list[bool]) -> None:
    """Breaks if an L2 term pulls T times as hard with T tasks, or less when some are idle."""
    tasks = make_terms(**{f"t{i}": lambda p: 0.0 * p.sum() for i in range(len(pattern))})
    model = Point(0.3, -0.4)
    linear = partial(
        torch.optim.Adam, lr=1e8, eps=1e8, betas=(0.0, 0.0), weight_decay=0.1
    )  # a step of 0.1 times its gradient
    learner = learner_with(AdaTask, tasks, NO_DATA, model=model, optimizer=linear)
    for _ in range(3):
        learner.step(
            NO_DATA,
            only(*[t for t, taking_part in enumerate(pattern) if taking_part], of=len(pattern)),
        )
    assert_near(flat_parameters(model), 0.9**3 * torch.tensor([0.3, -0.4]), 1e-8)


def test_a_shared_parameter_that_only_idle_tasks_reach_does_not_decay() -> None:
    """Breaks if decay carries on where no active task has a gradient."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    for optimizer in (AdamW, partial(Adam, weight_decay=0.1), partial(RMSprop, weight_decay=0.1)):
        model = Pairs(tasks)
        learner = learner_with(AdaTask, tasks, split, model=model, optimizer=optimizer)
        train(learner, split, 3)
        before = copy_state(model.right.state_dict())
        for _ in range(3):
            learner.step(split, only(0))
        assert_same_bits(model.right.state_dict(), before)


# Idle tasks


def test_an_idle_task_keeps_its_head_its_moments_and_its_clock() -> None:
    """Breaks if an idle task decays its moments, ages, or loses the momentum of its head."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = learner_with(AdaTask, tasks, split, optimizer=AdamW)
    update = learner.update
    assert isinstance(update, AdaTask)
    train(learner, split, 3)
    (block,) = update.blocks
    head = head_state(learner.model, tasks, "b")
    moments = [moment.clone() for moment in block.moments]
    for _ in range(4):
        learner.step(split, only(0, 2))
    assert_same_bits(head_state(learner.model, tasks, "b"), head)
    assert block.clocks == [7, 3, 7]
    for moment, before in zip(block.moments, moments, strict=True):
        assert_same_bits(moment[1], before[1])
        assert (moment[0] != before[0]).any()
    clocks = {p: s["step"].item() for p, s in update.optimizers[-1].state.items()}
    assert [clocks[learner.model.heads[i].weight] for i in range(3)] == [7, 3, 7]


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_a_task_that_starts_late_takes_a_first_step(optimizer: Optimizer) -> None:
    """Breaks if a late task inherits a clock; its first step would be 3 times too long."""
    tasks = make_terms(a=lambda p: p[0], b=lambda p: 1e-3 * p[1])
    learner = learner_with(
        AdaTask,
        tasks,
        NO_DATA,
        model=Point(0.0, 0.0),
        optimizer=partial(optimizer, lr=0.01, weight_decay=0.0),
    )
    for _ in range(50):
        learner.step(NO_DATA, only(0, of=2))
    before = flat_parameters(learner.model)
    learner.step(NO_DATA, only(0, 1, of=2))
    assert_near(flat_parameters(learner.model) - before, torch.tensor([-0.01, -0.01]), 1e-6)


# Going on


@pytest.mark.parametrize(
    "optimizer", [Adam, AdamW, RMSprop, Adagrad], ids=["Adam", "AdamW", "RMSprop", "Adagrad"]
)
def test_a_fresh_copy_continues_from_a_saved_state_to_the_last_bit(optimizer: Optimizer) -> None:
    """Breaks if moments or clocks are lost at a resume, or a saved state changes afterwards."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = learner_with(AdaTask, tasks, split, model=Pairs(tasks), optimizer=optimizer)
    for active in ((0, 1, 2), (0, 2), (2,)):
        learner.step(split, only(*active))
    model, state = (
        copy_state(learner.model.state_dict()),
        through_a_file(learner.update.state_dict()),
    )
    twin = learner_with(AdaTask, tasks, split, model=Pairs(tasks), optimizer=optimizer)
    twin.model.load_state_dict(model)
    twin.update.load_state_dict(state)
    for continued in (learner, twin):
        for active in ((0, 1), (0, 1, 2), (1, 2)):
            continued.step(split, only(*active))
    assert_same_bits(twin.model.state_dict(), learner.model.state_dict())
    assert twin.update.blocks[0].clocks == learner.update.blocks[0].clocks == [4, 4, 5]


def test_a_checkpoint_of_an_older_version_is_read() -> None:
    """Breaks if a run that an older version began cannot be resumed."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner, twin = (learner_with(AdaTask, tasks, split, model=Pairs(tasks)) for _ in range(2))
    train(learner, split, 3)
    state = learner.update.state_dict()
    (block,) = state.pop("blocks")
    twin.model.load_state_dict(learner.model.state_dict())
    twin.update.load_state_dict(
        through_a_file({**state, "moments": block["moments"], "clocks": block["clocks"]})
    )
    for continued in (learner, twin):
        train(continued, split, 2)
    assert_same_bits(twin.model.state_dict(), learner.model.state_dict())


def test_a_scheduler_still_reaches_the_shared_parameters_after_a_resume() -> None:
    """Breaks if a resumed AdaTask keeps its first learning rate in spite of a scheduler."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    make_scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
    learner = learner_with(AdaTask, tasks, split)
    schedulers = schedule(learner, make_scheduler, split, 5)
    model, state = (
        copy_state(learner.model.state_dict()),
        through_a_file(learner.update.state_dict()),
    )
    saved = [scheduler.state_dict() for scheduler in schedulers]
    continue_training(learner, schedulers, split, 5)
    twin = learner_with(AdaTask, tasks, split)
    fresh = schedule(twin, make_scheduler, split, 1)  # a step that is forgotten
    twin.model.load_state_dict(model)
    twin.update.load_state_dict(state)
    for fresh_scheduler, saved_state in zip(fresh, saved, strict=True):
        fresh_scheduler.load_state_dict(saved_state)
    continue_training(twin, fresh, split, 5)
    assert_same_bits(twin.model.state_dict(), learner.model.state_dict())


# What it refuses


class UserAdam(torch.optim.Adam):
    """An Adam of a user, whose step may be any."""


@pytest.mark.parametrize(
    "optimizer", [torch.optim.SGD, torch.optim.NAdam, torch.optim.Adamax, UserAdam]
)
def test_an_optimizer_without_a_form_is_named(optimizer: Optimizer) -> None:
    """Breaks if another optimizer silently becomes an Adam."""
    tasks = pulls()
    with pytest.raises(ConfigError) as error:
        learner_with(
            AdaTask, tasks, NO_DATA, model=Point(0.0, 0.0), optimizer=partial(optimizer, lr=0.1)
        )
    assert str(error.value) == (
        f"update=adatask has no form of {optimizer.__name__}; choose optimizer._target_ among torch.optim's "
        "Adam, AdamW, RMSprop, Adagrad."
    )


@pytest.mark.parametrize(
    ("optimizer", "option"),
    [
        (partial(Adam, amsgrad=True), "amsgrad"),
        (partial(AdamW, maximize=True), "maximize"),
        (partial(RMSprop, momentum=0.9), "momentum"),
        (partial(RMSprop, centered=True), "centered"),
        (partial(Adagrad, lr_decay=0.1), "lr_decay"),
        (partial(Adagrad, initial_accumulator_value=1.0), "initial_accumulator_value"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_without_a_form_is_named(optimizer: Optimizer, option: str) -> None:
    """Breaks if an option of the optimizer is silently ignored."""
    tasks = pulls()
    with pytest.raises(ConfigError) as error:
        learner_with(AdaTask, tasks, NO_DATA, model=Point(0.0, 0.0), optimizer=optimizer)
    assert (
        str(error.value)
        == f"update=adatask does not know the optimizer's option {option!r}; leave it at its default."
    )
