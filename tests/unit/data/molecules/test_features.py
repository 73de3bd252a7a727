"""Descriptors of molecules: their values, and what does not change them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtl_runner.data.molecules.features import (
    BOHR,
    bag_of_bonds,
    coulomb_matrix,
    sorted_coulomb_matrix,
)
from tests.support.qm9_files import SHAPES

NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
FEATURES = [sorted_coulomb_matrix, bag_of_bonds]


def molecules(atoms: int = 6) -> tuple[Any, Any]:
    """Return the molecules written by hand, each bent so that no two atoms are alike."""
    random = np.random.default_rng(0)
    numbers = np.zeros((len(SHAPES), atoms), np.int64)
    positions = np.zeros((len(SHAPES), atoms, 3))
    for row, (elements, places) in enumerate(SHAPES.values()):
        numbers[row, : len(elements)] = [NUMBERS[element] for element in elements]
        positions[row, : len(elements)] = np.array(places) + random.normal(
            0, 0.1, (len(elements), 3)
        )
    return numbers, positions


@pytest.mark.parametrize("features", FEATURES)
def test_turning_and_moving_a_molecule_changes_nothing(features: Any) -> None:
    """Breaks the invariance to rotation and translation."""
    numbers, positions = molecules()
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    moved = positions @ turn + np.array([3.0, -2.0, 1.0])
    assert_allclose(features(numbers, moved), features(numbers, positions), atol=1e-5)


@pytest.mark.parametrize("features", FEATURES)
def test_renumbering_the_atoms_changes_nothing(features: Any) -> None:
    """Breaks the invariance to permutation, also of what fills a molecule up."""
    numbers, positions = molecules()
    order = np.random.default_rng(2).permutation(numbers.shape[1])
    assert_allclose(
        features(numbers[:, order], positions[:, order]), features(numbers, positions), atol=1e-5
    )


@pytest.mark.parametrize("features", FEATURES)
def test_stretching_a_molecule_changes_its_features(features: Any) -> None:
    """Breaks if the features say nothing of the shape."""
    numbers, positions = molecules()
    stretched = features(numbers, 1.1 * positions)
    assert (np.abs(stretched - features(numbers, positions)).max(1) > 0.01).all()


def test_the_coulomb_matrix_is_the_formula() -> None:
    """Breaks the entries, in atomic units, of a molecule of hydrogen fluoride."""
    positions = np.array([[[0, 0, 0], [0, 0, 2 * BOHR], [0, 0, 0]]])
    matrix = coulomb_matrix(np.array([[9, 1, 0]]), positions)
    assert_allclose(matrix[0], [[0.5 * 9**2.4, 4.5, 0], [4.5, 0.5, 0], [0, 0, 0]])


def test_rows_are_sorted_by_their_norm() -> None:
    """Breaks the order: the heaviest atom first, and nothing at the end."""
    numbers, positions = molecules()
    flat = sorted_coulomb_matrix(numbers, positions)
    assert flat.dtype == np.float32
    matrix = np.zeros((len(numbers), 6, 6))
    below = np.tril_indices(6)
    matrix[:, below[0], below[1]] = matrix[:, below[1], below[0]] = flat
    norms = np.linalg.norm(matrix, axis=2)
    assert (np.diff(norms, axis=1) <= 1e-4).all()
    assert ((norms > 0).sum(1) == (numbers > 0).sum(1)).all()


def test_bags_hold_every_entry_of_the_coulomb_matrix_once() -> None:
    """Breaks if a pair of elements is left out, or its bag is too small."""
    numbers, positions = molecules()
    matrix = coulomb_matrix(numbers, positions)
    entries = np.concatenate(
        [np.diagonal(matrix, axis1=1, axis2=2), matrix[:, *np.triu_indices(6, 1)]], axis=1
    )
    bags = bag_of_bonds(numbers, positions)
    for bag, entry in zip(bags, entries, strict=True):
        assert_allclose(np.sort(bag[bag > 0]), np.sort(entry[entry > 0]), rtol=1e-5)
