"""Small problems, models and training loops that the tests of several rooms share.

Nothing here knows the formula of a method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from mtl_runner.data.dataset import BatchGroup, Split
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.forward import ForwardPass, split_outputs
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.experiment.step_record import StepRecord
from mtl_runner.likelihood import Likelihood, Standard
from mtl_runner.models import MLP
from mtl_runner.schedule import RunLength, Schedule
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.train.batches import Batches
from mtl_runner.train.evaluation import Evaluation, evaluate
from mtl_runner.update import AdaTask, Jacobian, Joint, PerTask, Update
from mtl_runner.weighting import Fixed, Weighting

ROWS, INPUTS = 24, 3
KINDS = ("regression", "regression_l1", "classification", "multilabel")
SIZES = {"regression": 2, "regression_l1": 1, "classification": 4, "multilabel": 3}

QUICK = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Adam = partial(torch.optim.Adam, lr=0.01)
SGD = partial(torch.optim.SGD, lr=0.01)

assert_same_bits = partial(torch.testing.assert_close, rtol=0, atol=0)


def assert_near(actual: Any, expected: Any, tolerance: float) -> None:
    """Assert that tensors, or mappings of them, agree within an absolute tolerance."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


# Tasks and data


def make_tasks(**kinds: str) -> list[Task]:
    """Return tasks of small fixed sizes from their kinds by name.

    For example ``make_tasks(a="regression", b="classification")``.
    """
    return [Task(name, kind, size=SIZES[kind]) for name, kind in kinds.items()]


def make_split(tasks: Sequence[Task], rows: int = ROWS, seed: int = 0) -> Split:
    """Return random inputs and fully labelled random targets, in the form that training needs."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, INPUTS, generator=generator)
    targets = {}
    for task in tasks:
        if task.kind == "classification":
            targets[task.name] = torch.randint(task.size, (rows,), generator=generator)
        elif task.kind == "multilabel":
            targets[task.name] = torch.randint(2, (rows, task.size), generator=generator).to(
                inputs.dtype
            )
        elif task.has_target:
            targets[task.name] = torch.randn(rows, task.size, generator=generator)
    return Split(inputs, targets)


@dataclass
class Data:
    """A user's dataset: its tasks and its splits."""

    tasks: list[Task]
    splits: dict[str, Split]

    @classmethod
    def of(cls, tasks: list[Task], **splits: Split) -> Data:
        """Return a dataset in which every split that is not given is the training split."""
        return cls(
            tasks, {name: splits.get(name, splits["train"]) for name in ("train", "val", "test")}
        )


def make_terms(**functions: Callable[[Tensor], Tensor]) -> list[Task]:
    """Return loss terms of the parameters of a :class:`Point`.

    For example ``terms(a=lambda p: p.square().sum())``.
    """
    return [
        Task(name, "term", loss_term=lambda outputs, targets, f=function: f(outputs["point"]))
        for name, function in functions.items()
    ]


# Models


class Point(nn.Module):
    """A model that is nothing but its parameters, for losses that are functions of a point."""

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.tensor(start))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        del inputs
        return {"point": self.point}


# The data of a Point, whose losses need none.
NO_DATA = Split(torch.zeros(1, 1), {})


def make_mlp(
    tasks: Sequence[Task], hidden: Sequence[int] = (8,), kind: Callable[..., nn.Module] = MLP
) -> nn.Module:
    """Return a small smooth model with the same initial weights at every call."""
    torch.manual_seed(0)
    return kind(tasks, (INPUTS,), hidden, activation="tanh")


def make_linear(tasks: Sequence[Task]) -> nn.Module:
    """Return a linear map per task, so that every standard loss is convex in the parameters."""
    return make_mlp(tasks, hidden=())


def head_state(model: nn.Module, tasks: Sequence[Task], name: str) -> dict[str, Tensor]:
    """Return a copy of the parameters of one task's head of an MLP."""
    return copy_state(model.heads[[task.name for task in tasks].index(name)].state_dict())


def copy_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of a state, which later steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def only_active(*tasks: int) -> Active:
    """Return the activity of a step in which these tasks are active and at least one is idle."""
    return Active(tuple(float(t in tasks) for t in range(max(tasks, default=0) + 2)))


# Training


def make_learner(
    tasks: Sequence[Task],
    split: Split,
    *,
    model: nn.Module | None = None,
    weighting: Weighting | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = Adam,
    update: type[Update] = Joint,
    **options: Any,
) -> Learner:
    """Return a learner with the parts that the test names, and the plainest choice of the others.

    Args:
        tasks: The tasks.
        split: The split whose shapes the parameters are sorted by.
        model: The model; by default a small MLP.
        weighting: The weighting; by default equal weights.
        optimizer: Makes the optimizer of some parameters.
        update: The class of the update.
        **options: Further arguments of the update.
    """
    model = make_mlp(tasks) if model is None else model
    weighting = Fixed(tasks) if weighting is None else weighting
    likelihood = Standard(tasks)
    parameters = find_parameters(model, likelihood, split)
    if issubclass(update, PerTask | AdaTask | Jacobian):
        options["tasks"] = tasks
    return Learner(
        model,
        likelihood,
        weighting,
        update(parameters, optimizer, **options),
        OwnOptimizers(weighting, optimizer),
    )


def predict_split(model: nn.Module, split: Split, rows: int = 10_000) -> dict[str, Tensor]:
    """Return a model's outputs for a whole split, in eval mode."""
    return split_outputs(ForwardPass(model, Standard([])), split, rows)


def evaluate_split(
    model: nn.Module,
    tasks: Sequence[Task],
    split: Split,
    trivial: Sequence[float | None] | None = None,
    rows: int = 10_000,
    likelihood: Likelihood | None = None,
) -> Evaluation:
    """Return the evaluation of a model on a split.

    Args:
        model: The model.
        tasks: The tasks.
        split: The split.
        trivial: The loss of the trivial predictor, one per task; by default unknown.
        rows: Rows per batch; by default all rows are one batch.
        likelihood: The likelihood; by default the standard one.
    """
    forward = ForwardPass(model, likelihood or Standard(tasks))
    return evaluate(forward, tasks, split, trivial or [None] * len(tasks), rows)


@dataclass
class History:
    """The losses, weights (both ``[steps, T]``) and objectives ``[steps]`` of some steps."""

    losses: Tensor
    weights: Tensor
    objective: Tensor

    @classmethod
    def of(cls, records: Sequence[StepRecord]) -> History:
        """Return the history of the steps with these records."""
        loss, weight, objective = (
            [getattr(r, name) for r in records] for name in ("loss", "weight", "objective")
        )
        return cls(torch.stack(loss), torch.stack(weight), torch.stack(objective))


def train(
    learner: Learner, split: Split, steps: int, schedule: Schedule | None = None, first: int = 0
) -> History:
    """Take steps on the whole split, numbered from ``first``, and return their history."""
    all_active = (1.0,) * len(learner.likelihood.tasks)
    records = [
        learner.step(
            batches_for(learner, split),
            Active(schedule.activation(step) if schedule else all_active),
        )
        for step in range(first, first + steps)
    ]
    return History.of(records)


def train_epochs(
    learner: Learner,
    split: Split,
    epochs: int,
    batch_size: int,
    schedule: Callable[..., Schedule] = Schedule,
) -> History:
    """Run shuffled epochs, as the trainer does, and return the history of the last one."""
    tasks = learner.likelihood.tasks
    batches = Batches(
        split,
        tasks,
        schedule(tasks, RunLength(epochs, -(-len(split) // batch_size))),
        batch_size,
        seed=0,
    )
    records: list[Any] = []
    for epoch in range(epochs):
        learner.own_optimizers.begin_epoch(epoch / epochs)
        records = [
            learner.step(batches_for(learner, batch), active)
            for batch, active in batches.epoch(epoch * batches.count)
            if active.tasks
        ]
    return History.of(records)


def batches_for(learner: Learner, split: Split) -> Split | BatchGroup:
    """Return as many batches as a step of a learner takes, each of all rows."""
    extra = learner.update.batches - 1
    return BatchGroup(split, (split,) * extra) if extra else split


def whole_batch(split: Split, tasks: list[Task]) -> tuple[Split, Active]:
    """Return the whole split as one batch, and which of its tasks have labels."""
    return next(
        iter(Batches(split, tasks, Schedule(tasks, RunLength(1, 1)), len(split), seed=0).epoch(0))
    )


def train_plainly(
    parameters: Iterable[nn.Parameter],
    objective: Callable[[], Tensor],
    steps: int,
    optimizer: Callable[..., torch.optim.Optimizer] = Adam,
) -> None:
    """Train in the textbook loop of plain torch, with which a strategy is compared."""
    optimizer_ = optimizer(list(parameters))
    for _ in range(steps):
        optimizer_.zero_grad()
        objective().backward()
        optimizer_.step()


def minimise(
    parameters: Iterable[nn.Parameter], objective: Callable[[], Tensor], restarts: int = 5
) -> None:
    """Minimise the objective over the parameters as far as float64 goes, by L-BFGS."""
    solvers = [
        torch.optim.LBFGS(
            list(parameters),
            max_iter=400,
            tolerance_grad=1e-13,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
    ]

    def closure() -> Tensor:
        solvers[0].zero_grad()
        value = objective()
        value.backward()
        return value

    for _ in range(restarts):
        solvers[0].state.clear()
        solvers[0].step(closure)


def losses_of(model: nn.Module, tasks: Sequence[Task], split: Split) -> Tensor:
    """Return the standard losses ``[T]`` of a model, differentiable."""
    return Standard(tasks)(model(split.inputs), split.targets)


def gradients_of(model: nn.Module, tasks: Sequence[Task], split: Split) -> Tensor:
    """Return the gradient of each task's loss over all parameters, ``[T, P]``."""
    parameters = list(model.parameters())
    rows = []
    for loss in losses_of(model, tasks, split):
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)


def flat_parameters(model: nn.Module) -> Tensor:
    """Return a copy of all parameters as one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()
