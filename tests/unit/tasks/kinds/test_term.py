"""Loss terms as tasks without a target."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.tasks.kinds import Term
from mtl_runner.tasks.task import Task


def test_a_term_is_its_function_and_nothing_else() -> None:
    """Breaks if a loss term is asked for a target, a noise scale, or a trivial predictor."""
    task = Task("t", "term", loss_term=lambda outputs, targets: outputs["a"].sum())
    assert task.loss({"a": torch.ones(2)}, {}).item() == 2.0
    assert (task.has_target, task.has_likelihood, task.has_noise_scale) == (False, False, False)
    assert task.all_metrics == ()
    with pytest.raises(TypeError, match="The loss term 't' has no trivial predictor"):
        Term().trivial(torch.zeros(1), task)
    with pytest.raises(TypeError, match="The loss term 't' has no entries"):
        Term().entry_errors(torch.zeros(1), torch.zeros(1), task)
