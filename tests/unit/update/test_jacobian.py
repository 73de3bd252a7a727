"""Jacobian descent: rows, heads, weights, idle tasks, and models that share little or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.learner import Learner
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.models import SeparateMLPs
from mtl_runner.tasks.task import Task
from mtl_runner.update import Jacobian, Joint
from mtl_runner.weighting import Fixed
from tests.support.builders import (
    INPUTS,
    NO_DATA,
    SGD,
    Adam,
    Point,
    assert_near,
    assert_same_bits,
    copy_state,
    flat_parameters,
    gradients_of,
    losses_of,
    make_mlp,
    make_split,
    make_tasks,
    make_terms,
    train,
)
from tests.unit.update.aggregations import shortest_by_scipy
from tests.unit.update.learners import (
    KINDS_OF,
    PATTERNS,
    Optimizer,
    Pairs,
    learner_with,
    only,
    projector,
    through_a_file,
)

aggregation = pytest.importorskip("torchjd.aggregation")

pytestmark = pytest.mark.usefixtures("float64")

Still = partial(
    torch.optim.SGD, lr=0.0
)  # leaves the gradients to look at, and the point where they were taken
WEIGHTS = {"a": 0.5, "b": 3.0, "c": 20.0}


def is_shared(name: str) -> bool:
    """Return whether a parameter of this name is shared, in the models of this file."""
    return not name.startswith("heads")


def shared_gradient(model: nn.Module) -> Tensor:
    """Return the gradient that the update gave the shared parameters, as one vector."""
    return torch.cat(
        [
            p.grad.flatten()
            for name, p in model.named_parameters()
            if is_shared(name) and p.grad is not None
        ]
    )


def shared_rows(model: nn.Module, tasks: Sequence[Task], split: Any) -> Tensor:
    """Return the Jacobian ``[T, P]`` over the shared parameters."""
    keep = torch.cat(
        [torch.full((p.numel(),), is_shared(name)) for name, p in model.named_parameters()]
    )
    return gradients_of(model, tasks, split)[:, keep]


MODELS: dict[str, Callable[[Sequence[Task]], nn.Module]] = {"mlp": make_mlp, "pairs": Pairs}
model_is = pytest.mark.parametrize("make_model", MODELS.values(), ids=MODELS)

REFERENCES: dict[str, Callable[[], Any]] = {
    "aligned_mtl": aggregation.AlignedMTL,
    "imtl_g": aggregation.IMTLG,
    "config": aggregation.ConFIG,
    "cagrad": lambda: aggregation.CAGrad(c=0.5, norm_eps=1e-12),
    "upgrad": lambda: aggregation.UPGrad(projector=projector()),
}
reference_is = pytest.mark.parametrize(("name", "reference"), REFERENCES.items(), ids=REFERENCES)


# Rows, directions, heads


@model_is
@reference_is
def test_the_shared_gradient_is_the_aggregated_jacobian(
    make_model: Callable[[Sequence[Task]], nn.Module], name: str, reference: Callable[[], Any]
) -> None:
    """Breaks if columns are lost or shifted, or the weights do not scale the rows."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_model(tasks)
    rows = torch.tensor(list(WEIGHTS.values())).unsqueeze(1) * shared_rows(model, tasks, split)
    weighting = Fixed(tasks, WEIGHTS)
    learner = learner_with(
        Jacobian, tasks, split, model=model, weighting=weighting, optimizer=Still, aggregator=name
    )
    measured = learner.step(split, only(0, 1, 2)).measured
    used, ratio = measured["aggregator_weight"], measured["norm_ratio"]
    expected = reference()(rows)
    assert_near(shared_gradient(model), expected, 1e-12)
    assert_near(ratio.squeeze(), expected.norm() / rows.sum(0).norm(), 1e-12)
    if name == "config":
        assert used.isnan().all()
    else:
        assert_near(used @ rows, expected, 1e-12)


@model_is
def test_a_head_gets_the_gradient_of_its_own_weighted_loss(
    make_model: Callable[[Sequence[Task]], nn.Module],
) -> None:
    """Breaks if the aggregator touches private parameters, or the weights do not."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_model(tasks)
    learner = learner_with(
        Jacobian,
        tasks,
        split,
        model=model,
        weighting=Fixed(tasks, WEIGHTS),
        optimizer=Still,
        aggregator="mgda",
    )
    learner.step(split, only(0, 1, 2))
    losses = losses_of(model, tasks, split)
    for t, (head, weight) in enumerate(zip(model.heads, WEIGHTS.values(), strict=True)):
        for parameter in head.parameters():
            (gradient,) = torch.autograd.grad(losses[t], parameter, retain_graph=True)
            assert_near(parameter.grad, weight * gradient, 1e-14)


@pytest.mark.parametrize(
    "optimizer", [Adam, partial(SGD, momentum=0.9, weight_decay=0.1)], ids=["Adam", "SGD"]
)
@pytest.mark.parametrize("clip", [None, 0.05])
@model_is
def test_the_sum_is_joint_training(
    make_model: Callable[[Sequence[Task]], nn.Module], optimizer: Optimizer, clip: float | None
) -> None:
    """Breaks if the rows do not add up to the gradient of the sum, also with idle tasks."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    models = []
    for update, options in ((Joint, {}), (Jacobian, {"aggregator": "sum"})):
        models.append(make_model(tasks))
        weighting = Fixed(tasks, WEIGHTS)
        learner = learner_with(
            update,
            tasks,
            split,
            model=models[-1],
            optimizer=optimizer,
            weighting=weighting,
            clip=clip,
            **options,
        )
        for active in PATTERNS * 2:
            learner.step(split, only(*active))
    assert_near(models[1].state_dict(), models[0].state_dict(), 1e-12)


@reference_is
def test_it_is_torchjds_own_backward_pass(name: str, reference: Callable[[], Any]) -> None:
    """Breaks if rows by plain autograd are not those that TorchJD takes through features."""
    autojac = pytest.importorskip("torchjd.autojac")
    tasks = make_tasks(**KINDS_OF)
    split, model, twin = make_split(tasks), make_mlp(tasks), make_mlp(tasks)
    learner_with(Jacobian, tasks, split, model=model, optimizer=Still, aggregator=name).step(
        split, only(0, 1, 2)
    )
    features = twin.trunk(split.inputs)
    outputs = {task.name: head(features) for task, head in zip(tasks, twin.heads, strict=True)}
    autojac.mtl_backward([task.loss(outputs, split.targets) for task in tasks], features=features)
    autojac.jac_to_grad(twin.trunk.parameters(), reference())
    for parameter, reference_parameter in zip(model.parameters(), twin.parameters(), strict=True):
        assert_near(parameter.grad, reference_parameter.grad, 1e-12)


TABLE = {
    "sum": (1.0, 1e-12),
    "pcgrad": (1.0, 1e-12),
    "mean": (0.5, 1e-12),
    "upgrad": (0.5, 1e-3),
    "mgda": (10 / 101, 1e-9),
    "nash_mtl": (1 / 101**0.5, 1e-9),
    "imtl_g": (10 * 2**0.5 / 11 / 101**0.5, 1e-9),
    "aligned_mtl": (0.5 * 2**0.5 / 101**0.5, 1e-9),
    "cagrad": (0.58, 0.005),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_norm_beside_that_of_the_sum_is_logged(name: str) -> None:
    """Breaks if `norm_ratio` is another for orthogonal gradients of norms 1 and 10."""
    tasks = make_terms(a=lambda p: p[0], b=lambda p: 10 * p[1])
    learner = learner_with(
        Jacobian, tasks, NO_DATA, model=Point(0.0, 0.0), optimizer=Still, aggregator=name
    )
    ratio = learner.step(NO_DATA, only(0, 1, of=2)).measured["norm_ratio"]
    expected, tolerance = TABLE[name]
    assert_near(ratio.squeeze(), torch.tensor(expected), tolerance)


def test_the_table_rounds_to_what_is_published() -> None:
    """Breaks if the closed forms above are not the numbers that are published."""
    rounded = {name: round(expected, 2) for name, (expected, _) in TABLE.items()}
    assert rounded == {
        "sum": 1.0, "pcgrad": 1.0, "cagrad": 0.58, "mean": 0.5, "upgrad": 0.5,
        "imtl_g": 0.13, "mgda": 0.1, "nash_mtl": 0.1, "aligned_mtl": 0.07,
    }  # fmt: skip


def test_the_aggregated_gradient_is_what_is_clipped() -> None:
    """Breaks if the rows are clipped instead, and with them what the aggregator sees."""
    tasks = make_terms(a=lambda p: p[0], b=lambda p: 10 * p[1])
    model = Point(0.0, 0.0)
    learner = learner_with(
        Jacobian,
        tasks,
        NO_DATA,
        model=model,
        optimizer=partial(SGD, lr=1.0),
        clip=1.0,
        aggregator="sum",
    )
    ratio = learner.step(NO_DATA, only(0, 1, of=2)).measured["norm_ratio"]
    assert_near(flat_parameters(model), -torch.tensor([1.0, 10.0]) / 101**0.5, 1e-6)
    assert ratio == 1  # of the direction, before the clipping


# Who takes part


class Refuses(nn.Module):
    """An aggregator that must not be called once training has begun."""

    armed = False

    def forward(self, jacobian: Tensor) -> Tensor:
        assert not self.armed, f"called with {len(jacobian)} rows"
        return jacobian[0]


@model_is
def test_one_active_task_needs_no_aggregator(
    make_model: Callable[[Sequence[Task]], nn.Module],
) -> None:
    """Breaks if a method that is not defined for one row, or scales it, is asked about one."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    models, refuses = [], Refuses()
    for update, options in ((Joint, {}), (Jacobian, {"aggregator": refuses})):
        models.append(make_model(tasks))
        learner = learner_with(
            update,
            tasks,
            split,
            model=models[-1],
            weighting=Fixed(tasks, WEIGHTS),
            clip=0.5,
            **options,
        )
        refuses.armed = update is Jacobian
        for active in (0, 1, 2, 1):
            result = learner.step(split, only(active))
    assert_same_bits(models[1].state_dict(), models[0].state_dict())
    assert result.measured["aggregator_weight"].isnan().all()  # this aggregator has no weights
    assert result.measured["norm_ratio"] == 1
    learner = learner_with(Jacobian, tasks, split, model=make_model(tasks), aggregator="mgda")
    assert_near(
        learner.step(split, only(1)).measured["aggregator_weight"], torch.tensor([0.0, 1.0, 0.0]), 0
    )


def test_without_shared_parameters_it_is_joint_training_to_the_last_bit() -> None:
    """Breaks if the aggregator is asked about rows without columns."""
    tasks = make_tasks(a="regression", b="classification")
    split = make_split(tasks)
    models, refuses = [], Refuses()
    refuses.armed = True
    for update, options in (
        (Joint, {}),
        (Jacobian, {"aggregator": refuses}),
        (Jacobian, {"aggregator": "mgda"}),
    ):
        models.append(make_mlp(tasks, kind=SeparateMLPs))
        learner = learner_with(update, tasks, split, model=models[-1], **options)
        for active in ((0, 1), (0,), (0, 1)):
            result = learner.step(split, only(*active, of=2))
    for model in models[1:]:
        assert_same_bits(model.state_dict(), models[0].state_dict())
    assert_near(result.measured["aggregator_weight"], torch.ones(2), 0)


@model_is
@pytest.mark.parametrize("active", [(0, 1), (0, 2), (1, 2)])
def test_idle_tasks_are_no_rows(
    make_model: Callable[[Sequence[Task]], nn.Module], active: tuple[int, ...]
) -> None:
    """Breaks if an idle task is a row of zeros, or its parameters get a gradient of zero."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_model(tasks)
    learner = learner_with(Jacobian, tasks, split, model=model, optimizer=Still, aggregator="mgda")
    used = learner.step(split, only(*active)).measured["aggregator_weight"]
    rows = shared_rows(model, tasks, split)[list(active)]
    reached = rows.abs().sum(0) > 0
    assert_near(shared_gradient(model), shortest_by_scipy(rows)[reached], 1e-12)
    assert [bool(weight) for weight in used] == [t in active for t in range(3)]
    (idle,) = {0, 1, 2} - set(active)
    assert all(p.grad is None for p in model.heads[idle].parameters())


@pytest.mark.parametrize(
    "optimizer", [torch.optim.AdamW, partial(SGD, momentum=0.9, weight_decay=0.1)]
)
def test_idle_parameters_keep_their_numbers_moments_and_clocks(optimizer: Optimizer) -> None:
    """Breaks if decay or momentum goes on for parameters that only idle tasks reach."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), Pairs(make_tasks(**KINDS_OF))
    learner = learner_with(
        Jacobian,
        tasks,
        split,
        model=model,
        optimizer=partial(optimizer, lr=0.01),
        aggregator="mgda",
    )
    train(learner, split, 3)
    still = {"left": model.left, "head": model.heads[0]}
    for active in ((1, 2), (2,)):
        before = {
            name: copy_state(module.state_dict())
            for name, module in still.items()
            if name == "head" or active == (2,)
        }
        states = {
            p: copy_state(learner.update.optimizers[0].state[p])
            for p in model.heads[0].parameters()
        }
        for _ in range(2):
            learner.step(split, only(*active))
        for name, numbers in before.items():
            assert_same_bits(copy_state(still[name].state_dict()), numbers)
        for parameter, state in states.items():
            assert_same_bits(copy_state(learner.update.optimizers[0].state[parameter]), state)


def test_frozen_parameters_are_no_columns() -> None:
    """Breaks if a frozen layer of the trunk counts in what the aggregator sees, or is moved."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)
    torch.manual_seed(0)
    model = make_mlp(tasks, hidden=(8, 5))
    model.trunk[0].requires_grad_(False)
    before = copy_state(model.trunk[0].state_dict())
    rows = []
    for loss in losses_of(model, tasks, split):
        gradients = torch.autograd.grad(loss, list(model.trunk[2].parameters()), retain_graph=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    expected = aggregation.AlignedMTL()(torch.stack(rows))
    learner = learner_with(
        Jacobian, tasks, split, model=model, optimizer=SGD, aggregator="aligned_mtl"
    )
    learner.step(split, only(0, 1, 2))
    assert_near(torch.cat([p.grad.flatten() for p in model.trunk[2].parameters()]), expected, 1e-12)
    assert_same_bits(copy_state(model.trunk[0].state_dict()), before)


class FourTasks(nn.Module):
    """A trunk for four tasks, and a layer for each half of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(INPUTS, 4)
        self.halves = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(4))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        halves = [half(self.trunk(inputs).tanh()) for half in self.halves]
        return {"abcd"[i]: head(halves[i // 2]) for i, head in enumerate(self.heads)}


def test_what_only_idle_tasks_share_has_no_gradient() -> None:
    """Breaks if a column of zeros becomes a gradient of zero, by which decay and momentum go on."""
    tasks = make_tasks(a="regression", b="regression", c="regression", d="regression")
    split, model = make_split(tasks), FourTasks()
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)
    learner = learner_with(
        Jacobian, tasks, split, model=model, optimizer=optimizer, aggregator="mgda"
    )
    train(learner, split, 2)
    before = [copy_state(half.state_dict()) for half in model.halves]
    for _ in range(2):
        learner.step(split, only(2, 3, of=4))
    assert_same_bits(copy_state(model.halves[0].state_dict()), before[0])
    assert (model.halves[1].weight != before[1]["weight"]).any()
    assert {
        learner.update.optimizers[0].state[p]["step"].item() for p in model.halves[0].parameters()
    } == {2.0}


class TwoInputs(nn.Module):
    """A model with several inputs, a parameter used twice, a shared scalar and no trunk."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mixing = nn.Parameter(torch.tensor(0.3))
        self.layer = nn.Linear(INPUTS, INPUTS)
        self.heads = nn.ModuleList([nn.Linear(INPUTS, 2), nn.Linear(INPUTS, 2)])

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mixed = self.mixing * inputs["left"] + (1 - self.mixing) * inputs["right"]
        twice = self.layer(self.layer(mixed).tanh())
        return {"a": self.heads[0](twice), "b": self.heads[1](twice + mixed)}


def test_any_model_will_do() -> None:
    """Breaks if the rows need a tensor of features, as TorchJD's own backward pass does."""
    tasks = make_tasks(a="regression", b="regression")
    split, model = make_split(tasks), TwoInputs()
    split.inputs = {"left": split.inputs, "right": split.inputs.flip(0)}
    rows = shared_rows(model, tasks, split)
    learner = learner_with(Jacobian, tasks, split, model=model, optimizer=Still, aggregator="mgda")
    learner.step(split, only(0, 1, of=2))
    assert_near(shared_gradient(model), shortest_by_scipy(rows), 1e-12)


# Aggregators of the user's own


class FirstRow(nn.Module):
    """An aggregator without weights to log."""

    def forward(self, jacobian: Tensor) -> Tensor:
        return jacobian[0]


@pytest.mark.parametrize(
    ("aggregator", "weighted"),
    [(FirstRow(), False), (aggregation.MGDA(), True), (lambda j: j[0], False)],
)
def test_any_callable_is_an_aggregator(
    aggregator: Callable[[Tensor], Tensor], weighted: bool
) -> None:
    """Breaks if only names work, or weights are made up where there are none."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks)
    rows = shared_rows(model, tasks, split)
    learner = learner_with(
        Jacobian, tasks, split, model=model, optimizer=Still, aggregator=aggregator
    )
    used = learner.step(split, only(0, 1, 2)).measured["aggregator_weight"]
    assert_near(shared_gradient(model), aggregator(rows), 1e-13)
    if weighted:
        assert_near(used @ rows, shared_gradient(model), 1e-12)
    else:
        assert used.isnan().all()


class Drawing:
    """An aggregator with a generator, which cannot be copied, and a number per column."""

    def __init__(self, columns: int) -> None:
        self.generator, self.scale = torch.Generator().manual_seed(0), torch.ones(columns)

    def __call__(self, jacobian: Tensor) -> Tensor:
        return torch.rand(len(jacobian), generator=self.generator) @ jacobian * self.scale


def test_an_aggregator_of_the_users_own_need_not_be_copied_or_take_any_columns() -> None:
    """Breaks if a trial at the start refuses an aggregator that would have worked."""
    tasks = make_tasks(**KINDS_OF)
    split, model = make_split(tasks), make_mlp(tasks)
    shared = sum(p.numel() for p in model.trunk.parameters())
    learner = learner_with(Jacobian, tasks, split, model=model, aggregator=Drawing(shared))
    train(learner, split, 1)


# Going on, and refusing


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "pcd", "excess_mtl"])
def test_a_fresh_copy_continues_from_a_saved_state_to_the_last_bit(name: str) -> None:
    """Breaks if the checkpoint lacks the state of the aggregator or of the optimizer."""
    tasks = make_tasks(**KINDS_OF)
    split = make_split(tasks)

    def made(seed: int) -> Learner:
        return learner_with(Jacobian, tasks, split, model=Pairs(tasks), aggregator=name, seed=seed)

    learner, twin = made(1), made(2)
    for active in PATTERNS[:4]:
        learner.step(split, only(*active))
    twin.model.load_state_dict(copy_state(learner.model.state_dict()))
    twin.update.load_state_dict(through_a_file(learner.update.state_dict()))
    for continued in (learner, twin):
        for active in (*PATTERNS, (0, 1, 2)):
            continued.step(split, only(*active))
    assert_same_bits(twin.model.state_dict(), learner.model.state_dict())


def test_what_is_wrong_is_named_when_the_update_is_made() -> None:
    """Breaks if an aggregator that cannot work stops the run only at its first step."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    for options, words in (
        ({"aggregator": "pcgrd"}, "update.aggregator='pcgrd' is unknown; did you mean 'pcgrad'?"),
        (
            {"aggregator": "krum"},
            "update.aggregator=krum needs at least 3 tasks with these options; found 2.",
        ),
        (
            {"aggregator": "krum", "options": {"n_selected": 9, "n_byzantine": -1}},
            "n_byzantine must be non-negative",
        ),
        (
            {"aggregator": "constant", "options": {"weights": {"z": 1}}},
            "update.options.weights names the unknown task 'z'",
        ),
    ):
        with pytest.raises(ConfigError) as error:
            learner_with(Jacobian, tasks, split, **options)
        assert words in str(error.value)


def test_a_single_task_needs_no_aggregator_that_fits() -> None:
    """Breaks if a sweep over tasks fails for the methods that need several rows."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    for name in ("krum", "trimmed_mean", "nash_mtl", "upgrad"):
        train(learner_with(Jacobian, tasks, split, aggregator=name), split, 1)


def test_parameters_of_one_task_alone_are_no_columns() -> None:
    """Breaks if what is shared is read off names instead of losses."""
    point, private = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    parameters = Parameters([private, point], [frozenset({1}), frozenset({0, 1})])
    update = Jacobian(parameters, Still, make_terms(a=lambda p: p, b=lambda p: p), aggregator="sum")
    update([point.sum(), (3 * point * private).sum()])
    assert_near(point.grad, torch.tensor([4.0, 4.0]), 0)
    assert_near(private.grad, torch.tensor([3.0, 3.0]), 0)
