"""Frozen parts: what they take from the optimizers, and give back."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mtl_runner.models.frozen_parts import FrozenParts, frozen_for_a_time


def layers() -> nn.Sequential:
    """Return two layers with normalization, of which one bias is never trained."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    return model


def trained(model: nn.Module) -> list[str]:
    """Return the names of the parameters that need a gradient."""
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_parts_without_a_time_are_frozen_at_once_and_stay_so() -> None:
    """Breaks if a frozen part is trained when somebody asks for a step."""
    model = layers()
    parts = FrozenParts([model])
    for step in (0, 1000):
        parts.at_step(step)
        assert parts.are_frozen
        assert trained(model) == []
        assert not model.training


def test_what_was_frozen_before_stays_frozen_behind_the_time() -> None:
    """Breaks if a parameter is trained that its owner does not train."""
    model = layers()
    before = trained(model)
    parts = FrozenParts([model, model[0]], until=3)
    assert trained(model) == before
    parts.until_step = 3
    for step in (0, 2, 3, 4):
        parts.at_step(step)
        assert trained(model) == ([] if step < 3 else before)
        assert model[1].training == (step >= 3)


def test_a_step_behind_the_time_needs_no_step_before_it() -> None:
    """Breaks if a run that goes on behind the time is frozen, or was never frozen right."""
    model = layers()
    parts = FrozenParts([model], until=0)
    parts.until_step = 0
    parts.at_step(7)
    assert len(trained(model)) == 3
    parts.until_step = 10
    parts.at_step(7)
    parts.at_step(10)
    assert len(trained(model)) == 3


def test_frozen_parts_stay_in_evaluation_mode() -> None:
    """Breaks if statistics of a frozen part follow the batches after an evaluation."""
    model = layers()
    parts = FrozenParts([model[1]])
    model.train()
    parts.keep_in_evaluation()
    mean = model[1].running_mean
    assert isinstance(mean, torch.Tensor)
    before = mean.clone()
    model(torch.rand(4, 2))
    assert torch.equal(mean, before)


def test_a_copy_of_a_model_has_parts_of_its_own() -> None:
    """Breaks if weighting=single_task freezes the first copy only, or the original."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.frozen = FrozenParts([self.layer], until="1 steps")

    model = Model()
    twins = nn.ModuleList(copy.deepcopy(model) for _ in range(2))
    parts = frozen_for_a_time(twins)
    assert len(parts) == 2
    for part in parts:
        part.until_step = 1
        part.at_step(0)
    assert trained(twins) == []
    assert len(trained(model)) == 2
    assert frozen_for_a_time(nn.Linear(1, 1)) == []
