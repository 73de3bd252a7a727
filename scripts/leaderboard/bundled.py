"""Small tables of scikit-learn as CSV files, for ``data=table``."""

from __future__ import annotations

from pathlib import Path

from mtl_runner.files import write_atomic

NAMES = {  # {table: what the target is called}
    "diabetes": "progress",
    "wine": "cultivar",
    "breast_cancer": "benign",
}


def write_tables(folder: Path) -> None:
    """Write the tables that are not there yet.

    Args:
        folder: The folder for ``diabetes.csv``, ``wine.csv`` and ``breast_cancer.csv``.
    """
    missing = [name for name in NAMES if not (folder / f"{name}.csv").exists()]
    if not missing:
        return
    from sklearn import datasets

    folder.mkdir(parents=True, exist_ok=True)
    for name in missing:
        table = getattr(datasets, f"load_{name}")(as_frame=True).frame
        table = table.rename(columns={"target": NAMES[name]})
        table.columns = [column.replace(" ", "_").replace("/", "_") for column in table.columns]
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False).encode())
