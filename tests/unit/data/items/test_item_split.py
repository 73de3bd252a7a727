"""A split that is read item by item."""

from __future__ import annotations

import logging
from itertools import islice
from typing import Any

import pytest
import torch

from mtl_runner import Task
from mtl_runner.config.settings import LoaderOptions
from mtl_runner.data.items import item_split
from mtl_runner.data.items.item_split import ItemSplit
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import DataError
from tests.support.item_datasets import AugmentedPictures


def prepared_splits(workers: int) -> dict[str, ItemSplit]:
    """Return the splits of the augmented pictures."""
    prepared = prepare(AugmentedPictures(), loader=LoaderOptions(workers=workers))
    splits: dict[str, Any] = dict(prepared.splits)
    return splits


def test_batches_are_the_same_for_any_number_of_workers() -> None:
    """Breaks if the worker that makes an item decides what it looks like."""
    batches = {}
    for workers in (0, 1, 2):
        train = prepared_splits(workers)["train"]
        batches[workers] = list(islice(train.training_batches(16, seed=3, first=0), 10))
    for workers in (1, 2):
        for alone, helped in zip(batches[0], batches[workers], strict=True):
            assert torch.equal(alone.split.inputs, helped.split.inputs)  # type: ignore[arg-type]
            assert alone.labelled == helped.labelled
            for name, target in alone.split.targets.items():
                assert torch.equal(target.nan_to_num(9), helped.split.targets[name].nan_to_num(9))
    resumed = prepared_splits(2)["train"].training_batches(16, seed=3, first=8)
    pair = next(resumed).split.inputs, batches[0][8].split.inputs
    assert torch.equal(*pair)  # type: ignore[arg-type]


def test_an_item_looks_different_in_every_pass_and_for_every_seed() -> None:
    """Breaks if an augmentation is drawn once for the whole training."""
    train = prepared_splits(0)["train"]

    def first_item(seed: int, number: int) -> list[float]:
        batch = train._reader(seed)[[(number, 0)]]
        return batch.split.inputs.flatten().tolist()  # type: ignore[union-attr]

    looks = [first_item(seed, number) for seed in (0, 1) for number in (0, 1)]
    assert len({tuple(look) for look in looks}) == 4


def test_tasks_are_completed_from_the_items() -> None:
    """Breaks if sizes, missing labels or the trivial predictor of items are not read off."""
    prepared = prepare(AugmentedPictures())
    y, c = prepared.tasks
    assert (y.size, y.missing, c.size, c.missing) == (1, True, 2, True)
    targets = prepared.splits["train"].targets["y"]
    assert y.trivial[0] == pytest.approx(float(targets.nanmean()))


class Maps(torch.utils.data.Dataset[Any]):
    """Items with a target at every pixel."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        target = torch.full((1, 16, 16), float(index))
        return torch.zeros(1, 16, 16), {"depth": target, "label": index % 2}


def test_of_large_targets_only_a_sample_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the maps of a large dataset are all kept in memory."""
    monkeypatch.setattr(item_split, "LABEL_NUMBERS", 5 * 256)
    tasks = [Task("depth"), Task("label", "classification")]
    split = ItemSplit(Maps(21), "train", tasks)
    assert split.targets["depth"].shape == (5, 1, 16, 16)
    assert split.targets["depth"][:, 0, 0, 0].tolist() == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert len(split.targets["label"]) == 21
    assert not split.labels_are_complete("depth")
    assert split.labels_are_complete("label")

    class Data:
        def __init__(self) -> None:
            self.tasks = tasks
            self.splits = {name: Maps(21) for name in ("train", "val", "test")}

    depth = prepare(Data()).tasks[0]
    assert depth.places == (16, 16)
    assert depth.missing  # nobody has looked at the other maps
    assert depth.trivial == (10.0,)


def test_targets_of_the_dataset_are_taken() -> None:
    """Breaks if all items are decoded although their labels are known."""

    class Counted(Maps):
        made = 0

        def __getitem__(self, index: int) -> Any:
            Counted.made += 1
            return torch.zeros(3), {"label": index % 2}

        def targets(self) -> dict[str, Any]:
            return {"label": [index % 2 for index in range(self.n)]}

    split = ItemSplit(Counted(50), "train", [Task("label", "classification")])
    assert split.targets["label"].tolist() == [0, 1] * 25
    assert Counted.made == 0

    class Short(Counted):
        def targets(self) -> dict[str, Any]:
            return {"label": [0, 1]}

    with pytest.raises(DataError) as error:
        _ = ItemSplit(Short(50), "train", [Task("label", "classification")]).targets
    assert (
        str(error.value)
        == "Task 'label' has 2 targets in targets() of the train split, which has 50 items."
    )


def test_a_generator_of_its_own_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if a run that cannot be repeated says nothing."""
    generator = torch.Generator()

    class Own(Maps):
        def __getitem__(self, index: int) -> Any:
            return torch.rand(2, generator=generator), {"y": 1.0}

    split = ItemSplit(Own(3), "train", [Task("y")])
    with caplog.at_level(logging.WARNING, logger="mtl_runner"):
        split.warn_of_own_randomness()
    assert "comes out differently each time, whatever the seed" in caplog.text


def test_rows_without_a_label_in_a_whole_split_are_an_error() -> None:
    """Breaks if a task without any label trains nothing in silence."""
    items = [(torch.zeros(2), {"y": None})] * 4
    with pytest.raises(DataError) as error:
        _ = ItemSplit(items, "val", [Task("y")]).targets
    assert str(error.value) == "Task 'y' has no label in the val split; every split needs some."
