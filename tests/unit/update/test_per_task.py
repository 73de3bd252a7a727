"""One optimizer per task: what it equals, its invariances, and where it must differ from one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.models import SeparateMLPs
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update import PerTask
from mtl_runner.weighting import Fixed
from tests.support.builders import (
    INPUTS,
    NO_DATA,
    QUICK,
    SGD,
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
    train_plainly,
)
from tests.unit.update.learners import EXPONENTS, KINDS_OF, Optimizer

pytestmark = pytest.mark.usefixtures("float64")

optimizer_is = pytest.mark.parametrize(
    "optimizer",
    [
        Adam,
        partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
        partial(SGD, momentum=0.9, weight_decay=0.1),
        partial(torch.optim.Adafactor, lr=0.01, weight_decay=0.1),
    ],
    ids=["Adam", "AdamW", "SGD", "Adafactor"],
)


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
        make_learner(tasks, NO_DATA, model=model, optimizer=optimizer, update=PerTask, **options),
        NO_DATA,
        steps,
    )
    return flat_parameters(model)


# What it equals


@optimizer_is
@pytest.mark.parametrize("gradients", ["same", "fresh"])
def test_with_one_task_it_is_the_optimizer_itself(gradients: str, optimizer: Optimizer) -> None:
    """Breaks if per-task training adds something of its own to the optimizer's step."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    learner = make_learner(tasks, split, optimizer=optimizer, update=PerTask, gradients=gradients)
    plain = make_mlp(tasks)
    train(learner, split, 20)
    train_plainly(plain.parameters(), lambda: losses_of(plain, tasks, split)[0], 20, optimizer)
    assert_same_bits(learner.model.state_dict(), plain.state_dict())


@optimizer_is
@pytest.mark.parametrize("gradients", ["same", "fresh"])
def test_with_one_task_it_is_joint_training_also_under_clipping(
    gradients: str, optimizer: Optimizer
) -> None:
    """Breaks if the clipped norm differs between updates, say by the L2 term of decay."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    learner = make_learner(
        tasks, split, optimizer=optimizer, update=PerTask, gradients=gradients, clip=0.05
    )
    joint = make_learner(tasks, split, optimizer=optimizer, clip=0.05)
    train(learner, split, 20)
    train(joint, split, 20)
    assert_same_bits(learner.model.state_dict(), joint.model.state_dict())


@optimizer_is
def test_a_partition_of_the_parameters_among_optimizers_is_one_optimizer(
    optimizer: Optimizer,
) -> None:
    """Breaks if tasks that share nothing influence each other."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    model = make_mlp(tasks, kind=SeparateMLPs)
    plain = make_mlp(tasks, kind=SeparateMLPs)
    train(make_learner(tasks, split, model=model, optimizer=optimizer, update=PerTask), split, 20)
    train_plainly(plain.parameters(), lambda: losses_of(plain, tasks, split).sum(), 20, optimizer)
    assert_same_bits(model.state_dict(), plain.state_dict())


@optimizer_is
def test_one_group_of_all_tasks_is_joint_training(optimizer: Optimizer) -> None:
    """Breaks if a group is not the sum of its losses."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = make_learner(
        tasks, split, optimizer=optimizer, update=PerTask, groups=[["c", "a", "b"]]
    )
    joint = make_learner(tasks, split, optimizer=optimizer)
    train(learner, split, 20)
    train(joint, split, 20)
    assert_near(learner.model.state_dict(), joint.model.state_dict(), 1e-12)


@pytest.mark.parametrize("gradients", ["same", "fresh"])
def test_a_group_is_one_task_whose_loss_is_the_sum(gradients: str) -> None:
    """Breaks if a group has several optimizers, or less than the sum of its losses."""
    a, b, c = pulls()
    merged = [Task("ab", "term", loss_term=lambda o, t: a.loss(o, t) + b.loss(o, t)), c]
    grouped = trained_point([a, b, c], groups=[["a", "b"], ["c"]], gradients=gradients)
    assert_near(grouped, trained_point(merged, gradients=gradients), 1e-13)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9)])
def test_same_gradients_with_adam_are_adatask(betas: tuple[float, float]) -> None:
    """Breaks if per-task Adam is not the published AdaTask: moments per task, steps summed."""
    tasks, lr, eps, steps = pulls(), 0.01, 1e-8, 30
    point = Point(0.3, -0.4)
    first, second = torch.zeros(3, 2), torch.zeros(3, 2)
    for step in range(1, steps + 1):  # Yang et al., AAAI 2023
        losses = losses_of(point, tasks, NO_DATA)
        gradients = torch.stack(
            [torch.autograd.grad(loss, point.point, retain_graph=True)[0] for loss in losses]
        )
        first = betas[0] * first + (1 - betas[0]) * gradients
        second = betas[1] * second + (1 - betas[1]) * gradients.square()
        scaled = first / (1 - betas[0] ** step) / ((second / (1 - betas[1] ** step)).sqrt() + eps)
        point.point.data -= lr * scaled.sum(0)
    assert_near(
        trained_point(tasks, optimizer=partial(Adam, betas=betas)), flat_parameters(point), 1e-14
    )


@QUICK
@given(lr=st.floats(1e-4, 0.05), steps=st.integers(1, 20))
def test_two_identical_tasks_are_one_adam_at_twice_the_rate(lr: float, steps: int) -> None:
    """Breaks if the steps of the tasks do not simply add up."""
    twins = make_terms(a=lambda p: (p - 1).square().sum(), b=lambda p: (p - 1).square().sum())
    plain = Point(0.3, -0.4)
    train_plainly(
        plain.parameters(),
        lambda: (plain.point - 1).square().sum(),
        steps,
        partial(torch.optim.Adam, lr=2 * lr),
    )
    assert_near(
        trained_point(twins, steps, partial(torch.optim.Adam, lr=lr)), flat_parameters(plain), 1e-14
    )


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_with_a_linear_optimizer_it_is_joint_training(momentum: float, decay: float) -> None:
    """Breaks if per-task SGD, which is linear, is not SGD on the sum."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    sgd = partial(SGD, momentum=momentum, weight_decay=decay)
    learner, joint = (
        make_learner(tasks, split, optimizer=sgd, update=PerTask),
        make_learner(tasks, split, optimizer=sgd),
    )
    train(learner, split, 30)
    train(joint, split, 30)
    assert_near(learner.model.state_dict(), joint.model.state_dict(), 1e-13)


# What it is invariant to


@pytest.mark.parametrize("optimizer", [Adam, SGD])
def test_with_the_same_gradients_the_order_of_tasks_and_groups_does_not_matter(
    optimizer: Optimizer,
) -> None:
    """Breaks if `gradients=same` lets one task's step change the next task's gradient."""
    a, b, c = pulls()
    small = partial(optimizer, lr=0.001)
    expected = trained_point([a, b, c], optimizer=small)
    assert_near(trained_point([c, a, b], optimizer=small), expected, 1e-14)
    assert_near(
        trained_point([a, b, c], optimizer=small, groups=[["c"], ["b"], ["a"]]), expected, 1e-14
    )


@pytest.mark.parametrize("exponents", EXPONENTS, ids=str)
@pytest.mark.parametrize("gradients", ["same", "fresh"])
def test_rescaling_each_task_by_a_power_of_two_changes_no_bit(
    gradients: str, exponents: tuple[int, ...]
) -> None:
    """Breaks if the size of a task's loss reaches the parameters; its Adam divides it out."""
    tasks = pulls()
    adam = partial(Adam, eps=0.0)
    weights = {task.name: 2.0**e for task, e in zip(tasks, exponents, strict=True)}
    scaled = trained_point(tasks, 10, adam, weighting=Fixed(tasks, weights), gradients=gradients)
    assert_same_bits(scaled, trained_point(tasks, 10, adam, gradients=gradients))


# Where it differs


@pytest.mark.parametrize("slopes", [(1.0, 1.0, 1.0, -4.0), (2.0, 3.0), (5.0, -0.1, -0.1)])
def test_the_first_step_is_the_sum_of_the_signs(slopes: tuple[float, ...]) -> None:
    """Breaks if the tasks do not each get a full step of their own in every shared parameter."""
    tasks = make_terms(
        **{f"t{i}": lambda p, slope=slope: slope * p.sum() for i, slope in enumerate(slopes)}
    )
    moved = trained_point(tasks, 1, partial(torch.optim.Adam, lr=0.01)) - torch.tensor([0.3, -0.4])
    expected = -0.01 * sum(1.0 if slope > 0 else -1.0 for slope in slopes)
    assert_near(moved, torch.full((2,), expected), 1e-8)


def test_it_can_go_uphill_on_the_sum_of_losses_where_adam_goes_down() -> None:
    """Breaks if a documented weakness of per-task Adam is gone, and with it per-task Adam."""
    tasks = make_terms(
        a=lambda p: p.sum(), b=lambda p: p.sum(), c=lambda p: p.sum(), d=lambda p: -4 * p.sum()
    )
    sums = {}
    for update in ("joint", "per_task"):
        options = {"update": PerTask} if update == "per_task" else {}
        learner = make_learner(tasks, NO_DATA, model=Point(0.0), **options)
        losses = train(learner, NO_DATA, 5).losses.sum(1)
        sums[update] = (losses[-1] - losses[0]).item()
    assert sums["joint"] < 0 < sums["per_task"]


def test_fresh_gradients_are_taken_where_the_previous_group_left_the_parameters() -> None:
    """Breaks if `gradients=fresh` uses a stale gradient, or another order of the groups."""
    a, b, c = pulls()
    for order in (["a", "b", "c"], ["c", "a", "b"]):
        by_name = {"a": a, "b": b, "c": c}
        plain = Point(0.3, -0.4)
        for _ in range(5):
            for name in order:
                (gradient,) = torch.autograd.grad(
                    by_name[name].loss({"point": plain.point}, {}), plain.point
                )
                plain.point.data -= 0.001 * gradient
        trained = trained_point(
            [a, b, c],
            5,
            partial(SGD, lr=0.001),
            groups=[[name] for name in order],
            gradients="fresh",
        )
        assert_near(trained, flat_parameters(plain), 1e-14)


def test_the_order_matters_with_fresh_gradients() -> None:
    """Breaks if `gradients=fresh` is `same` under another name."""
    sgd = partial(SGD, lr=0.001)
    forward = trained_point(pulls(), optimizer=sgd, gradients="fresh", groups=[["a"], ["b"], ["c"]])
    backward = trained_point(
        pulls(), optimizer=sgd, gradients="fresh", groups=[["c"], ["b"], ["a"]]
    )
    assert (forward - backward).abs().max() > 1e-5


class Noisy(nn.Module):
    """Dropout and BatchNorm before two heads; a second forward pass must leave no trace."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(INPUTS)
        self.trunk = nn.Linear(INPUTS, 16)
        self.heads = nn.ModuleList([nn.Linear(16, 2), nn.Linear(16, 2)])

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = nn.functional.dropout(self.trunk(self.norm(inputs)), 0.5, self.training)
        return {"a": self.heads[0](features), "b": self.heads[1](features)}


def noisy_step(gradients: str) -> tuple[nn.Module, Tensor]:
    """Return a model after a tiny step from fixed weights and noise, and the next random number."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    torch.manual_seed(0)
    model = Noisy()
    sgd = partial(
        SGD, lr=1e-9
    )  # the second group's gradient then differs by 1e-9, unless its noise does
    train(
        make_learner(tasks, split, model=model, optimizer=sgd, update=PerTask, gradients=gradients),
        split,
        1,
    )
    return model, torch.rand(1)


def test_fresh_gradients_see_the_same_noise_and_count_the_batch_once() -> None:
    """Breaks if the second pass draws other dropout masks, or BatchNorm counts twice."""
    same, next_same = noisy_step("same")
    fresh, next_fresh = noisy_step("fresh")
    assert_same_bits(next_fresh, next_same)  # random numbers are used up as by one forward pass
    assert_same_bits(dict(fresh.named_buffers()), dict(same.named_buffers()))
    assert_near(fresh.state_dict(), same.state_dict(), 1e-15)


# Weight decay, clipping and clocks


def still(count: int) -> list[Task]:
    """Return tasks whose gradient is zero everywhere; weight decay alone moves the point."""
    return make_terms(**{f"t{i}": lambda p: 0.0 * p.sum() for i in range(count)})


@QUICK
@given(pattern=st.lists(st.booleans(), min_size=1, max_size=4).filter(any))
@pytest.mark.parametrize("gradients", ["same", "fresh"])
@pytest.mark.parametrize(
    "optimizer", [torch.optim.AdamW, partial(torch.optim.NAdam, decoupled_weight_decay=True)]
)
def test_decoupled_decay_acts_once_whoever_is_active(
    optimizer: Optimizer, gradients: str, pattern: list[bool]
) -> None:
    """Breaks if T tasks decay shared parameters T times, or decay depends on who is idle."""
    model = Point(0.3, -0.4)
    tasks = still(len(pattern))
    decaying = partial(optimizer, lr=0.1, weight_decay=0.5)
    learner = make_learner(
        tasks, NO_DATA, model=model, optimizer=decaying, update=PerTask, gradients=gradients
    )
    for _ in range(3):
        learner.step(NO_DATA, Active(tuple(map(float, pattern))))
    assert_near(flat_parameters(model), 0.95**3 * torch.tensor([0.3, -0.4]), 1e-15)


@QUICK
@given(pattern=st.lists(st.booleans(), min_size=1, max_size=4).filter(any))
def test_l2_decay_acts_once_whoever_is_active(pattern: list[bool]) -> None:
    """Breaks if an L2 term pulls T times as hard with T tasks, or less when some are idle."""
    model = Point(0.3, -0.4)
    decaying = partial(torch.optim.SGD, lr=0.1, weight_decay=0.5)
    learner = make_learner(
        still(len(pattern)), NO_DATA, model=model, optimizer=decaying, update=PerTask
    )
    for _ in range(3):
        learner.step(NO_DATA, Active(tuple(map(float, pattern))))
    assert_near(flat_parameters(model), 0.95**3 * torch.tensor([0.3, -0.4]), 1e-15)


class TwoPoints(nn.Module):
    """Two parameters with owners of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        del inputs
        return {"first": self.first, "second": self.second}


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_decay_reaches_a_parameter_whose_owner_in_an_earlier_group_is_idle(
    optimizer: Optimizer,
) -> None:
    """Breaks if a group that does not touch a parameter takes its decay along."""
    tasks = [
        Task("a", "term", loss_term=lambda o, _: 0.0 * o["first"].sum()),
        Task("b", "term", loss_term=lambda o, _: 0.0 * o["second"].sum()),
        Task("c", "term", loss_term=lambda o, _: 0.0 * o["second"].sum()),
    ]
    model = TwoPoints()
    decaying = partial(optimizer, lr=0.1, weight_decay=0.5)
    learner = make_learner(
        tasks, NO_DATA, model=model, optimizer=decaying, update=PerTask, groups=[["a", "b"], ["c"]]
    )
    learner.step(NO_DATA, Active((1.0, 0.0, 1.0)))
    assert_near(flat_parameters(model), torch.tensor([0.95, 0.95]), 1e-15)


def test_each_tasks_gradient_is_clipped_by_itself() -> None:
    """Breaks if a task with a large gradient takes the room of the others within one norm."""
    tasks = make_terms(a=lambda p: 1000 * p[0], b=lambda p: 0.5 * p[1])
    learner = make_learner(
        tasks,
        NO_DATA,
        model=Point(0.0, 0.0),
        optimizer=partial(SGD, lr=1.0),
        update=PerTask,
        clip=1.0,
    )
    train(learner, NO_DATA, 1)
    assert_near(flat_parameters(learner.model), torch.tensor([-1.0, -0.5]), 1e-6)


@pytest.mark.parametrize("gradients", ["same", "fresh"])
def test_an_idle_task_leaves_its_head_and_its_optimizers_clock(gradients: str) -> None:
    """Breaks if the optimizer of a task that does not take part decays its moments or its head."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    learner = make_learner(tasks, split, optimizer=optimizer, update=PerTask, gradients=gradients)
    train(learner, split, 3)
    head, trunk = (
        head_state(learner.model, tasks, "b"),
        copy_state(learner.model.trunk.state_dict()),
    )
    states = [copied_state(o) for o in learner.update.optimizers]
    for _ in range(3):
        learner.step(split, Active((1.0, 0.0, 1.0)))
    assert_same_bits(head_state(learner.model, tasks, "b"), head)
    assert_same_bits(copied_state(learner.update.optimizers[1]), states[1])
    assert copied_state(learner.update.optimizers[0])["step"][0] == 6
    assert not torch.equal(learner.model.trunk.state_dict()["0.weight"], trunk["0.weight"])


def copied_state(optimizer: torch.optim.Optimizer) -> dict[str, list[Tensor]]:
    """Return copies of the moments and clocks of an optimizer, by name."""
    copies: dict[str, list[Tensor]] = {}
    for state in optimizer.state.values():
        for name, value in state.items():
            copies.setdefault(name, []).append(value.clone())
    return copies


def test_within_a_group_an_idle_task_keeps_its_head() -> None:
    """Breaks if momentum or decay of its group moves the head of an idle task."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    learner = make_learner(
        tasks, split, optimizer=optimizer, update=PerTask, groups=[["a", "b"], ["c"]]
    )
    train(learner, split, 3)
    heads = {name: head_state(learner.model, tasks, name) for name in KINDS_OF}
    learner.step(split, Active((1.0, 0.0, 1.0)))
    assert_same_bits(head_state(learner.model, tasks, "b"), heads["b"])
    for name in "ac":
        assert not torch.equal(
            head_state(learner.model, tasks, name)["weight"], heads[name]["weight"]
        )


# What it refuses


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gradients": "new"}, "update.gradients='new' is unknown; allowed: same, fresh"),
        (
            {"groups": [["a"], ["b", "x"], ["c"]]},
            "update.groups names the unknown task 'x'; allowed: a, b, c",
        ),
        (
            {"groups": [["a", "b"], ["b", "c"]]},
            "update.groups names the task 'b' twice; each task belongs to one group",
        ),
        ({"groups": [["a"], ["b"]]}, "update.groups leaves out the task 'c'"),
        ({"groups": {"a": {"lr": 0.1}}}, "must be lists of tasks under update=per_task"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(
    options: dict[str, object], words: str
) -> None:
    """Breaks if tasks are trained twice or not at all without a word."""
    tasks = make_tasks(**KINDS_OF)
    with pytest.raises(ConfigError) as error:
        make_learner(tasks, make_split(tasks), update=PerTask, **options)
    assert words in str(error.value)


def test_fresh_gradients_without_a_way_to_recompute_are_refused() -> None:
    """Breaks if a loop of the user's own silently gets the gradients of `same`."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    learner = make_learner(tasks, split, update=PerTask, gradients="fresh")
    with pytest.raises(ConfigError, match="needs `recompute`"):
        learner.update(
            losses_of(learner.model, tasks, split), torch.ones(3), Active((1.0, 1.0, 1.0))
        )
