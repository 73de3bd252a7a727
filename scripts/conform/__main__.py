"""The cards of other packages' classes, as the table of docs/conformance.md.

    python scripts/conform --csv docs/tables

Packages that are not installed are named and left out. The versions of the committed table:
``pip install torchjd==0.18.0 gradnorm-pytorch==0.2.3 conflictfree==0.1.8`` and, each with
``--no-deps``, ``torch-rechub==0.9.0 LibMTL==1.1.5 nextrec==0.6.14 softadaptx==0.0.1 findiff`` and
``ludwig==0.17.10`` (for Python 3.12; one of its files is used).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import shlex
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from mtl_runner.conform.command import main as conform

FOLDER = Path(__file__).parent
COLUMNS = ("package", "command", "laws that hold", "laws that do not")
LIBMTL = {
    "EW": "fixed",
    "UW": "uncertainty",
    "DWA": "dwa --without resume",
    "GLS": "geometric_mean",
    "GradNorm": "gradnorm --without resume",
    "MGDA": "mgda",
    "PCGrad": "pcgrad",
    "CAGrad": "cagrad",
    "GradVac": "gradvac --without resume_rows",
    "IMTL": "imtl_g",
}
LUDWIG = {
    "UncertaintyLossBalancer": "uncertainty",
    "FAMOLossBalancer": "famo",
    "GradNormLossBalancer": "gradnorm",
    "NashMTLLossBalancer": "nash_mtl",
}
TORCHJD = {
    "aggregation": {
        "AlignedMTL": "aligned_mtl",
        "CAGrad": "cagrad --set c=0.5",
        "ConFIG": "config",
        "DualProj": "dualproj",
        "ExcessMTL": "excess_mtl",
        "FairGrad": "fairgrad --set alpha=1.0 --reference alpha=1.0",
        "GradDrop": "graddrop",
        "GradVac": "gradvac",
        "IMTLG": "imtl_g",
        "MGDA": "mgda",
        "Mean": "mean",
        "NashMTL": "nash_mtl",
        "PCGrad": "pcgrad",
        "TrimmedMean": "trimmed_mean --set trim_number=1",
        "UPGrad": "upgrad",
    },
    "scalarization": {
        "DWA": "dwa",
        "FAMO": "famo --reference gamma=0.001",
        "GeometricMean": "geometric_mean",
        "IMTLL": "imtl_l",
        "UW": "uncertainty",
    },
}
GRADNORM = "gradnorm --set restoring_force_alpha=1.5 --set learning_rate=0.025"
OPERATORS = {"ConFIGOperator": "config", "IMTLGOperator": "imtl_g", "PCGradOperator": "pcgrad"}
# Package on the index, class, and what follows --as.
RUNS = [
    *(
        ("torchjd", f"torchjd.{room}.{name}", rest)
        for room, classes in TORCHJD.items()
        for name, rest in classes.items()
    ),
    *(
        (
            "conflictfree",
            f"conflictfree.grad_operator.{name}",
            f"{method} --call calculate_gradient",
        )
        for name, method in OPERATORS.items()
    ),
    ("gradnorm-pytorch", "gradnorm_pytorch.GradNormLossWeighter", GRADNORM),
    *(("LibMTL", f"foreign.LibMTL{name}", rest) for name, rest in LIBMTL.items()),
    *(("ludwig", f"ludwig.modules.loss_balancing.{name}", rest) for name, rest in LUDWIG.items()),
    (
        "nextrec",
        "nextrec.loss.grad_norm.GradNormLossWeighting",
        "gradnorm --call compute_weighted_loss",
    ),
    ("softadaptx", "foreign.SoftAdaptX", "softadapt --without resume"),
    ("torch-rechub", "foreign.RechubUncertainty", "uncertainty"),
    ("torch-rechub", "foreign.RechubGradNorm", "gradnorm --without resume"),
]


def card_of(path: str, rest: str) -> dict[str, Any]:
    """Return the card of a class as plain values.

    Args:
        path: Its import path.
        rest: What follows ``--as``.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file = Path(folder) / "card.json"
        conform([path, "--as", *shlex.split(rest), "--json", str(file)])
        return dict(json.loads(file.read_text(encoding="utf-8")))


def row_of(package: str, path: str, rest: str, card: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of a card.

    Example:
        >>> card = {"entries": [{"law": "total", "holds": False}, {"law": "a", "holds": None}]}
        >>> row_of("torch 2", "a.B", "famo", card)
        ('torch 2', 'mtl-conform a.B --as famo', '0 of 1', 'total')
    """
    answers = [entry["holds"] for entry in card["entries"] if entry["holds"] is not None]
    broken = [entry["law"] for entry in card["entries"] if entry["holds"] is False]
    held = f"{sum(answers)} of {len(answers)}"
    return package, f"mtl-conform {path} --as {rest}", held, ", ".join(broken)


def main(arguments: list[str]) -> None:
    """Make the cards and write the table."""
    parser = argparse.ArgumentParser(description="Cards of other packages' classes.")
    parser.add_argument("--csv", type=Path, metavar="FOLDER", help="where conformance.csv goes")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(FOLDER))
    rows = []
    for package, path, rest in RUNS:
        try:
            release = f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            print(f"{package} is not installed; its classes are left out.", file=sys.stderr)
            continue
        row = row_of(release, path, rest, card_of(path, rest))
        print(*row, sep=" | ", flush=True)
        rows.append(row)
    if options.csv:
        with (options.csv / "conformance.csv").open("w", encoding="utf-8", newline="") as file:
            file.write("# python scripts/conform --csv docs/tables\n")
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main(sys.argv[1:])
