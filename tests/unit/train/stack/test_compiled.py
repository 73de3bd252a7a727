"""A compiled run is a stack of one; a run that cannot be stacked trains nothing, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_runner.errors import DivergedError
from mtl_runner.train.stack import run_compiled
from mtl_runner.train.stack.stacked_step import StackedStep
from tests.unit.train.small_trainers import make_trainer


@pytest.fixture(autouse=True)
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the step as it is: a compilation takes many seconds, and is tested in tests/cli."""
    monkeypatch.setattr(StackedStep, "_compile", lambda self, function: function)
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)


def test_a_run_that_cannot_be_stacked_is_not_trained(tmp_path: Path) -> None:
    """Breaks if trainer.compile=true on such a run trains it twice, or not at all."""
    trainer = make_trainer(tmp_path, gaps=True, batch_size=1)
    assert "some batch of it holds no label of" in run_compiled(trainer)
    assert (trainer.epoch, trainer.step) == (0, 0)


def test_a_compiled_run_is_trained_to_its_end(tmp_path: Path) -> None:
    """Breaks if a compiled run leaves no checkpoint, or one that resumes uncompiled."""
    trainer = make_trainer(tmp_path)
    assert run_compiled(trainer) == ""
    assert trainer.epoch == 4
    resumed = make_trainer(tmp_path)
    assert resumed.resumed
    assert resumed.compiled


def test_a_compiled_run_that_diverges_ends_with_its_error(tmp_path: Path) -> None:
    """Breaks if the error of the only replica is swallowed by the stack."""
    trainer = make_trainer(tmp_path, "optimizer=sgd", "optimizer.lr=1e30")
    with pytest.raises(DivergedError):
        run_compiled(trainer)
