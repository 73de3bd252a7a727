"""Missing labels change nothing, and the values in their place are never used."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.prepare import prepare
from mtl_runner.experiment.dataset import trivial_losses
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task
from mtl_runner.update import Joint, PerTask, Update
from mtl_runner.weighting import Uncertainty, Weighting
from tests.support.builders import (
    INPUTS,
    KINDS,
    QUICK,
    ROWS,
    SGD,
    Adam,
    Data,
    assert_near,
    assert_same_bits,
    copy_state,
    evaluate_split,
    flat_parameters,
    head_state,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    train_epochs,
    whole_batch,
)

pytestmark = pytest.mark.usefixtures("float64")

ALL = {"a": "regression", "b": "regression_l1", "c": "classification", "d": "multilabel"}
Optimizer = Callable[..., torch.optim.Optimizer]
update_is = pytest.mark.parametrize("update", [Joint, PerTask])
kind_is = pytest.mark.parametrize("kind", KINDS)


def partly_labelled(**kinds: str) -> list[Task]:
    """Return tasks whose labels may be missing."""
    return [replace(task, missing=True) for task in make_tasks(**kinds)]


def unlabel(target: Tensor, gaps: Tensor) -> Tensor:
    """Return the target without the labels where the mask ``gaps`` is true."""
    missing = torch.nan if target.is_floating_point() else MISSING_CLASS
    return torch.where(gaps, missing, target)


def random_gaps(split: Split, seed: int = 0) -> dict[str, Tensor]:
    """Return a mask of the known labels per target.

    A third of the entries and the whole first row are unknown.
    """
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, target in split.targets.items():
        masks[name] = torch.rand(target.shape, generator=generator) > 0.33
        masks[name][0] = False
    return masks


# One loss


@kind_is
def test_the_loss_of_a_batch_without_labels_is_exactly_zero(kind: str) -> None:
    """Breaks if a batch without labels has a loss of 0/0, or the gradient of a NaN."""
    tasks = partly_labelled(a=kind)
    split = make_split(tasks)
    target = unlabel(split.targets["a"], torch.ones_like(split.targets["a"], dtype=torch.bool))
    output = make_mlp(tasks)(split.inputs)["a"].detach().requires_grad_()
    loss = tasks[0].loss({"a": output}, {"a": target})
    (gradient,) = torch.autograd.grad(loss, output)
    assert loss.item() == 0.0
    assert (gradient == 0).all()


@kind_is
@pytest.mark.parametrize("class_weights", [(), (0.5, 3.0, 1.0, 0.0)])
def test_the_loss_is_the_mean_over_the_labelled_rows(
    kind: str, class_weights: tuple[float, ...]
) -> None:
    """Breaks if unlabelled rows dilute the loss of the labelled ones, or change their gradient."""
    (task,) = partly_labelled(a=kind)
    if kind == "classification":
        task = replace(task, class_weights=class_weights)
    split = make_split([task])
    output = make_mlp([task])(split.inputs)["a"].detach().requires_grad_()
    known = torch.arange(ROWS) % 3 > 0
    gaps = (~known).view(-1, *(1,) * (split.targets["a"].dim() - 1)).expand_as(split.targets["a"])
    masked = task.loss({"a": output}, {"a": unlabel(split.targets["a"], gaps)})
    kept = replace(task, missing=False).loss({"a": output[known]}, {"a": split.targets["a"][known]})
    assert_near(masked, kept, 1e-14)
    assert_near(torch.autograd.grad(masked, output)[0], torch.autograd.grad(kept, output)[0], 1e-14)


@kind_is
def test_looking_for_gaps_changes_nothing_where_there_are_none(kind: str) -> None:
    """Breaks if a fully labelled task trains differently because another split has gaps."""
    (task,) = partly_labelled(a=kind)
    split = make_split([task])
    output = make_mlp([task])(split.inputs)
    assert_near(
        task.loss(output, split.targets),
        replace(task, missing=False).loss(output, split.targets),
        1e-14,
    )


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_single_missing_entries_of_a_row_leave_the_others(kind: str) -> None:
    """Breaks if the whole row is left out where one of its labels is missing."""
    (task,) = partly_labelled(a=kind)
    split = make_split([task])
    output = make_mlp([task])(split.inputs)["a"].detach()
    gaps = ~random_gaps(split)["a"]
    masked = task.loss({"a": output}, {"a": unlabel(split.targets["a"], gaps)})
    entries = {"a": output[~gaps].unsqueeze(1)}, {"a": split.targets["a"][~gaps].unsqueeze(1)}
    assert_near(masked, replace(task, missing=False, size=1).loss(*entries), 1e-14)


# One step


def states_of(
    optimizer: torch.optim.Optimizer, parameters: list[Tensor]
) -> list[dict[str, Tensor]]:
    """Return copies of the optimizer's state of these parameters: moments and steps."""
    return [
        copy_state({k: v for k, v in optimizer.state[p].items() if isinstance(v, Tensor)})
        for p in parameters
    ]


@update_is
@pytest.mark.parametrize(
    "optimizer",
    [
        Adam,
        partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
        partial(SGD, momentum=0.9, weight_decay=0.1),
    ],
    ids=["Adam", "AdamW", "SGD"],
)
@pytest.mark.parametrize(
    "weighting",
    [
        Uncertainty,
        partial(Uncertainty, lr=None, init=0.0),
        partial(Uncertainty, solver="closed_form"),
    ],
    ids=["own_lr", "shared_lr", "closed_form"],
)
def test_a_batch_without_labels_changes_neither_sigma_nor_head_nor_clock(
    weighting: Callable[..., Weighting], optimizer: Optimizer, update: type[Update]
) -> None:
    """Breaks if the sigma, head or moments of a task move on a batch without its labels."""
    tasks = partly_labelled(a="regression", b="classification")
    split = make_split(tasks)
    learner = make_learner(
        tasks, split, weighting=weighting(tasks), optimizer=optimizer, update=update
    )
    for _ in range(3):
        learner.step(*whole_batch(split, tasks))
    gone = Split(split.inputs, split.targets | {"b": torch.full((ROWS,), MISSING_CLASS)})

    def private_state() -> tuple[object, ...]:
        head = list(learner.model.heads[1].parameters())
        states_of_sigma = [
            states_of(o, [learner.weighting.log_variance[1]])
            for o in learner.own_optimizers.optimizers
        ]
        return (
            head_state(learner.model, tasks, "b"),
            learner.weighting.sigmas()[1],
            states_of(learner.update.optimizers[-1], head),
            states_of_sigma,
        )

    before, sigma, head = (
        private_state(),
        learner.weighting.sigmas()[0],
        head_state(learner.model, tasks, "a"),
    )
    for _ in range(3):
        batch, active = whole_batch(gone, tasks)
        record = learner.step(batch, active)
        losses, weights = record.loss, record.weight
        assert losses[1] == 0
        assert weights[1] == 0
    assert_same_bits(private_state(), before)
    # The other task has trained.
    assert learner.weighting.sigmas()[0] != sigma
    assert not torch.equal(head_state(learner.model, tasks, "a")["weight"], head["weight"])


@update_is
def test_a_batch_without_labels_trains_the_other_tasks_as_if_they_were_alone(
    update: type[Update],
) -> None:
    """Breaks if an unlabelled task has an effect on the trunk or on the other tasks."""
    tasks = partly_labelled(a="regression", b="classification")
    split = make_split(tasks)
    gone = Split(split.inputs, split.targets | {"b": torch.full((ROWS,), MISSING_CLASS)})
    both = make_learner(tasks, split, weighting=Uncertainty(tasks), update=update)
    alone = make_learner(
        tasks[:1], split, model=make_mlp(tasks[:1]), weighting=Uncertainty(tasks[:1]), update=update
    )
    for _ in range(5):
        both.step(*whole_batch(gone, tasks))
        alone.step(*whole_batch(split, tasks[:1]))
    assert_same_bits(dict(both.model.trunk.state_dict()), dict(alone.model.trunk.state_dict()))
    assert_same_bits(head_state(both.model, tasks, "a"), head_state(alone.model, tasks[:1], "a"))


# One run


garbage_numbers = st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -3.0, 0.0, 0.5])
garbage_classes = st.sampled_from([MISSING_CLASS, -1, -7, 0, 3, 4, 10**9])


def spoiled(split: Split, masks: dict[str, Tensor], number: float, label: int) -> Split:
    """Return the split with garbage wherever the mask says that the label is unknown."""
    targets = {
        name: torch.where(masks[name], target, number if target.is_floating_point() else label)
        for name, target in split.targets.items()
    }
    return Split(split.inputs, targets, masks)


def outcome(splits: dict[str, Split]) -> tuple[object, ...]:
    """Train on the splits; return parameters, sigmas, weights, losses and evaluations."""
    prepared = prepare(Data(make_tasks(**ALL), splits))
    tasks, train = prepared.tasks, prepared.splits["train"]
    learner = make_learner(tasks, train, weighting=Uncertainty(tasks), update=PerTask)
    history = train_epochs(learner, train, epochs=3, batch_size=5)
    evaluations = [
        evaluate_split(learner.model, tasks, split, trivial_losses(tasks, split), ROWS).values
        for split in prepared.splits.values()
    ]
    return (
        flat_parameters(learner.model),
        learner.weighting.sigmas(),
        history.weights,
        history.losses,
        evaluations,
    )


@QUICK
@given(number=garbage_numbers, label=garbage_classes)
def test_the_value_of_a_masked_label_changes_nothing(number: float, label: int) -> None:
    """Breaks if a value that the user declared unknown is trained on, or measured."""
    tasks = make_tasks(**ALL)
    labelled = {
        name: make_split(tasks, seed=seed) for seed, name in enumerate(("train", "val", "test"))
    }
    masks = {name: random_gaps(split, seed=9) for name, split in labelled.items()}
    masked = {name: spoiled(split, masks[name], number, label) for name, split in labelled.items()}
    unlabelled = {
        name: Split(split.inputs, spoiled(split, masks[name], math.nan, MISSING_CLASS).targets)
        for name, split in labelled.items()
    }
    assert_same_bits(outcome(masked), outcome(unlabelled))


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_a_mask_overrules_labels_that_look_fine(kind: str) -> None:
    """Breaks if a mask is ignored where the value in its place is a legal label."""
    tasks = make_tasks(a=kind)
    split = make_split(tasks)
    known = torch.arange(ROWS) % 2 == 0
    masks = {
        "a": known.view(-1, *(1,) * (split.targets["a"].dim() - 1)).expand_as(split.targets["a"])
    }
    prepared = prepare(Data.of(tasks, train=Split(split.inputs, split.targets, masks)))
    (task,) = prepared.tasks
    assert task.missing
    assert task.labelled(prepared.splits["train"].targets["a"]).tolist() == known.tolist()


@pytest.mark.parametrize("shape", [(), (2,), (3, 5, 5), (ROWS, 4)])
def test_one_mask_entry_per_row_covers_the_whole_row(shape: tuple[int, ...]) -> None:
    """Breaks if a mask of rows fails on targets with several entries, or masks columns."""
    task = Task("a", "regression")
    known = torch.arange(ROWS) % 2 == 0
    split = Split(torch.zeros(ROWS, INPUTS), {"a": torch.ones(ROWS, *shape)}, {"a": known})
    target = prepare(Data.of([task], train=split)).splits["train"].targets["a"]
    assert target.isnan().flatten(1).all(1).tolist() == (~known).tolist()
    assert target.isnan().flatten(1).any(1).tolist() == (~known).tolist()


@pytest.mark.parametrize("shape", [(), (5, 5), (ROWS,)])
def test_one_mask_entry_per_row_covers_all_its_pixels(shape: tuple[int, ...]) -> None:
    """Breaks if a mask of rows fails on a class per pixel, or masks columns of pixels."""
    task = Task("a", "classification", size=2)
    known = torch.arange(ROWS) % 2 == 0
    split = Split(
        torch.zeros(ROWS, INPUTS), {"a": torch.ones(ROWS, *shape, dtype=torch.long)}, {"a": known}
    )
    target = prepare(Data.of([task], train=split)).splits["train"].targets["a"]
    assert_same_bits((target == MISSING_CLASS).reshape(ROWS, -1).all(1), ~known)
    assert_same_bits((target == MISSING_CLASS).reshape(ROWS, -1).any(1), ~known)


def test_a_part_of_a_split_keeps_its_masks() -> None:
    """Breaks if the masks of a dataset are lost when its rows are dealt out to splits."""
    tasks = make_tasks(**ALL)
    split = make_split(tasks)
    split.masks = random_gaps(split)
    assert_same_bits(
        split.rows(slice(2, 7)).masks, {name: mask[2:7] for name, mask in split.masks.items()}
    )
    assert_same_bits(split.to(torch.device("cpu")).masks, split.masks)
    assert_same_bits(
        list(split.batches(5))[1].masks, {name: mask[5:10] for name, mask in split.masks.items()}
    )


# Idle tasks


def test_an_idle_and_an_unlabelled_task_train_the_same() -> None:
    """Breaks if a task that the schedule makes idle trains differently from one without labels."""
    tasks = partly_labelled(a="regression", b="classification")
    split = make_split(tasks)
    gone = Split(split.inputs, split.targets | {"b": torch.full((ROWS,), MISSING_CLASS)})
    unlabelled, idle = (make_learner(tasks, split, weighting=Uncertainty(tasks)) for _ in "12")
    for _ in range(5):
        unlabelled.step(*whole_batch(gone, tasks))
        idle.step(whole_batch(split, tasks)[0], Active((1.0, 0.0)))
    assert_same_bits(unlabelled.model.state_dict(), idle.model.state_dict())
    assert unlabelled.weighting.sigmas() == idle.weighting.sigmas()
