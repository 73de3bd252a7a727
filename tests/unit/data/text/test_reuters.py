"""Reuters-21578 as a multi-task problem: its labels, splits and vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mtl_runner.data import Reuters
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError, DataError
from tests.support.builders import assert_same_bits
from tests.support.reuters_folders import HOMES, PRICES, ROWS, texts, tiny_reuters, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of tiny texts, whose labels follow from their words."""
    return write_json(tmp_path / "reuters", train=texts(ROWS))


def test_two_multilabel_tasks_with_their_classes(folder: Path) -> None:
    """Breaks the names that configs, predictions and the README rely on."""
    prepared = prepare(tiny_reuters(folder))
    assert {t.name: (t.kind, t.size, t.classes, t.missing) for t in prepared.tasks} == {
        "topics": ("multilabel", 3, tuple(sorted(PRICES)), False),
        "places": ("multilabel", 3, tuple(sorted(HOMES)), False),
    }
    inputs = prepared.splits["train"].inputs
    assert isinstance(inputs, Tensor)
    assert inputs.dtype == torch.int64
    assert inputs.shape[1:] == (24,)


def test_labels_are_those_of_the_text_in_the_same_row(folder: Path) -> None:
    """Breaks if shuffling moves texts and labels apart: every text says its topics and places."""
    data = tiny_reuters(folder)
    for split in data.splits.values():
        for row, topics, places in zip(
            split.inputs, split.targets["topics"], split.targets["places"], strict=True
        ):
            words = {data.vocabulary.words[i - 2] for i in row.tolist() if i > 1}
            for labels, task, signs in (
                (topics, data.tasks[0], SIGNS),
                (places, data.tasks[1], SIGNS),
            ):
                named = {name for name, label in zip(task.classes, labels, strict=True) if label}
                assert named == {name for name in task.classes if signs[name] in words}


SIGNS = {
    "grain": "wheat",
    "oil": "crude",
    "gold": "bullion",
    "usa": "u.s.",
    "uk": "london",
    "japan": "tokyo",
}


@pytest.mark.parametrize(
    ("val", "test", "sizes"), [(0.1, 0.2, (84, 12, 24)), (0.25, 0.5, (30, 30, 60))]
)
def test_shares_of_a_single_file(
    folder: Path, val: float, test: float, sizes: tuple[int, ...]
) -> None:
    """Breaks `data.val` and `data.test` where the folder holds no test texts."""
    splits = tiny_reuters(folder, val=val, test=test, words=1000).splits
    assert tuple(len(splits[name]) for name in ("train", "val", "test")) == sizes


def test_given_test_texts_are_the_test_split(tmp_path: Path) -> None:
    """Breaks comparisons with papers.

    The ModApte test texts must stay whole, in their order, and out of training.
    """
    given = [{**row, "title": f"HELD {i}"} for i, row in enumerate(texts(9))]
    folder = write_json(tmp_path / "a", train=texts(40), test=given)
    data = tiny_reuters(folder, val=0.25)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [30, 10, 9]
    expected = torch.tensor(
        [[float(name in row["topics"]) for name in data.tasks[0].classes] for row in given]
    )
    assert_same_bits(data.splits["test"].targets["topics"], expected)


def test_splits_are_disjoint_and_complete(folder: Path) -> None:
    """Breaks honest validation, or loses texts: every text has a number of its own in its title."""
    write_json(
        folder,
        train=[
            {**row, "title": f"x{'abcdefghijklmnop'[i % 16]}q{'abcdefgh'[i // 16]}"}
            for i, row in enumerate(texts(ROWS))
        ],
    )
    data = Reuters(str(folder), words=1000, min_texts=2, val=0.1, test=0.2)
    numbers = data.splits["train"].inputs[:, 0].tolist()
    assert len(set(numbers)) == 84
    assert all(number > 1 for number in numbers)
    for name in ("val", "test"):
        assert set(data.splits[name].inputs[:, 0].tolist()) == {
            1
        }  # a title that no training text has


def test_same_seed_same_tensors(folder: Path) -> None:
    """Breaks reproducibility.

    Nothing may depend on the global random state, on hashing or on an earlier reading.
    """
    first = tiny_reuters(folder)
    torch.manual_seed(123)
    again, other_seed = tiny_reuters(folder), tiny_reuters(folder, seed=1)
    for name, split in first.splits.items():
        assert_same_bits(again.splits[name].inputs, split.inputs)
        assert_same_bits(again.splits[name].targets, split.targets)
    assert not torch.equal(
        other_seed.splits["train"].targets["topics"], first.splits["train"].targets["topics"]
    )


def test_vocabulary_and_places_come_from_the_training_split_only(tmp_path: Path) -> None:
    """Breaks honest numbers.

    A word or a place that only held-back texts have must be unknown, however frequent it is there.
    """
    held = [{**row, "body": "secret " * 5, "places": ["atlantis"]} for row in texts(30)]
    data = tiny_reuters(write_json(tmp_path / "a", train=texts(40), test=held), words=1000)
    assert "secret" not in data.vocabulary.words
    assert "atlantis" not in data.tasks[1].classes
    assert data.splits["test"].inputs[0, 2:7].tolist() == [1] * 5
    assert not data.splits["test"].targets["places"].any()


def test_the_vocabulary_has_the_asked_size_and_rare_words_are_unknown(folder: Path) -> None:
    """Breaks `data.words`: numbers beyond the model's embedding."""
    data = tiny_reuters(folder, words=5)
    inputs = torch.cat([split.inputs for split in data.splits.values()])
    assert len(data.vocabulary) == 7
    assert int(inputs.max()) == 6
    assert bool((inputs == 1).any())


def test_a_place_needs_enough_training_texts(folder: Path) -> None:
    """Breaks `data.min_texts`: a place is a label exactly if so many training texts name it."""
    counts = tiny_reuters(folder, min_texts=1).splits["train"].targets["places"].sum(0)
    most = int(counts.max())
    assert len(tiny_reuters(folder, min_texts=most).tasks[1].classes) == int((counts == most).sum())
    with pytest.raises(
        DataError,
        match=rf"No place is named by {most + 1} of the 84 training texts; lower data\.min_texts\.",
    ):
        tiny_reuters(folder, min_texts=most + 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"words": 0}, "data.words must be a whole number of at least 1; found 0."),
        ({"tokens": 2.5}, "data.tokens must be a whole number of at least 1; found 2.5."),
        ({"min_texts": True}, "data.min_texts must be a whole number of at least 1; found True."),
        ({"val": 0}, "data.val must be a share between 0 and 1; found 0."),
        ({"test": 1.5}, "data.test must be a share between 0 and 1; found 1.5."),
        (
            {"val": 0.5, "test": 0.5},
            "data.val=0.5 and data.test=0.5 leave no training text; together they must be less than 1.",
        ),
        (
            {"val": 0.001},
            "The val split of 120 training texts would be empty with data.val=0.001 and data.test=0.2.",
        ),
    ],
)
def test_impossible_options_get_their_sentence(
    folder: Path, options: dict[str, object], sentence: str
) -> None:
    """Breaks if a wrong option ends in an error of torch."""
    with pytest.raises((ConfigError, DataError)) as raised:
        tiny_reuters(folder, **options)
    assert str(raised.value) == sentence
