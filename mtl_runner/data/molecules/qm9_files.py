"""The files of QM9 as the package qm9pack keeps them: 130 831 molecules in three CSV files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_runner.errors import DataError

FILES = ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")
ATOMIC_NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
HARTREE = 27211.386246  # meV
# Energies of free atoms in Hartree, of the authors of QM9 (Ramakrishnan et al. 2014).
FREE_ATOMS = {
    "U0": {"H": -0.500273, "C": -37.846772, "N": -54.583861, "O": -75.064579, "F": -99.718730},
    "U": {"H": -0.498857, "C": -37.845355, "N": -54.582445, "O": -75.063163, "F": -99.717314},
    "H": {"H": -0.497912, "C": -37.844411, "N": -54.581501, "O": -75.062219, "F": -99.716370},
    "G": {"H": -0.510927, "C": -37.861317, "N": -54.598897, "O": -75.079532, "F": -99.733544},
}
# The property of each task, in the order of the papers, and the unit of its column in ours.
COLUMNS = {
    "mu": ("Dipole_debye", 1.0),
    "alpha": ("Polarizability_bohr3", 1.0),
    "homo": ("HOMO_au", HARTREE),
    "lumo": ("LUMO_au", HARTREE),
    "r2": ("R2_bohr2", 1.0),
    "zpve": ("ZPVE_au", HARTREE),
    "U0": ("InternalEnergy_0K_au", HARTREE),
    "U": ("InternalEnergy_298K_au", HARTREE),
    "H": ("Enthalphy_298K_au", HARTREE),
    "G": ("GibbsFreeEnergy_298K_au", HARTREE),
    "cv": ("Heatcapacity_Cv_cal_mol_K", 1.0),
}


@dataclass(frozen=True)
class Molecules:
    """Molecules with their properties.

    Attributes:
        numbers: Atomic numbers, ``[M, A]``; 0 behind a molecule's last atom.
        positions: Positions in Angstrom, ``[M, A, 3]``.
        properties: The properties by task, ``[M]`` each: Debye, bohr^3, bohr^2, cal/(mol K), and
            meV for all energies, of which U0, U, H and G are those of atomisation.
        indices: The number of each molecule in QM9.
        smiles: Its formula as SMILES.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    properties: dict[str, NDArray[np.float64]]
    indices: list[int]
    smiles: list[str]


def read_qm9(folder: Path, count: int | None, seed: int) -> Molecules:
    """Read molecules, in a random order.

    Args:
        folder: The folder of the CSV files.
        count: How many; None: all.
        seed: Seed of the order, which decides which ones these are.

    Raises:
        DataError: If a file or a column is missing, or there are fewer molecules.
    """
    import pandas as pd

    wanted = ["Index", "SMILES", "Elements", "XYZ_Ang", *(column for column, _ in COLUMNS.values())]
    frames = []
    for name in FILES:
        try:
            frames.append(pd.read_csv(folder / name, usecols=wanted))
        except FileNotFoundError:
            raise DataError(
                f"data.path={folder} has no file {name}; it must be the folder of the CSV files of qm9pack."
            ) from None
        except ValueError as error:
            raise DataError(f"{folder / name} cannot be read as one of QM9: {error}.") from None
    table = pd.concat(frames, ignore_index=True)
    if count is not None and count > len(table):
        raise DataError(
            f"data.molecules={count} is more than the {len(table)} molecules that there are; give fewer, or null for all."
        )
    table = table.iloc[np.random.default_rng(seed).permutation(len(table))[:count]]
    elements = [json.loads(text.replace("'", '"')) for text in table["Elements"]]
    places = [json.loads(text.replace("*^", "e")) for text in table["XYZ_Ang"]]
    largest = max(map(len, elements))
    numbers = np.zeros((len(table), largest), np.int64)
    positions = np.zeros((len(table), largest, 3))
    for row, (atoms, points) in enumerate(zip(elements, places, strict=True)):
        numbers[row, : len(atoms)] = [ATOMIC_NUMBERS[atom] for atom in atoms]
        positions[row, : len(atoms)] = points
    properties = {}
    for task, (column, unit) in COLUMNS.items():
        values = table[column].to_numpy(np.float64)
        for element, energy in FREE_ATOMS.get(task, {}).items():
            values = values - energy * (numbers == ATOMIC_NUMBERS[element]).sum(1)
        properties[task] = unit * values
    return Molecules(
        numbers, positions, properties, table["Index"].tolist(), table["SMILES"].tolist()
    )
