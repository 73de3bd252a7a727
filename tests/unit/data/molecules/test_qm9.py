"""QM9 as a dataset: tasks in published units and order, splits, and all kinds of inputs."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.data import QM9, Split
from mtl_runner.data.molecules.qm9 import split_rows
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError
from tests.support.builders import assert_near
from tests.support.qm9_files import ATOMISATION, write_qm9

TASKS = ["mu", "alpha", "homo", "lumo", "r2", "zpve", "U0", "U", "H", "G", "cv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder of molecules written by hand."""
    return str(write_qm9(tmp_path_factory.mktemp("qm9")))


def test_tasks_have_the_published_order_and_their_own_units(folder: str) -> None:
    """Breaks comparisons with published tables: names, units, the mean absolute error first."""
    data = QM9(folder, val=5, test=5)
    prepared = prepare(data)
    assert [task.name for task in prepared.tasks] == TASKS
    assert {task.main_metric for task in prepared.tasks} == {"mae"}
    train = prepared.splits["train"]
    assert isinstance(train, Split)
    for task in prepared.tasks:
        target = train.targets[task.name].double()
        assert target.mean().item() == pytest.approx(0, abs=1e-5)
        assert target.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    energy = data.tasks[TASKS.index("U0")]
    for split, rows in data.splits.items():
        is_methane = torch.tensor([s == "C" for s in data.row_ids(split)["smiles"]])
        values = energy.in_units(rows.targets["U0"])[is_methane]
        assert_near(values, torch.full_like(values, ATOMISATION), 1.0)


@pytest.mark.parametrize("features", ["coulomb_matrix", "bag_of_bonds"])
def test_vectors_are_standardised_on_the_training_split(folder: str, features: str) -> None:
    """Breaks inputs that differ by a factor of a thousand, or looks at other splits."""
    inputs = QM9(folder, features, val=5, test=5).splits["train"].inputs
    assert isinstance(inputs, Tensor)
    spread = inputs.std(0, correction=0)
    assert ((spread - 1).abs() < 1e-3).logical_or(spread == 0).all()
    assert (spread > 0).any()
    assert inputs.mean(0).abs().max() < 1e-4


def test_a_graph_is_numbers_and_positions(folder: str) -> None:
    """Breaks the inputs of `model=mpnn`."""
    split = QM9(folder, "graph", molecules=20, val=5, test=5).splits["train"]
    assert isinstance(split.inputs, dict)
    assert {name: tuple(tensor.shape) for name, tensor in split.inputs.items()} == {
        "numbers": (10, 5),
        "positions": (10, 5, 3),
    }
    assert split.inputs["numbers"].dtype == torch.int64


def test_splits_share_no_molecule(folder: str) -> None:
    """Breaks honesty: every molecule lies in one split."""
    data = QM9(folder, val=7, test=9)
    indices = [data.row_ids(name)["molecule"] for name in ("train", "val", "test")]
    assert [len(part) for part in indices] == [44, 7, 9]
    assert len({number for part in indices for number in part}) == 60


def test_a_subset_has_the_published_share() -> None:
    """Breaks the split sizes of the papers, 110 831 + 10 000 + 10 000."""
    assert split_rows(130_831)["train"] == slice(20_000, 130_831)
    assert split_rows(3) == {"test": slice(0, 1), "val": slice(1, 2), "train": slice(2, 3)}
    with pytest.raises(
        ConfigError,
        match=r"^data\.val=5 and data\.test=5 leave none of 10 molecules for training; give smaller numbers\.$",
    ):
        split_rows(10, 5, 5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"features": "smiles"},
            "data.features='smiles' is unknown; allowed: coulomb_matrix, bag_of_bonds, graph.",
        ),
        ({"molecules": 2}, "data.molecules must be null or a whole number of at least 3; found 2."),
        ({"val": 0}, "data.val must be null or a whole number of at least 1; found 0."),
        ({"seed": -1}, "data.seed must be a whole number of at least 0; found -1."),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    """Breaks the sentence about an option."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        QM9(**options)


@pytest.mark.skipif(find_spec("qm9pack") is not None, reason="qm9pack is installed")
def test_without_the_package_its_extra_is_named() -> None:
    """Breaks if a user does not learn what to install."""
    with pytest.raises(
        ConfigError,
        match=r"^data=qm9 needs qm9pack, which is not installed; install it with: pip install 'mtl-runner\[qm9\]'\.$",
    ):
        QM9()


@pytest.mark.extras
@pytest.mark.skipif(find_spec("qm9pack") is None, reason="the extra qm9 is not installed")
def test_the_package_holds_the_published_molecules() -> None:
    """Breaks if another version of qm9pack has other columns or molecules."""
    data = QM9(molecules=500, val=50, test=50)
    assert len(data.splits["train"]) == 400
    largest = max(max(data.row_ids(name)["molecule"]) for name in data.splits)
    assert 120_000 < largest <= 133_885
    energy = data.tasks[TASKS.index("U0")]
    # Molecules of QM9 bind by 76 eV, with a standard deviation of 10 eV.
    assert energy.offset == pytest.approx(-76_000, abs=2_000)
    assert energy.scale == pytest.approx(10_300, abs=2_000)
