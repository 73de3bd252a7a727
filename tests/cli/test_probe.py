"""mtl-run +probe=weighting, as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.run_files import run_folders

pytestmark = pytest.mark.long

PROBE = (
    "+probe=weighting",
    "data=toy_mixed",
    "data.n=60",
    "data.n_val=40",
    "data.n_test=40",
    "model=mlp",
    "model.hidden=[8]",
    "trainer.epochs=8",
    "trainer.threads=1",
    "hydra.sweep.dir=probe",
)


def test_a_probe_says_both_probabilities_and_goes_on_where_it_was(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if the command needs -m, leaves no answer, or trains again what is there."""
    first = mtl("mtl-run", *PROBE)
    assert first.code == 0, first.err
    content = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert set(content["probabilities"]) == {"weighting", "joint"}
    for sentence in content["sentences"]:
        assert f"probe: {sentence}" in first.out
    assert len(content["strategies"]) == 3
    runs = run_folders(tmp_path / "probe")
    written = {run.name: (run / "metrics.csv").stat().st_mtime_ns for run in runs}
    # A probe of two seeds judges no strategy.
    assert "Verdict" not in first.out
    assert (tmp_path / "probe" / "report.html").exists()

    taken = mtl("mtl-run", *PROBE)
    assert taken.code == 1
    assert "holds a sweep already; add resume=true to go on with it" in taken.err
    again = mtl("mtl-run", *PROBE, "resume=true")
    assert again.code == 0, again.err
    assert f"probe: {len(runs)} runs, of which {len(runs)} were there already." in again.out
    assert json.loads((tmp_path / "probe" / "probe.json").read_text()) == content
    runs = run_folders(tmp_path / "probe")
    assert {run.name: (run / "metrics.csv").stat().st_mtime_ns for run in runs} == written
