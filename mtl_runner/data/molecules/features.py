"""Descriptors of molecules that do not change if a molecule is moved, turned or renumbered.

Molecules are padded: ``numbers [M, A]`` holds the atomic numbers, 0 behind a molecule's last atom,
``positions [M, A, 3]`` the places of the atoms in Angstrom.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

BOHR = 0.529177210903  # Angstrom
CHUNK = 2000  # molecules at once, so that their matrices fit into the cache of a small machine

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


def sorted_coulomb_matrix(numbers: Whole, positions: Floats) -> NDArray[np.float32]:
    r"""Return the sorted Coulomb matrix of every molecule (Rupp et al., PRL 2012).

    .. math:: C_{ii} = \tfrac12 Z_i^{2.4}, \qquad C_{ij} = \frac{Z_i Z_j}{\|R_i - R_j\|}

    in atomic units, with rows and columns in the order of the rows' norms, the largest first.

    Args:
        numbers: Atomic numbers, ``[M, A]``.
        positions: Positions in Angstrom, ``[M, A, 3]``.

    Returns:
        The lower triangles with the diagonal, row by row, ``[M, A * (A + 1) / 2]``.

    Example:
        >>> hydrogen = np.array([[1, 1]]), np.array([[[0.0, 0, 0], [0, 0, BOHR]]])
        >>> sorted_coulomb_matrix(*hydrogen).tolist()
        [[0.5, 1.0, 0.5]]
    """
    below = np.tril_indices(numbers.shape[1])

    def of_chunk(numbers: Whole, positions: Floats) -> Floats:
        matrix = coulomb_matrix(numbers, positions)
        order = np.argsort(-np.linalg.norm(matrix, axis=2), axis=1, kind="stable")
        rows = np.take_along_axis(matrix, order[:, :, None], axis=1)
        return np.take_along_axis(rows, order[:, None, :], axis=2)[:, below[0], below[1]]

    return _in_chunks(of_chunk, numbers, positions)


def bag_of_bonds(numbers: Whole, positions: Floats) -> NDArray[np.float32]:
    """Return the bag of bonds of every molecule (Hansen et al., JPCL 2015).

    The entries of the Coulomb matrix are put into bags: one per element (the diagonal) and one per
    pair of elements. A bag is sorted, the largest first, and filled up with zeros to the size of
    the largest such bag among the molecules.

    Args:
        numbers: Atomic numbers, ``[M, A]``.
        positions: Positions in Angstrom, ``[M, A, 3]``.

    Returns:
        The bags one after another, ``[M, sum of their sizes]``.

    Example:
        >>> numbers = np.array([[1, 1, 0], [8, 1, 1]])
        >>> places = [[[0, 0, 0], [0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 1], [0, 2, 0]]]
        >>> bags = bag_of_bonds(numbers, np.array(places) * BOHR)  # H, O, H-H, H-O
        >>> print(bags.round(2))
        [[ 0.5   0.5   0.    1.    0.    0.  ]
         [ 0.5   0.5  73.52  0.45  8.    4.  ]]
    """
    elements = sorted(set(np.unique(numbers)) - {0})
    pairs = list(combinations_with_replacement(elements, 2))
    counts = {element: (numbers == element).sum(1) for element in elements}
    sizes = {
        (a, b): int((counts[a] * (counts[b] - (a == b)) // (1 + (a == b))).max()) for a, b in pairs
    }
    first, second = np.triu_indices(numbers.shape[1], 1)

    def of_chunk(numbers: Whole, positions: Floats) -> Floats:
        matrix = coulomb_matrix(numbers, positions)
        diagonal = np.diagonal(matrix, axis1=1, axis2=2)
        bonds, ends = matrix[:, first, second], (numbers[:, first], numbers[:, second])
        low, high = np.minimum(*ends), np.maximum(*ends)
        bags = [
            _largest(np.where(numbers == element, diagonal, 0.0), int(counts[element].max()))
            for element in elements
        ]
        bags += [
            _largest(np.where((low == a) & (high == b), bonds, 0.0), sizes[a, b]) for a, b in pairs
        ]
        return np.concatenate(bags, axis=1)

    return _in_chunks(of_chunk, numbers, positions)


def coulomb_matrix(numbers: Whole, positions: Floats) -> Floats:
    """Return the Coulomb matrices ``[M, A, A]`` in the order of the atoms, 0 where there is none.

    Example:
        >>> coulomb_matrix(np.array([[1, 0]]), np.zeros((1, 2, 3))).tolist()
        [[[0.5, 0.0], [0.0, 0.0]]]
    """
    charges = numbers.astype(np.float64)
    steps = positions[:, :, None] - positions[:, None]
    distances = np.sqrt((steps**2).sum(3)) / BOHR
    products = charges[:, :, None] * charges[:, None]
    is_pair = (products > 0) & ~np.eye(numbers.shape[1], dtype=bool)
    matrix: Floats = np.divide(products, distances, out=np.zeros_like(products), where=is_pair)
    atoms = np.arange(numbers.shape[1])
    matrix[:, atoms, atoms] = 0.5 * charges**2.4
    return matrix


def _largest(values: Floats, count: int) -> Floats:
    """Return the ``count`` largest values of each row, in falling order."""
    return -np.sort(-values, axis=1)[:, :count]


def _in_chunks(
    features: Callable[[Whole, Floats], Floats], numbers: Whole, positions: Floats
) -> NDArray[np.float32]:
    """Return the features of all molecules, computed for some of them at a time."""
    starts = range(0, len(numbers), CHUNK)
    parts = [features(numbers[i : i + CHUNK], positions[i : i + CHUNK]) for i in starts]
    return np.concatenate([part.astype(np.float32) for part in parts])
