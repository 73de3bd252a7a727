"""predictions.csv: its rows and columns. tests/oracles/test_predictions.py trains runs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mtl_runner.errors import DataError
from mtl_runner.experiment.build import build
from mtl_runner.runs.predictions import write_predictions
from mtl_runner.train.trainer import Trainer
from tests.support.whole_runs import everything_config


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    """A run before its first step, with a task of every kind and gaps in the targets."""
    return Trainer(build(everything_config()), tmp_path)


def test_rows_are_those_of_validation_and_test_in_their_order(
    trainer: Trainer, tmp_path: Path
) -> None:
    """Breaks if training rows are written, or a row cannot be told from another."""
    write_predictions(trainer)
    with (tmp_path / "predictions.csv").open() as file:
        rows = [(row["split"], int(row["row"])) for row in csv.DictReader(file)]
    sizes = {name: len(trainer.experiment.data.splits[name]) for name in ("val", "test")}
    assert rows == [(split, row) for split, size in sizes.items() for row in range(size)]


def test_answers_are_always_there_and_targets_where_they_are_known(
    trainer: Trainer, tmp_path: Path
) -> None:
    """Breaks if a missing target costs its answer, or reads as a number."""
    write_predictions(trainer)
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    answers = [name for name in rows[0] if "." not in name.replace("regression.", "")]
    assert all(row[name] != "" for row in rows for name in answers)
    missing = sum(row["classification.target"] == "" for row in rows)
    assert 0 < missing < len(rows)
    assert not any("sigma" in name for name in rows[0]), "the standard likelihood has no noise"


def test_a_later_table_replaces_an_earlier_one(trainer: Trainer, tmp_path: Path) -> None:
    """Breaks if writing twice leaves two tables in one file."""
    write_predictions(trainer)
    first = (tmp_path / "predictions.csv").read_bytes()
    write_predictions(trainer)
    assert (tmp_path / "predictions.csv").read_bytes() == first
    assert first.count(b"split") == 1


def test_a_dataset_can_name_its_rows(trainer: Trainer, tmp_path: Path) -> None:
    """Breaks if answers of a user's own dataset cannot be joined, or too few names are a traceback."""
    splits = trainer.experiment.data.splits
    trainer.experiment.data.row_ids = lambda split: {"who": [f"{split}{i}" for i in range(60)]}
    write_predictions(trainer)
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:2] == ["split", "who"]
    assert [row["who"] for row in rows][-1] == f"test{len(splits['test']) - 1}"
    trainer.experiment.data.row_ids = lambda split: {"who": [1, 2]}
    with pytest.raises(DataError) as error:
        write_predictions(trainer)
    assert str(error.value) == (
        f"The dataset's row_ids('val') gives 2 values of 'who' for {len(splits['val'])} rows; give one per row."
    )
