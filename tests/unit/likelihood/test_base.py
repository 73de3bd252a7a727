"""The methods of every likelihood, and `likelihood=standard`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic, Likelihood, Standard
from mtl_runner.likelihood.base import Tensors, entries_per_row, labelled_counts
from mtl_runner.tasks.task import Task
from tests.support.builders import KINDS, ROWS, assert_near, make_split, make_tasks
from tests.support.likelihoods import make_task, outputs_for, with_gaps, without_labels

pytestmark = pytest.mark.usefixtures("float64")

EVERY_KIND = dict(zip("abcd", KINDS, strict=True))


def outputs_of(tasks: list[Task]) -> dict[str, Tensor]:
    """Return random outputs for every task."""
    return {task.name: outputs_for(task, ROWS, seed=i) for i, task in enumerate(tasks)}


def test_standard_takes_the_losses_of_the_tasks_as_they_are() -> None:
    """Breaks if `likelihood=standard` changes a loss, the outputs, or learns something."""
    tasks = make_tasks(**EVERY_KIND)
    outputs, targets = outputs_of(tasks), make_split(tasks).targets
    likelihood = Standard(tasks)
    expected = torch.stack([task.loss(outputs, targets) for task in tasks])
    assert_near(likelihood(outputs, targets), expected, 0)
    assert_near(likelihood.standard_losses(outputs, targets), expected.detach(), 0)
    assert likelihood.tempered_outputs(outputs) is outputs
    assert likelihood.predicted_sigma(tasks[0], outputs) is None
    assert list(likelihood.parameters()) == []


def test_every_loss_has_a_graph_of_its_own() -> None:
    """Breaks if one task's gradient cannot be taken, or its graph freed, without the others'."""
    tasks = make_tasks(a="regression", b="classification")
    outputs, targets = outputs_of(tasks), make_split(tasks).targets
    losses = Standard(tasks).losses(outputs, targets)
    gradients = torch.autograd.grad(losses[0], list(outputs.values()), allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False, True]
    losses[1].backward()


def test_a_users_likelihood_overrides_the_losses_alone() -> None:
    """Breaks if the standard losses, by which runs compare, follow a user's training loss."""

    class Doubled(Likelihood):
        def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
            return [2 * loss for loss in super().losses(outputs, targets)]

    tasks = make_tasks(a="regression")
    outputs, targets = outputs_of(tasks), make_split(tasks).targets
    doubled, standard = Doubled(tasks), Standard(tasks)
    assert_near(doubled(outputs, targets), 2 * standard(outputs, targets), 1e-14)
    assert_near(
        doubled.standard_losses(outputs, targets), standard.standard_losses(outputs, targets), 0
    )


@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("gaps", [False, True])
def test_contributions_of_batches_add_up_to_the_likelihood_of_the_split(
    reduce: str, gaps: bool
) -> None:
    """Breaks if an evaluation's nll depends on its batch size, or on where labels are missing."""
    tasks = [Task(t.name, t.kind, size=t.size, missing=gaps) for t in make_tasks(**EVERY_KIND)]
    split = with_gaps(make_split(tasks)) if gaps else make_split(tasks)
    outputs = {name: output.detach() for name, output in outputs_of(tasks).items()}
    likelihood = Homoscedastic(tasks, reduce=reduce, init=0.3)
    whole_split = likelihood.negative_log_likelihoods(outputs, split.targets)
    sums: dict[str, Tensor] = {}
    for rows in torch.arange(ROWS).split(7):
        part = Split(split.inputs[rows], {name: t[rows] for name, t in split.targets.items()})
        part_outputs = {name: output[rows] for name, output in outputs.items()}
        for name, contribution in likelihood.nll_sums(part_outputs, part.targets).items():
            sums[name] = sums.get(name, 0) + contribution
    assert_near(
        torch.stack([likelihood.nll_of_sums(sums[task.name]) for task in tasks]), whole_split, 1e-12
    )


def test_a_split_without_any_label_has_the_likelihood_0() -> None:
    """Breaks if a task that nobody labelled is NaN in metrics.csv."""
    task = make_task("regression", missing=True)
    split = without_labels(make_split([task]), "a")
    outputs = {"a": outputs_for(task, ROWS).detach()}
    sums = Homoscedastic([task], init=0.3).nll_sums(outputs, split.targets)["a"]
    assert Likelihood.nll_of_sums(sums).item() == 0


def test_a_loss_term_has_no_contributions() -> None:
    """Breaks if a callable, which is no sum over rows, is added up over batches."""
    term = Task("t", "term", loss_term=lambda outputs, targets: outputs["a"].mean())
    (task,) = make_tasks(a="regression")
    sums = Standard([task, term]).nll_sums(outputs_of([task]), make_split([task]).targets)
    assert list(sums) == ["a"]


def test_labelled_entries_and_rows_are_counted() -> None:
    """Breaks if a row with one missing entry is no labelled row, or an unlabelled one is."""
    task = Task("a", size=2, missing=True)
    target = torch.tensor([[1.0, 2.0], [torch.nan, 3.0], [torch.nan, torch.nan]])
    assert [count.item() for count in labelled_counts(task, target)] == [3.0, 2.0]
    assert entries_per_row(task, target, "sum") == 1.5
    assert entries_per_row(task, target, "mean") == 1.0
    assert entries_per_row(Task("a", size=2), target[:1], "sum") == 2


def test_the_kinds_of_likelihood_say_what_they_have() -> None:
    """Breaks if the trainer logs an nll where there is none, or builds no noise head."""
    tasks = make_tasks(a="regression")
    flags = [
        (type(axis).__name__, axis.has_noise, axis.predicts_noise, axis.trains_nll)
        for axis in (
            Standard(tasks),
            Homoscedastic(tasks),
            Heteroscedastic(tasks),
            Heteroscedastic(tasks, beta=0.5),
        )
    ]
    assert flags == [
        ("Standard", False, False, True),
        ("Homoscedastic", True, False, True),
        ("Heteroscedastic", True, True, True),
        ("Heteroscedastic", True, True, False),
    ]
