"""QM9 as typed: a message-passing network alone and in a stack, and its predictions by molecule."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import Command
from tests.support.qm9_files import write_qm9


@pytest.mark.long
def test_a_message_passing_network_trains_alone_and_in_a_stack(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks the command of the page, on a handful of molecules."""
    write_qm9(tmp_path / "molecules")
    options = (
        "data=qm9",
        "data.path=molecules",
        "data.features=graph",
        "data.batch_size=16",
        "data.val=8",
        "data.test=8",
        "model=mpnn",
        "model.width=8",
        "trainer.epochs=3",
        "record.plots=none",
        "weighting=fixed",
    )
    result = mtl("mtl-run", *options, "record.predictions=true", "hydra.run.dir=run")
    assert result.code == 0, result.err
    predictions = pd.read_csv(tmp_path / "run/predictions.csv")
    assert {"molecule", "smiles"} <= set(predictions)
    assert predictions["molecule"].between(1, 60).all()
    stack = mtl(
        "mtl-run", "-m", *options, "seed=0,1", "hydra/launcher=stacked", "hydra.sweep.dir=sweep"
    )
    assert stack.code == 0, stack.err
    assert "not stacked" not in stack.out + stack.err
    alone, stacked = (
        pd.read_csv(path / "metrics.csv").query("split == 'val' and task != 'total'").iloc[-11:]
        for path in (tmp_path / "run", next((tmp_path / "sweep").glob("0_*")))
    )
    assert stacked["loss"].to_list() == pytest.approx(alone["loss"].to_list(), rel=1e-3)
