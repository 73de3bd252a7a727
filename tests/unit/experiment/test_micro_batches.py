"""A batch in parts: the losses of the whole batch, the same noise, statistics moved once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.micro_batches import MicroBatches
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Lane, values_of
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic, Likelihood, Standard
from mtl_runner.tasks.task import Task
from tests.support.builders import (
    INPUTS,
    KINDS,
    assert_near,
    assert_same_bits,
    copy_state,
    make_mlp,
    make_split,
    make_tasks,
)
from tests.support.likelihoods import with_gaps
from tests.unit.experiment.test_forward import Noisy

pytestmark = pytest.mark.usefixtures("float64")

EVERY_KIND = dict(zip("abcd", KINDS, strict=True))
PARTS = pytest.mark.parametrize("rows", [1, 3, 7])


def tasks_of_every_kind(missing: bool) -> list[Task]:
    """Return a task of every kind; of the classes the second counts three times."""
    tasks = []
    for t in make_tasks(**EVERY_KIND):
        weights = (1.0, 3.0, 1.0, 0.5, 2.0)[: t.size] if t.kind == "classification" else ()
        tasks.append(Task(t.name, t.kind, size=t.size, missing=missing, class_weights=weights))
    return tasks


@PARTS
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    "make", [Standard, Homoscedastic, lambda tasks: Homoscedastic(tasks, reduce="mean")]
)
def test_the_losses_are_those_of_the_whole_batch(
    make: type[Likelihood], gaps: bool, rows: int
) -> None:
    """Breaks if a mean over parts of different weight is taken for the mean over the batch."""
    tasks = tasks_of_every_kind(gaps)
    split = with_gaps(make_split(tasks)) if gaps else make_split(tasks)
    likelihood = make(tasks)
    forward_pass = ForwardPass(make_mlp(tasks), likelihood)
    full_batch = forward_pass.of_batch(split)
    parts = MicroBatches(forward_pass, split, rows)
    assert_near(parts.values, full_batch.values, 1e-12)
    assert_near(parts.standard, full_batch.standard, 1e-12)
    assert (parts.nll is None) == (full_batch.nll is None)
    if full_batch.nll is not None:
        assert_near(parts.nll, full_batch.nll, 1e-12)
    inputs = [*forward_pass.parameters()]
    lanes = [Lane((t,), inputs) for t in range(len(tasks))]
    for got, wanted in zip(
        list(door.of(parts.losses, lanes)), list(door.of(full_batch.losses, lanes)), strict=True
    ):
        for a, b in zip(got, wanted, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert_near(a, b, 1e-12)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_map_of_classes_with_weights_is_exact(reduce: str, missing: bool) -> None:
    """Breaks if a likelihood that sums over pixels is weighed by pixels instead of rows."""
    torch.manual_seed(0)
    task = Task(
        "map", "classification", size=3, places=(4,), missing=missing, class_weights=(1.0, 5.0, 0.2)
    )
    target = torch.randint(0, 3, (7, 4))
    if missing:
        target[torch.rand(7, 4) < 0.5] = -100
        target[3] = -100
    split = Split(torch.randn(7, 3, 4), {"map": target})

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(3, 3, 1)

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return {"map": self.layer(inputs)}

    forward_pass = ForwardPass(Scores(), Homoscedastic([task], reduce=reduce, init=0.3))
    full_batch = forward_pass.of_batch(split)
    for rows in (1, 2, 5):
        assert_near(MicroBatches(forward_pass, split, rows).values, full_batch.values, 1e-13)


def test_predicted_noise_is_exact_too() -> None:
    """Breaks if heteroscedastic losses of parts are put together in another way."""
    tasks = [Task("a", size=2, missing=True)]
    torch.manual_seed(0)
    target = torch.randn(7, 2)
    target[torch.rand(7, 2) < 0.4] = torch.nan

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            out = self.layer(inputs)
            return {"a": out[:, :2], "a/log_variance": out[:, 2:]}

    split = Split(torch.randn(7, 3), {"a": target})
    forward_pass = ForwardPass(Model(), Heteroscedastic(tasks, beta=0.5))
    full_batch, parts = forward_pass.of_batch(split), MicroBatches(forward_pass, split, 2)
    assert_near(parts.values, full_batch.values, 1e-13)
    assert_near(parts.nll, full_batch.nll, 1e-13)


def test_a_task_without_a_label_in_the_batch_has_the_loss_0() -> None:
    """Breaks if a batch without labels of a task makes NaN."""
    (task,) = tasks = [Task("a", size=1, missing=True)]
    split = Split(torch.randn(4, INPUTS), {task.name: torch.full((4, 1), torch.nan)})
    parts = MicroBatches(ForwardPass(make_mlp(tasks), Standard(tasks)), split, 2)
    assert parts.values.tolist() == [0.0]


@pytest.mark.parametrize("values_first", [False, True])
def test_every_pass_sees_the_noise_of_the_first_and_moves_statistics_once(
    values_first: bool,
) -> None:
    """Breaks if dropout differs between two passes, or BatchNorm counts a batch twice."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    trackers = []
    for is_in_parts in (False, True):
        torch.manual_seed(5)
        model = Noisy()
        forward_pass = ForwardPass(model, Standard(tasks))
        if not is_in_parts:
            with torch.no_grad():
                for part in split.batches(3):
                    forward_pass(part.inputs, part.targets)
        else:
            parts = MicroBatches(forward_pass, split, 3)
            if values_first:
                assert parts.values.isfinite().all()
            lane = [Lane((0,), list(model.parameters()))]
            first, second = list(door.of(parts.losses, lane)), list(door.of(parts.losses, lane))
            assert_same_bits(first[0][0], second[0][0])
            assert_same_bits(values_of(parts.recompute()), parts.values)
        trackers.append((copy_state(dict(model.named_buffers())), torch.get_rng_state()))
    assert_same_bits(trackers[1], trackers[0])


def test_recomputed_losses_are_those_of_the_moved_parameters() -> None:
    """Breaks if FAMO compares the losses before an update with themselves."""
    tasks = make_tasks(a="regression", b="classification")
    split, model = make_split(tasks), make_mlp(tasks)
    forward_pass = ForwardPass(model, Standard(tasks))
    parts = MicroBatches(forward_pass, split, 3)
    before = parts.values
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert_near(values_of(parts.recompute()), forward_pass.of_batch(split).values, 1e-13)
    assert_same_bits(parts.values, before)
