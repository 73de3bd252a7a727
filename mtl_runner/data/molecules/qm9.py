"""QM9: eleven quantum-chemical properties of small molecules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl_runner.config.extras import folder_of_extra
from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import Inputs
from mtl_runner.data.molecules.features import bag_of_bonds, sorted_coulomb_matrix
from mtl_runner.data.molecules.qm9_files import Molecules, read_qm9
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, whole_number
from mtl_runner.tasks.task import Task

PUBLISHED = 130_831  # molecules
HELD_OUT = 10_000  # of them for validation, and as many for the test
FEATURES = {"coulomb_matrix": sorted_coulomb_matrix, "bag_of_bonds": bag_of_bonds}


class QM9:
    """Eleven properties of small organic molecules (Ramakrishnan et al., Sci. Data 2014).

    The tasks are those of the multi-task papers (Navon et al., ICML 2022; Liu et al., NeurIPS
    2023): dipole moment ``mu`` (Debye), polarisability ``alpha`` (bohr^3), ``homo`` and ``lumo``
    (meV), extent ``r2`` (bohr^2), zero-point energy ``zpve`` (meV), energies of atomisation ``U0``,
    ``U``, ``H`` and ``G`` (meV) and heat capacity ``cv`` (cal/(mol K)). Targets are trained with
    mean 0 and standard deviation 1; the mean absolute error, in these units, is the main metric.

    The published split has 10 000 molecules for validation and 10 000 for the test, at random; of a
    subset it is the same share.

    Args:
        path: The folder of the three CSV files of qm9pack; None: that of the installed package.
        features: ``"coulomb_matrix"`` (sorted) or ``"bag_of_bonds"``: a vector per molecule, with
            mean 0 and standard deviation 1 on the training split; ``"graph"``: atomic numbers and
            positions, for ``model=mpnn``.
        molecules: How many molecules, drawn at random; None: all 130 831.
        val: How many of them for validation; None: the published share.
        test: How many of them for the test; None: the published share.
        seed: Seed of the subset and the split.

    Shape:
        Inputs ``[N, features]``, or ``{"numbers": [N, A], "positions": [N, A, 3]}``; targets
        ``[N]``.

    Raises:
        ConfigError: If qm9pack is not installed, or an option is impossible.
        DataError: If a file is not as it must be.
    """

    def __init__(
        self,
        path: str | None = None,
        features: str = "coulomb_matrix",
        molecules: int | None = None,
        val: int | None = None,
        test: int | None = None,
        seed: int = 0,
    ) -> None:
        choice(features, "data.features", (*FEATURES, "graph"))
        if molecules is not None:
            whole_number(molecules, "data.molecules", 3, word="null")
        whole_number(seed, "data.seed", 0)
        for name, size in (("val", val), ("test", test)):
            if size is not None:
                whole_number(size, f"data.{name}", 1, word="null")
        folder = (
            folder_of_extra("qm9pack", "qm9", "data=qm9") / "data" if path is None else Path(path)
        )
        self._read = read_qm9(folder, molecules, seed)
        self._rows = split_rows(len(self._read.indices), val, test)
        train = self._rows["train"]
        inputs = make_inputs(self._read, features, train)
        self.tasks = []
        targets: dict[str, Tensor] = {}
        for name, values in self._read.properties.items():
            mean, scale = float(values[train].mean()), float(values[train].std()) or 1.0
            self.tasks.append(
                Task(name, "regression", 1, mean, scale, metrics=("mae", "rmse", "r2"))
            )
            targets[name] = _float_tensor((values - mean) / scale)
        all_rows = Split(inputs, targets)
        self.splits = {name: all_rows.rows(rows) for name, rows in self._rows.items()}

    def row_ids(self, split: str) -> dict[str, Sequence[Any]]:
        """Return what identifies the molecules of a split: their numbers in QM9, and SMILES."""
        rows = self._rows[split]
        return {"molecule": self._read.indices[rows], "smiles": self._read.smiles[rows]}


def split_rows(count: int, val: int | None = None, test: int | None = None) -> dict[str, slice]:
    """Return where the splits lie among shuffled molecules.

    Args:
        count: The number of molecules.
        val: Molecules for validation; None: the published share, at least one.
        test: Molecules for the test; None: the published share, at least one.

    Raises:
        ConfigError: If none is left for the training.

    Example:
        >>> {name: rows.stop - rows.start for name, rows in split_rows(130_831).items()}
        {'test': 10000, 'val': 10000, 'train': 110831}
        >>> {name: rows.stop - rows.start for name, rows in split_rows(10_000).items()}
        {'test': 764, 'val': 764, 'train': 8472}
    """
    share = max(1, round(count * HELD_OUT / PUBLISHED))
    n_val, n_test = share if val is None else val, share if test is None else test
    if n_val + n_test >= count:
        raise ConfigError(
            f"data.val={n_val} and data.test={n_test} leave none of {count} molecules for training; give smaller numbers."
        )
    return {
        "test": slice(0, n_test),
        "val": slice(n_test, n_test + n_val),
        "train": slice(n_test + n_val, count),
    }


def make_inputs(molecules: Molecules, features: str, train: slice) -> Inputs:
    """Return the inputs of all molecules.

    Args:
        molecules: The molecules.
        features: ``data.features``.
        train: The rows by which vectors are standardised.
    """
    if features == "graph":
        return {
            "numbers": torch.as_tensor(molecules.numbers),
            "positions": _float_tensor(molecules.positions),
        }
    vectors = FEATURES[features](molecules.numbers, molecules.positions)
    mean, scale = vectors[train].mean(0), vectors[train].std(0)
    return _float_tensor((vectors - mean) / np.where(scale > 1e-6, scale, 1.0))


def _float_tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(array, dtype=torch.get_default_dtype())
