"""Missing labels: what is not known changes nothing, and what stands in its place is never looked at."""

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

from mtl_runner.data.dataset import Split, prepare
from mtl_runner.experiment.build import trivial_losses
from mtl_runner.schedule import Length, Schedule
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task
from mtl_runner.train.batches import Batches
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
    copied,
    evaluated,
    flat,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    near,
    only_batch,
    private,
    same_bits,
    train_epochs,
)

pytestmark = pytest.mark.usefixtures("float64")

ALL = {"a": "regression", "b": "regression_l1", "c": "classification", "d": "multilabel"}
Optimizer = Callable[..., torch.optim.Optimizer]
update_is = pytest.mark.parametrize("update", [Joint, PerTask])
kind_is = pytest.mark.parametrize("kind", KINDS)


def partly_labelled(**kinds: str) -> list[Task]:
    """Tasks of which labels may be missing."""
    return [replace(task, missing=True) for task in make_tasks(**kinds)]


def unlabel(target: Tensor, where: Tensor) -> Tensor:
    """The target without the labels at these places."""
    missing = torch.nan if target.is_floating_point() else MISSING_CLASS
    return torch.where(where, missing, target)


def random_gaps(split: Split, seed: int = 0) -> dict[str, Tensor]:
    """For each target a mask with a third of the entries unknown, and all of the first row."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, target in split.targets.items():
        masks[name] = torch.rand(target.shape, generator=generator) > 0.33
        masks[name][0] = False
    return masks


# One loss


@kind_is
def test_the_loss_of_a_batch_without_labels_is_exactly_zero(kind: str) -> None:
    """Breaks if 0/0 or the gradient of a NaN reaches the parameters."""
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
    near(masked, kept, 1e-14)
    near(torch.autograd.grad(masked, output)[0], torch.autograd.grad(kept, output)[0], 1e-14)


@kind_is
def test_looking_for_gaps_changes_nothing_where_there_are_none(kind: str) -> None:
    """Breaks if a fully labelled task trains differently because another split has gaps."""
    (task,) = partly_labelled(a=kind)
    split = make_split([task])
    output = make_mlp([task])(split.inputs)
    near(
        task.loss(output, split.targets),
        replace(task, missing=False).loss(output, split.targets),
        1e-14,
    )


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_single_missing_entries_of_a_row_leave_the_others(kind: str) -> None:
    """Breaks if one missing label of several takes the whole row with it."""
    (task,) = partly_labelled(a=kind)
    split = make_split([task])
    output = make_mlp([task])(split.inputs)["a"].detach()
    gaps = ~random_gaps(split)["a"]
    masked = task.loss({"a": output}, {"a": unlabel(split.targets["a"], gaps)})
    entries = {"a": output[~gaps].unsqueeze(1)}, {"a": split.targets["a"][~gaps].unsqueeze(1)}
    near(masked, replace(task, missing=False, size=1).loss(*entries), 1e-14)


# One step


def states_of(
    optimizer: torch.optim.Optimizer, parameters: list[Tensor]
) -> list[dict[str, Tensor]]:
    """Copies of the moments and clocks of these parameters."""
    return [
        copied({k: v for k, v in optimizer.state[p].items() if isinstance(v, Tensor)})
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
    """Breaks if a task without labels in a batch drifts: its sigma, its head or its optimizer's moments."""
    tasks = partly_labelled(a="regression", b="classification")
    split = make_split(tasks)
    learner = make_learner(
        tasks, split, weighting=weighting(tasks), optimizer=optimizer, update=update
    )
    for _ in range(3):
        learner.step(*only_batch(split, tasks))
    gone = Split(split.inputs, split.targets | {"b": torch.full((ROWS,), MISSING_CLASS)})

    def private_state() -> tuple[object, ...]:
        head = list(learner.model.heads[1].parameters())
        own = [
            states_of(o, [learner.weighting.log_variance[1]])
            for o in learner.own_optimizers.optimizers
        ]
        return (
            private(learner.model, tasks, "b"),
            learner.weighting.sigmas()[1],
            states_of(learner.update.optimizers[-1], head),
            own,
        )

    before, sigma, head = (
        private_state(),
        learner.weighting.sigmas()[0],
        private(learner.model, tasks, "a"),
    )
    for _ in range(3):
        batch, active = only_batch(gone, tasks)
        record = learner.step(batch, active)
        losses, weights = record.loss, record.weight
        assert losses[1] == 0
        assert weights[1] == 0
    same_bits(private_state(), before)
    assert learner.weighting.sigmas()[0] != sigma  # the other task went on
    assert not torch.equal(private(learner.model, tasks, "a")["weight"], head["weight"])


@update_is
def test_a_batch_without_labels_trains_the_rest_as_if_the_task_did_not_exist(
    update: type[Update],
) -> None:
    """Breaks if an unlabelled task still says something about the trunk or the other weights."""
    tasks = partly_labelled(a="regression", b="classification")
    split = make_split(tasks)
    gone = Split(split.inputs, split.targets | {"b": torch.full((ROWS,), MISSING_CLASS)})
    both = make_learner(tasks, split, weighting=Uncertainty(tasks), update=update)
    alone = make_learner(
        tasks[:1], split, model=make_mlp(tasks[:1]), weighting=Uncertainty(tasks[:1]), update=update
    )
    for _ in range(5):
        both.step(*only_batch(gone, tasks))
        alone.step(*only_batch(split, tasks[:1]))
    same_bits(dict(both.model.trunk.state_dict()), dict(alone.model.trunk.state_dict()))
    same_bits(private(both.model, tasks, "a"), private(alone.model, tasks[:1], "a"))


# One run


garbage_numbers = st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -3.0, 0.0, 0.5])
garbage_classes = st.sampled_from([MISSING_CLASS, -1, -7, 0, 3, 4, 10**9])


def spoiled(split: Split, masks: dict[str, Tensor], number: float, label: int) -> Split:
    """The split with garbage wherever the mask says that the label is unknown."""
    targets = {
        name: torch.where(masks[name], target, number if target.is_floating_point() else label)
        for name, target in split.targets.items()
    }
    return Split(split.inputs, targets, masks)


def outcome(splits: dict[str, Split]) -> tuple[object, ...]:
    """Everything a run says: parameters, sigmas, weights, losses and the evaluation of every split."""
    prepared = prepare(Data(make_tasks(**ALL), splits))
    tasks, train = prepared.tasks, prepared.splits["train"]
    learner = make_learner(tasks, train, weighting=Uncertainty(tasks), update=PerTask)
    history = train_epochs(learner, train, epochs=3, batch_size=5)
    evaluations = [
        evaluated(learner.model, tasks, split, trivial_losses(tasks, split), ROWS).values
        for split in prepared.splits.values()
    ]
    return (
        flat(learner.model),
        learner.weighting.sigmas(),
        history.weights,
        history.losses,
        evaluations,
    )


@QUICK
@given(number=garbage_numbers, label=garbage_classes)
def test_what_stands_at_a_masked_place_changes_nothing(number: float, label: int) -> None:
    """Breaks if a value that the user declared unknown is trained on, or measured."""
    tasks = make_tasks(**ALL)
    whole = {
        name: make_split(tasks, seed=seed) for seed, name in enumerate(("train", "val", "test"))
    }
    masks = {name: random_gaps(split, seed=9) for name, split in whole.items()}
    found = outcome(
        {name: spoiled(split, masks[name], number, label) for name, split in whole.items()}
    )
    marked = {
        name: spoiled(split, masks[name], math.nan, MISSING_CLASS) for name, split in whole.items()
    }
    same_bits(
        found, outcome({name: Split(split.inputs, split.targets) for name, split in marked.items()})
    )


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_a_mask_overrules_labels_that_look_fine(kind: str) -> None:
    """Breaks if `masks` is ignored wherever the garbage is a legal label."""
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
    """Breaks if a mask of rows fails on targets of several outputs or pixels, or masks columns instead of rows."""
    task = Task("a", "regression")
    known = torch.arange(ROWS) % 2 == 0
    split = Split(torch.zeros(ROWS, INPUTS), {"a": torch.ones(ROWS, *shape)}, {"a": known})
    target = prepare(Data.of([task], train=split)).splits["train"].targets["a"]
    assert target.isnan().flatten(1).all(1).tolist() == (~known).tolist()
    assert target.isnan().flatten(1).any(1).tolist() == (~known).tolist()


@pytest.mark.parametrize("shape", [(), (5, 5), (ROWS,)])
def test_one_mask_entry_per_row_covers_all_its_pixels(shape: tuple[int, ...]) -> None:
    """Breaks if a mask of rows fails on a class per pixel, or masks columns of pixels instead of rows."""
    task = Task("a", "classification", size=2)
    known = torch.arange(ROWS) % 2 == 0
    split = Split(
        torch.zeros(ROWS, INPUTS), {"a": torch.ones(ROWS, *shape, dtype=torch.long)}, {"a": known}
    )
    target = prepare(Data.of([task], train=split)).splits["train"].targets["a"]
    same_bits((target == MISSING_CLASS).reshape(ROWS, -1).all(1), ~known)
    same_bits((target == MISSING_CLASS).reshape(ROWS, -1).any(1), ~known)


def test_a_part_of_a_split_keeps_its_masks() -> None:
    """Breaks if a dataset that cuts its rows into splits trains on labels it had declared unknown."""
    tasks = make_tasks(**ALL)
    split = make_split(tasks)
    split.masks = random_gaps(split)
    same_bits(
        split.rows(slice(2, 7)).masks, {name: mask[2:7] for name, mask in split.masks.items()}
    )
    same_bits(split.to(torch.device("cpu")).masks, split.masks)
    same_bits(
        list(split.batches(5))[1].masks, {name: mask[5:10] for name, mask in split.masks.items()}
    )


# Who is active is known before the epoch


@QUICK
@given(seed=st.integers(0, 100), batch_size=st.integers(1, ROWS + 3), share=st.floats(0.05, 1.0))
def test_a_task_is_active_in_a_batch_if_and_only_if_it_has_a_label_there(
    seed: int, batch_size: int, share: float
) -> None:
    """Breaks if the host's idea of who has labels does not fit the batch on the device."""
    tasks = partly_labelled(**ALL)
    split = make_split(tasks, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    gaps = {
        name: torch.rand(t.shape, generator=generator) < share for name, t in split.targets.items()
    }
    split = Split(split.inputs, {name: unlabel(t, gaps[name]) for name, t in split.targets.items()})
    batches = Batches(split, tasks, Schedule(tasks, Length(2, 1)), batch_size, seed=seed)
    for epoch in range(2):
        found = list(batches.epoch(epoch * batches.count))
        assert len(found) == batches.count == math.ceil(ROWS / batch_size)
        for batch, active in found:
            has_label = [
                bool(
                    (batch.targets[n] != MISSING_CLASS).any()
                    if n == "c"
                    else (~batch.targets[n].isnan()).any()
                )
                for n in ALL
            ]
            assert [value > 0 for value in active.values] == has_label
        seen = torch.cat([batch.inputs for batch, _ in found])
        same_bits(
            seen[seen[:, 0].argsort()], split.inputs[split.inputs[:, 0].argsort()]
        )  # every row once


def test_the_order_of_batches_depends_on_the_seed_alone() -> None:
    """Breaks if two strategies with the same seed see different batches."""
    tasks = make_tasks(**ALL)
    split = make_split(tasks)

    def inputs(seed: int) -> Tensor:
        batches = Batches(split, tasks, Schedule(tasks, Length(3, 5)), 5, seed)
        return torch.cat(
            [batch.inputs for epoch in range(3) for batch, _ in batches.epoch(epoch * 5)]
        )

    first = inputs(0)
    torch.rand(100)  # a model's own use of random numbers
    same_bits(inputs(0), first)
    assert not torch.equal(inputs(1), first)


def test_an_idle_and_an_unlabelled_task_are_the_same_case() -> None:
    """Breaks if a task that the schedule holds back differs from one without labels."""
    tasks = partly_labelled(a="regression", b="classification")
    split = make_split(tasks)
    gone = Split(split.inputs, split.targets | {"b": torch.full((ROWS,), MISSING_CLASS)})
    unlabelled, idle = (make_learner(tasks, split, weighting=Uncertainty(tasks)) for _ in "12")
    for _ in range(5):
        unlabelled.step(*only_batch(gone, tasks))
        idle.step(only_batch(split, tasks)[0], Active((1.0, 0.0)))
    same_bits(unlabelled.model.state_dict(), idle.model.state_dict())
    assert unlabelled.weighting.sigmas() == idle.weighting.sigmas()
