"""``trainer.parallel=fsdp`` as typed: files, ends, another number of processes, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

import mtl_runner
from tests.support.commands import Command
from tests.support.run_files import file_names, read_summary, reproducible_files

RUN = (
    "mtl-run",
    "data=toy_regression",
    "model=mlp",
    "model._target_=tests.support.trouble.Trouble",
    "model.hidden=[8]",
    "data.n=50",
    "trainer.epochs=4",
    "trainer.precision=float64",
    "trainer.ema=0.9",
    "record.plots=none",
    "record.predictions=true",
    "trainer.devices=2",
    "trainer.parallel=fsdp",
    "trainer.timeout=60",
)


@pytest.mark.long
def test_a_sharded_run_is_killed_and_goes_on(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a resumed run is another one, or its best model cannot be loaded."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    result = mtl(*RUN, "hydra.run.dir=undisturbed")
    assert (result.code, result.err) == (0, "")
    assert "on 2 processes (cpu), a part of the model each" in result.out
    (folder,) = (undisturbed / "shards").iterdir()
    assert file_names(folder) == [".metadata", "__0_0.distcp", "__1_0.distcp"]

    result = mtl(*RUN, "hydra.run.dir=killed", TROUBLE="1 8 SIGKILL")
    sentence = "Process 2 of 2 was killed by SIGKILL, as happens when memory runs out."
    assert (result.code, result.err.strip()) == (1, sentence)
    assert read_summary(killed)["status"] == "failed"
    shutil.copytree(killed, tmp_path / "alone")
    assert mtl("mtl-run", "resume=killed").code == 0
    assert reproducible_files(killed) == reproducible_files(undisturbed)
    # Another number of processes goes on with the same numbers, but for rounding.
    assert mtl("mtl-run", "resume=alone", "trainer.devices=1").code == 0
    tables = [pd.read_csv(path / "metrics.csv") for path in (tmp_path / "alone", undisturbed)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-10, atol=1e-10)

    model = mtl_runner.load(undisturbed, trust=["tests"])
    rows = pd.read_csv(undisturbed / "predictions.csv")
    assert len(rows) == 1200
    weights = torch.load(undisturbed / "best.pt", weights_only=True)["weights"][""]
    assert {type(tensor) for tensor in weights.values()} == {torch.Tensor}
    assert sum(tensor.numel() for tensor in weights.values()) == sum(
        p.numel() for p in model.model.parameters()
    )
    compared = mtl("mtl-compare", "undisturbed", "killed")
    assert compared.code == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["weighting=graddrop"],
            "update.aggregator=graddrop looks at single entries of whole gradients, of which trainer.parallel=fsdp gives each process a part; use",
        ),
        (["weighting=adatask"], "update._target_=mtl_runner.update.AdaTask needs whole gradients"),
    ],
)
def test_what_cannot_be_sharded_is_refused(mtl: Command, options: list[str], sentence: str) -> None:
    """Breaks if something is trained first, or both processes say it."""
    result = mtl(*RUN, *options)
    assert (result.code, result.last_line[: len(sentence)]) == (1, sentence)
    assert result.err.count("trainer.parallel=fsdp") == 1
    assert "epochs of" not in result.out
