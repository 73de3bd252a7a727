"""Several batches per step: independent orders, the first that of other methods, and a state to go on from."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.items.item_split import ItemSplit
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.schedule import RunLength, Schedule, Staged
from mtl_runner.tasks.task import Task
from mtl_runner.train.batch_groups import BatchGroups, make_batches
from mtl_runner.train.batches import Batches, LoadedBatches
from mtl_runner.train.stack.eligibility import reason_in_batches
from tests.oracles.test_devices import config_of

TASKS = [Task("y", size=1), Task("z", size=1)]
ROWS = torch.arange(10.0).unsqueeze(1)
SEEDS = (0, 5, 6)


def make_stream(
    seed: int, items: bool = False, steps: int | None = None, schedule: Schedule | None = None
) -> Batches | LoadedBatches:
    """Return batches of 3 of 10 rows, in memory or made item by item."""
    schedule = schedule or Schedule(TASKS, RunLength(4, steps or 4))
    arguments = TASKS, schedule, 3, seed, steps
    if items:
        pairs = [(row, {"y": float(row), "z": float(row)}) for row in ROWS]
        return LoadedBatches(ItemSplit(pairs, "train", TASKS), *arguments)
    return Batches(Split(ROWS, {"y": ROWS, "z": ROWS}), *arguments)


def make_groups(items: bool = False, steps: int | None = None) -> BatchGroups:
    """Return three batches per step."""
    return BatchGroups([make_stream(seed, items, steps) for seed in SEEDS])


def rows_of(groups: BatchGroups, first: int, done: int = 0) -> list[list[list[float]]]:
    """Return the rows of each batch of each step of an epoch, or of the rest of it."""
    return [
        [rows_in(batch.inputs) for batch in (group.first, *group.extra)]
        for group, _ in groups.epoch(first, done)
    ]


def rows_in(inputs: object) -> list[float]:
    """Return the numbers of the rows of a batch."""
    assert isinstance(inputs, Tensor)
    return [float(number) for number in inputs.flatten()]


@pytest.mark.parametrize("items", [False, True])
def test_each_stream_is_one_that_a_run_with_one_batch_could_have(items: bool) -> None:
    """Breaks if the first batches are not those of other methods, or a row is left out."""
    groups = make_groups(items)
    steps = rows_of(groups, 0) + rows_of(groups, 4)
    orders = []
    for number, seed in enumerate(SEEDS):
        alone = make_stream(seed, items)
        expected = [batch.inputs for first in (0, 4) for batch, _ in alone.epoch(first)]
        batches = [step[number] for step in steps]
        assert batches == [rows_in(inputs) for inputs in expected]
        orders.append([row for batch in batches for row in batch])
        assert sorted(orders[-1]) == sorted(2 * [float(row) for row in ROWS])
    assert len(set(map(tuple, orders))) == 3, "two streams have the same order"


@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("step", [1, 3, 4, 6, 9])
def test_any_step_of_several_batches_can_be_gone_on_from(items: bool, step: int) -> None:
    """Breaks if a run that stopped inside a pass or an epoch sees other batches."""
    uninterrupted, stopped = make_groups(items, 6), make_groups(items, 6)
    expected = rows_of(uninterrupted, 0) + rows_of(uninterrupted, 6)
    taken = 0
    for first in (0, 6):
        for _ in stopped.epoch(first):
            taken += 1
            if taken == step:
                break
        if taken == step:
            break
    resumed = make_groups(items, 6)
    resumed.restore(stopped.state(step))
    first, done = step // 6 * 6, step % 6
    steps = rows_of(resumed, first, done)
    if first == 0:
        steps += rows_of(resumed, 6)
    assert steps == expected[step:]
    resumed.close()


def test_a_task_is_active_where_all_batches_have_a_label_of_it_and_its_time_has_come() -> None:
    """Breaks if a row of the Jacobian is asked of a batch that has no label of the task."""
    tasks = [Task("y", size=1, missing=True), Task("z", size=1)]
    schedule = Staged(tasks, RunLength(4, 5), start={"z": "4 steps"})
    y = ROWS.clone()
    y[::2] = torch.nan
    split = Split(ROWS, {"y": y, "z": ROWS})
    groups = BatchGroups([Batches(split, tasks, schedule, 2, seed) for seed in (1, 2)])
    seen = []
    for epoch in range(4):
        for group, active in groups.epoch(5 * epoch):
            labels = [
                bool((~batch.targets["y"].isnan()).any()) for batch in (group.first, *group.extra)
            ]
            assert bool(active.values[0]) == all(labels)
            assert bool(active.values[1]) == (len(seen) >= 4)
            seen.append(labels)
    assert {tuple(labels) for labels in seen} >= {(True, True), (True, False), (False, True)}


def orders_of(batches: Sequence[Batches | LoadedBatches]) -> list[list[float]]:
    """Return the inputs of the first batch of each stream."""
    return [rows_in(next(iter(stream.epoch(0)))[0].inputs) for stream in batches]


def test_the_update_says_how_many_batches_there_are() -> None:
    """Breaks if a method gets another number of batches, or the same ones twice."""
    assert isinstance(make_batches(build(config_of("weighting=mgda"))), Batches)
    experiment = build(config_of("weighting=sdmgrad"))
    batches = make_batches(experiment)
    assert isinstance(batches, BatchGroups)
    orders = orders_of(batches.streams)
    assert len(orders) == 3
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders_of([make_stream_of("mgda")])[0] == orders[0]
    reason = reason_in_batches(batches, 2, experiment.data.tasks)
    assert reason == "a step of it takes several batches"


def make_stream_of(weighting: str) -> Batches | LoadedBatches:
    """Return the batches of a run with a method that takes one per step."""
    batches = make_batches(build(config_of(f"weighting={weighting}")))
    assert not isinstance(batches, BatchGroups)
    return batches


def test_data_of_one_order_cannot_give_independent_batches() -> None:
    """Breaks if the same batch is taken twice and called independent."""
    config = config_of("weighting=modo", dataset="UnevenItems", iterable=True, steps_per_epoch=3)
    with pytest.raises(ConfigError) as error:
        make_batches(build(config))
    assert str(error.value) == (
        "This method takes 2 independent batches per step, and the train split is an IterableDataset, which has one order only; give it __len__ and __getitem__, or choose a method that takes one batch."
    )
