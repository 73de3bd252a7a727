"""A sweep with failures, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.results.report.parsed_page import Page, report
from tests.unit.results.run_builders import write_trained_run

DIVERGED = {"status": "failed", "reason": "the loss of 'y1' is NaN"}


@pytest.fixture(scope="session")
def trained_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three strategies with three seeds at two learning rates.

    One setting diverged; of two more runs, one was killed and the other's metrics.csv is cut off.
    """
    root = tmp_path_factory.mktemp("reports") / "sweep"
    number = 0
    for weighting, factor in (("fixed", 1.0), ("uncertainty", 0.8), ("famo", 1.3)):
        for rate in ("0.001", "0.01"):
            for seed in range(3):
                write_trained_run(
                    root / f"{number}_made_{weighting}",
                    weighting,
                    seed,
                    loss_factor=factor,
                    optimizer__lr=rate,
                    **(DIVERGED if (weighting, rate) == ("famo", "0.01") else {}),
                )
                number += 1
    for name, seed, status in (("18_killed", 7, "killed"), ("19_cut", 8, "cut off")):
        write_trained_run(root / name, "fixed", seed, status=status, optimizer__lr="0.001")
    return root


@pytest.fixture(scope="session")
def page(trained_sweep: Path) -> Page:
    """Return the report of the sweep."""
    return report(trained_sweep)
