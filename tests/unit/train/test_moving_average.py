"""The moving average of the weights: its formula, its state, and what a run does with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mtl_runner.train import checkpoint
from mtl_runner.train.moving_average import MovingAverage
from tests.support.builders import assert_near, assert_same_bits
from tests.unit.train.small_trainers import make_trainer


def test_the_average_follows_its_formula() -> None:
    """Breaks if the initial weights count for long, or the decay is another one."""
    model = nn.Linear(1, 1, bias=False).double()
    average = MovingAverage(model, decay=0.5)
    expected = model.weight.item()
    for step in range(1, 20):
        with torch.no_grad():
            model.weight.fill_(float(step) ** 2)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step**2
        assert average.model.weight.item() == pytest.approx(expected, rel=1e-12)


def test_buffers_are_copied_and_the_average_is_not_trained() -> None:
    """Breaks if BatchNorm of the average keeps its initial statistics."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = MovingAverage(model, decay=0.9)
    model(torch.randn(8, 2))
    average.update()
    assert_same_bits(dict(average.model.named_buffers()), dict(model.named_buffers()))
    assert not any(p.requires_grad for p in average.model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_an_average_goes_on_from_its_state() -> None:
    """Breaks if a resumed run averages as at its start."""
    model = nn.Linear(2, 2)
    first, second = MovingAverage(model, 0.9), MovingAverage(model, 0.9)
    first.update()
    second.load_state_dict(first.state_dict())
    for average in (first, second):
        average.update()
    assert second.steps == 2
    assert_near(dict(second.model.state_dict()), dict(first.model.state_dict()), 0)


def test_a_run_judges_and_keeps_the_average(tmp_path: Path) -> None:
    """Breaks if other weights are evaluated than load takes, or the trained ones are lost."""
    trainer = make_trainer(tmp_path, "trainer.ema=0.5")
    raw = make_trainer(tmp_path / "raw")
    for run in (trainer, raw):
        run.run()
    trained = dict(raw.learner.model.state_dict())
    assert_same_bits(dict(trainer.learner.model.state_dict()), trained)
    assert trainer.average is not None
    assert trainer.evaluate("val").values != raw.evaluate("val").values
    saved = checkpoint.load(tmp_path / "best.pt")
    if trainer.best.latest_epoch == trainer.epoch:
        assert_same_bits(saved["weights"][""], dict(trainer.average.model.state_dict()))
        assert_same_bits(saved["trained_weights"][""], trained)
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    assert_same_bits(state["model"], trained)
    assert_same_bits(state["average"]["model"], dict(trainer.average.model.state_dict()))
    with trainer.best.loaded() as model:
        assert model is trainer.forward_pass.model
        assert_same_bits(dict(model.state_dict()), saved["weights"][""])
