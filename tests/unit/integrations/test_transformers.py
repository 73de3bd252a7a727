"""The trainer for several losses; a whole run is in tests/docs/test_own_loops.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner import Task
from mtl_runner.errors import ConfigError
from mtl_runner.integrations.transformers import WEIGHTING_FILE, trainer_class
from mtl_runner.weighting import FAMO

TASKS = [Task("a"), Task("b")]


class Net(nn.Module):
    """A model of two tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.heads = nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the outputs."""
        a, b = self.heads(self.trunk(inputs)).split(1, dim=1)
        return {"a": a, "b": b}


def rows() -> list[dict[str, torch.Tensor]]:
    """Return sixteen rows."""
    torch.manual_seed(0)
    return [
        {"inputs": torch.randn(2), "a": torch.ones(1), "b": torch.ones(1) * 5} for _ in range(16)
    ]


def trainer(folder: Path, epochs: int, **options: Any) -> Any:
    """Return a trainer."""
    import transformers

    arguments = transformers.TrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=4,
        save_strategy="epoch",
        logging_steps=2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        label_names=["a", "b"],
    )
    options = {"train_dataset": rows(), **options}
    return trainer_class()(Net(), arguments, tasks=TASKS, weighting=FAMO(TASKS), **options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if somebody without Transformers gets a traceback."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    trainer_class.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'mtl-runner\[hf\]'"):
        trainer_class()


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_losses_and_weights_are_logged_and_the_weighting_goes_on(tmp_path: Path) -> None:
    """Breaks if the log lacks a task, or a resumed training forgets its weighting."""
    pytest.importorskip("transformers", reason="the trainer's base is Transformers'")
    trainer_class.cache_clear()
    first = trainer(tmp_path, 1)
    first.train()
    logged = [entry for entry in first.state.log_history if "loss" in entry]
    assert {"loss_a", "loss_b", "weight_a", "weight_b"} <= set(logged[0])
    assert logged[-1]["loss_b"] > logged[-1]["loss_a"] > 0
    assert (tmp_path / "checkpoint-4" / WEIGHTING_FILE).is_file()
    learned = [parameter.detach().clone() for parameter in first.loop.weighting.parameters()]
    again = trainer(tmp_path, 1)
    again.train(resume_from_checkpoint=True)
    for resumed, original in zip(again.loop.weighting.parameters(), learned, strict=True):
        torch.testing.assert_close(resumed.detach(), original)


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_a_batch_without_a_target_is_named(tmp_path: Path) -> None:
    """Breaks if a missing column is an error from within the model."""
    pytest.importorskip("transformers", reason="the trainer's base is Transformers'")
    trainer_class.cache_clear()
    data = [{"inputs": row["inputs"], "a": row["a"]} for row in rows()]
    with pytest.raises(
        ConfigError, match="The batch has no column 'b' with the target of this task"
    ):
        trainer(tmp_path, 1, train_dataset=data).train()
