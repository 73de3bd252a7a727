"""The loops of docs/own/loop.md, with the real libraries, in one comparison with runs of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mtl_runner
from mtl_runner.runs.records import read_summary
from mtl_runner.weighting import Uncertainty
from tests.docs.blocks import BLOCKS
from tests.docs.given import names
from tests.support.commands import Command

OURS = ("weighting=fixed,uncertainty", "data=digits", "data.tasks=[digit,parity]")
LIBRARIES = ("pytorch_lightning", "transformers", "accelerate")


def test_the_five_lines_of_the_readme_record_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the loop in README leaves no run, or if it takes more than five lines."""
    monkeypatch.chdir(tmp_path)
    (block,) = (b for b in BLOCKS if b.page == "README.md" and b.language == "diff")
    lines = block.text.splitlines()
    assert sum(line.startswith("+") for line in lines) == 5
    scope = names()
    model, targets = scope["model"], scope["targets"]
    scope |= {"Uncertainty": Uncertainty, "epochs": 2, "batches": [scope["inputs"]] * 3}
    scope |= {"val_inputs": scope["inputs"], "val_targets": targets, "train_targets": targets}
    scope["model"] = Answers(model)
    losses = scope["task_losses"]
    scope["task_losses"] = lambda answers, batch: losses(answers.model, batch)
    scope["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.01)
    exec("\n".join(line[1:] for line in lines), scope)
    summary = read_summary(tmp_path / "runs" / "mine")
    assert (summary["status"], summary["epochs"], summary["steps"]) == ("finished", 2, 6)
    assert summary["tasks"]["label"]["final"]["val"]["accuracy"] >= 0
    assert summary["tasks"]["depth"]["weight"] != 1.0
    assert summary["monitor"]["name"] == "relative_loss"


class Answers(torch.nn.Module):
    """The model of the pages as a module from inputs to the outputs of its tasks."""

    def __init__(self, model: torch.nn.ModuleList) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the outputs."""
        trunk, heads = self.model
        depth, label = (head(trunk(inputs)) for head in heads)
        return {"depth": depth, "label": label}


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_runs_of_four_loops_enter_one_comparison_with_ours(
    mtl: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a loop as the page shows it leaves a run that the verdict does not name."""
    for library in LIBRARIES:
        pytest.importorskip(library, reason="its loop is run as the page shows it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    short = ("model.hidden=[32]", "trainer.epochs=3", "record.plots=none")
    sweep = mtl("mtl-run", "-m", *OURS, *short, "hydra.sweep.dir=runs/ours")
    assert sweep.code == 0, sweep.err
    scope = names() | {"Uncertainty": Uncertainty}
    for block in BLOCKS:
        if block.page == "docs/own/loop.md" and "recorder_of" in block.text:
            exec(compile(block.text, str(block), "exec"), scope)
    comparison = mtl_runner.compare("runs", output="comparison")
    loops = ("plain", "Lightning", "Transformers", "Accelerate")
    foreign = [f"uncertainty in {loop}" for loop in loops]
    assert set(comparison.strategies["strategy"]) == {"fixed", "uncertainty", *foreign}
    assert not comparison.failed
    assert set(comparison.verdicts["strategy"]) == {"uncertainty", *foreign}
    text = comparison.text()
    report = (tmp_path / "comparison" / "report.html").read_text()
    for strategy in foreign:
        assert f"{strategy} is undecided with 1 seed" in text
        assert strategy in report
    for loop in loops:
        tasks = read_summary(tmp_path / "runs" / loop)["tasks"]
        for task in tasks.values():
            assert task["weight"] != 1.0
            assert 0 < task["final"]["test"]["relative_loss"] < 1.1
