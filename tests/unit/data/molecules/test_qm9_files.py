"""The files of QM9: atoms, units, energies of atomisation, and what is wrong with a folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtl_runner.data.molecules.qm9_files import COLUMNS, HARTREE, read_qm9
from mtl_runner.errors import DataError
from tests.support.qm9_files import ATOMISATION, SHAPES, write_qm9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of molecules written by hand."""
    return write_qm9(tmp_path / "data")


def test_molecules_are_read_with_their_atoms(folder: Path) -> None:
    """Breaks if atoms, positions or properties get mixed up between molecules."""
    molecules = read_qm9(folder, None, seed=0)
    assert molecules.numbers.shape == (60, 5)
    assert sorted(molecules.indices) == list(range(1, 61))
    for row, smiles in enumerate(molecules.smiles):
        elements, positions = SHAPES[smiles]
        count = len(elements)
        assert (molecules.numbers[row] > 0).sum() == count
        assert np.abs(molecules.positions[row, :count] - np.array(positions)).max() < 0.3
        assert molecules.properties["mu"][row] == pytest.approx(count, abs=0.6)
        assert molecules.properties["homo"][row] == pytest.approx(count * HARTREE, rel=0.2)


def test_energies_are_those_of_atomisation_in_mev(folder: Path) -> None:
    """Breaks the published targets: methane binds by 17.17 eV at 0 K."""
    molecules = read_qm9(folder, None, seed=0)
    is_methane = np.array(molecules.smiles) == "C"
    assert_allclose(molecules.properties["U0"][is_methane], ATOMISATION, atol=0.5)


def test_a_subset_is_drawn_by_the_seed(folder: Path) -> None:
    """Breaks `data.molecules`, or makes the subset the first rows, which are the smallest."""
    few, again, more = (read_qm9(folder, count, seed=0) for count in (10, 10, 20))
    assert few.indices == again.indices == more.indices[:10]
    assert few.indices != sorted(few.indices)
    assert read_qm9(folder, 10, seed=1).indices != few.indices


def test_exponents_of_fortran_are_numbers(folder: Path) -> None:
    """Breaks on coordinates like 1.2*^-6, which the original files hold."""
    path = folder / "qm9_part1.csv"
    text = path.read_text()
    first = re.search(r"\[\[(-?[\d.]+)", text)
    assert first is not None
    path.write_text(text.replace(f"[[{first[1]}", "[[2.5*^-3", 1))
    assert 0.0025 in read_qm9(folder, None, seed=0).positions[:, 0, 0]


def test_what_is_wrong_with_a_folder_is_said(folder: Path) -> None:
    """Breaks the sentences about files."""
    with pytest.raises(
        DataError,
        match=r"^data\.molecules=61 is more than the 60 molecules that there are; give fewer, or null for all\.$",
    ):
        read_qm9(folder, 61, seed=0)
    path = folder / "qm9_part2.csv"
    path.write_text(path.read_text().replace(COLUMNS["mu"][0], "Dipole"))
    with pytest.raises(DataError, match=r"qm9_part2\.csv cannot be read as one of QM9: "):
        read_qm9(folder, None, seed=0)
    path.unlink()
    with pytest.raises(
        DataError,
        match=r"has no file qm9_part2\.csv; it must be the folder of the CSV files of qm9pack\.$",
    ):
        read_qm9(folder, None, seed=0)
