"""Batches hold every row once per epoch, in the order of the seed, with the active tasks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.data.dataset import Split, StandIn
from mtl_runner.data.items.item_split import ItemSplit
from mtl_runner.gradients.part import Part
from mtl_runner.schedule import Ramp, RunLength, Schedule, Staged
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task
from mtl_runner.train import batches as batches_module
from mtl_runner.train.batches import ActivityPatterns, Batches, LoadedBatches
from tests.support.builders import QUICK, ROWS, assert_same_bits, make_split, make_tasks

pytestmark = pytest.mark.usefixtures("float64")

KINDS = {"a": "regression", "b": "regression_l1", "c": "classification", "d": "multilabel"}


def without_labels(target: Tensor, places: Tensor) -> Tensor:
    """Return a target without the labels at some places."""
    missing = torch.nan if target.is_floating_point() else MISSING_CLASS
    return torch.where(places, missing, target)


@QUICK
@given(seed=st.integers(0, 100), batch_size=st.integers(1, ROWS + 3), share=st.floats(0.05, 1.0))
def test_a_task_is_active_in_a_batch_if_and_only_if_it_has_a_label_there(
    seed: int, batch_size: int, share: float
) -> None:
    """Breaks if the activity that is known on the host does not fit the batch on the device."""
    tasks = [replace(task, missing=True) for task in make_tasks(**KINDS)]
    split = make_split(tasks, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    targets = {
        name: without_labels(target, torch.rand(target.shape, generator=generator) < share)
        for name, target in split.targets.items()
    }
    split = Split(split.inputs, targets)
    batches = Batches(split, tasks, Schedule(tasks, RunLength(2, 1)), batch_size, seed=seed)
    actives = []
    for epoch in range(2):
        pairs = list(batches.epoch(epoch * batches.count))
        assert len(pairs) == batches.count == math.ceil(ROWS / batch_size)
        actives += [active for _, active in pairs]
        for batch, active in pairs:
            has_label = [
                bool(
                    (batch.targets[name] != MISSING_CLASS).any()
                    if name == "c"
                    else (~batch.targets[name].isnan()).any()
                )
                for name in KINDS
            ]
            assert [value > 0 for value in active.values] == has_label
        inputs = torch.cat([batch.inputs for batch, _ in pairs])
        assert_same_bits(
            inputs[inputs[:, 0].argsort()], split.inputs[split.inputs[:, 0].argsort()]
        )  # every row once
    some_unlabelled = [any(active.values[i] == 0 for active in actives) for i in range(len(KINDS))]
    assert batches.unlabelled_tasks(2) == [i for i, found in enumerate(some_unlabelled) if found]


def inputs_of_epochs(split: Split, seed: int, epochs: int = 3, batch_size: int = 5) -> Tensor:
    """Return the inputs of all batches of some epochs, in their order."""
    tasks = make_tasks(**KINDS)
    batches = Batches(split, tasks, Schedule(tasks, RunLength(epochs, 5)), batch_size, seed)
    return torch.cat(
        [batch.inputs for epoch in range(epochs) for batch, _ in batches.epoch(epoch * 5)]
    )


def test_the_order_of_batches_depends_on_the_seed_alone() -> None:
    """Breaks if two strategies with the same seed see different batches."""
    split = make_split(make_tasks(**KINDS))
    first = inputs_of_epochs(split, seed=0)
    torch.rand(100)  # a model's own use of random numbers
    assert_same_bits(inputs_of_epochs(split, seed=0), first)
    assert not torch.equal(inputs_of_epochs(split, seed=1), first)


def test_small_blocks_give_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a training split that needs several blocks is cut differently, or loses rows."""
    split = make_split(make_tasks(**KINDS))
    in_one_block = inputs_of_epochs(split, seed=0)
    monkeypatch.setattr(batches_module, "BLOCK_BYTES", 1)
    assert_same_bits(inputs_of_epochs(split, seed=0), in_one_block)


def test_steps_of_one_pattern_share_an_object() -> None:
    """Breaks if what a pattern of activity caches is computed again at every step."""
    tasks = make_tasks(a="regression", b="regression")
    staged = Staged(tasks, RunLength(epochs=2, steps_per_epoch=3), start={"b": 1})
    batches = Batches(make_split(tasks), tasks, staged, batch_size=8, seed=0)
    assert batches.active(0) is batches.active(2)
    assert batches.active(0).tasks == (0,)
    assert batches.active(3).tasks == (0, 1)
    assert batches.active(3, (False, True)).tasks == (1,)


def test_patterns_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a ramp, which has another pattern at every step, fills the memory."""
    monkeypatch.setattr(batches_module, "MAX_PATTERNS", 3)
    tasks = make_tasks(a="regression")
    patterns = ActivityPatterns(Ramp(tasks, RunLength(10, 1), {"a": [[0, 1], ["100%", 0.5]]}))
    for step in range(10):
        patterns.active(step)
    assert len(patterns._patterns) <= 3


# Epochs of steps


def make_batches_of(steps_per_epoch: int | None, items: bool) -> Batches | LoadedBatches:
    """Return batches of 3 of 10 rows, in memory or made item by item."""
    tasks = [Task("y", size=1)]
    rows = torch.arange(10.0).unsqueeze(1)
    schedule = Schedule(tasks, RunLength(4, steps_per_epoch or 4))
    arguments = tasks, schedule, 3, 0, steps_per_epoch
    if items:
        split = ItemSplit([(row, {"y": float(row)}) for row in rows], "train", tasks)
        return LoadedBatches(split, *arguments)
    return Batches(Split(rows, {"y": rows}), *arguments)


def rows_of(batches: Batches | LoadedBatches, first: int, done: int = 0) -> list[list[float]]:
    """Return the rows of each batch of an epoch, or of the rest of it."""
    epoch = batches.epoch(first, done)
    return [batch.inputs.flatten().tolist() for batch, _ in epoch]  # type: ignore[union-attr]


@pytest.mark.parametrize("items", [False, True])
def test_epochs_of_steps_cut_the_same_passes(items: bool) -> None:
    """Breaks if the length of an epoch decides which batches there are."""
    passes, steps = make_batches_of(None, items), make_batches_of(6, items)
    assert (passes.count, steps.count) == (4, 6)
    expected = [batch for first in (0, 4, 8) for batch in rows_of(passes, first)]
    cut = [batch for first in (0, 6) for batch in rows_of(steps, first)]
    assert cut == expected
    assert [len(batch) for batch in cut] == 3 * [3, 3, 3, 1]


@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("step", range(12))
def test_any_step_can_be_gone_on_from(items: bool, step: int) -> None:
    """Breaks if a run that stopped inside a pass or an epoch sees other batches."""
    whole_run = make_batches_of(6, items)
    expected = rows_of(whole_run, 0) + rows_of(whole_run, 6)
    stopped = make_batches_of(6, items)
    taken = 0
    for first in (0, 6):
        for _ in stopped.epoch(first):
            taken += 1
            if taken == step:
                break
        if taken == step:
            break
    resumed = make_batches_of(6, items)
    if step:
        resumed.restore(stopped.state(step))
    first, done = step // 6 * 6, step % 6
    rest_of_run = rows_of(resumed, first, done) + (rows_of(resumed, 6) if first == 0 else [])
    assert rest_of_run == expected[step:]


# Parts of batches


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_the_parts_of_a_batch_are_its_rows(
    monkeypatch: pytest.MonkeyPatch, count: int, blocks: bool
) -> None:
    """Breaks if a process trains on other rows than its own of the common order."""
    if blocks:
        monkeypatch.setattr(batches_module, "BLOCK_BYTES", 1)
    tasks = [Task("y", size=1)]
    rows = torch.arange(10.0).unsqueeze(1)
    schedule = Schedule(tasks, RunLength(4, 4))

    def batches(part: Part) -> list[Split]:
        made = Batches(Split(rows, {"y": rows}), tasks, schedule, 3, 0, part=part)
        return [batch for _ in range(2) for batch, _ in made.epoch(0)]

    whole_batches = batches(Part())
    parts = [batches(Part(number, count)) for number in range(count)]
    assert len(whole_batches) == 8
    for number, batch in enumerate(whole_batches):
        shared = [part[number] for part in parts]
        counted = [part for part in shared if not isinstance(part, StandIn)]
        for part in shared:
            assert len(part) > 0
            assert_same_bits(part.inputs, part.targets["y"])
        assert_same_bits(torch.cat([part.inputs for part in counted]), batch.inputs)
    # The last batch of a pass has one row.
    assert sum(isinstance(part[3], StandIn) for part in parts) == count - 1
