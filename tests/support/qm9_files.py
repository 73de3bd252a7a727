"""Files in the format of the package qm9pack, with a handful of molecules written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mtl_runner.data.molecules.qm9_files import COLUMNS, FILES

# Elements and positions in Angstrom.
SHAPES = {
    "C": ("CHHHH", [[0, 0, 0], [0, 0, 1.09], [1.03, 0, -0.36], [-0.51, 0.89, -0.36], [-0.51, -0.89, -0.36]]),
    "N": ("NHHH", [[0, 0, 0.1], [0, 0.94, -0.27], [0.81, -0.47, -0.27], [-0.81, -0.47, -0.27]]),
    "O": ("OHH", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]]),
    "C#N": ("CNH", [[0, 0, -0.5], [0, 0, 0.65], [0, 0, -1.57]]),
    "F": ("FH", [[0, 0, 0], [0, 0, 0.92]]),
}  # fmt: skip
# Energy of methane at 0 K, of QM9, and its energy of atomisation in meV.
METHANE, ATOMISATION = -40.47893, -17171.96


def write_qm9(folder: Path, count: int = 60) -> Path:
    """Write so many molecules, a little bent each, and return the folder.

    Properties are functions of the molecule with a little noise, so that they can be learned;
    that of ``U0`` of every methane is the true one.

    Args:
        folder: Where the three files are written.
        count: Number of molecules.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = []
    for index in range(count):
        smiles = list(SHAPES)[index % len(SHAPES)]
        elements, positions = SHAPES[smiles]
        bent = np.array(positions) + random.normal(0, 0.05, (len(elements), 3))
        values = len(elements) + random.normal(size=len(COLUMNS)) / 10
        row: dict[str, object] = {
            "Index": index + 1,
            "SMILES": smiles,
            "Elements": str(list(elements)).replace(" ", ""),
            "XYZ_Ang": json.dumps(bent.round(6).tolist()),
        }
        row |= dict(zip((column for column, _ in COLUMNS.values()), values, strict=True))
        if smiles == "C":
            row["InternalEnergy_0K_au"] = METHANE
        rows.append(row)
    for part, name in enumerate(FILES):
        pd.DataFrame(rows[part :: len(FILES)]).to_csv(folder / name, index=False)
    return folder
