"""``share: false``: a copy of the model per task, each of which answers for its own task."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.models import Unshared
from mtl_runner.tasks.task import Task
from tests.support.builders import INPUTS, assert_same_bits, make_mlp, make_tasks

TASKS = make_tasks(a="regression", b="classification")


def test_each_answer_comes_from_the_copy_of_its_task() -> None:
    """Breaks `share=false`: a task would be answered, and trained, by another task's copy."""
    model, inputs = Unshared(make_mlp(TASKS), TASKS), torch.randn(5, INPUTS)
    assert_same_bits(model(inputs), make_mlp(TASKS)(inputs))
    with torch.no_grad():
        for parameter in model.copies[1].parameters():
            parameter.zero_()
    outputs = model(inputs)
    assert not outputs["b"].any()
    assert_same_bits(outputs["a"], make_mlp(TASKS)(inputs)["a"])


def test_the_model_itself_is_not_a_copy() -> None:
    """Breaks a model that a caller goes on to use: training the copies must not move it."""
    original = make_mlp(TASKS)
    model = Unshared(original, TASKS)
    ids = {id(p) for p in original.parameters()}
    assert not ids & {id(p) for p in model.parameters()}


class NoisyModel(nn.Module):
    """A model that predicts its noise too, as :class:`PredictsNoise` does."""

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return an answer and a log-variance for each task."""
        return {f"{name}{end}": inputs for name in "ab" for end in ("", "/log_variance")}


def test_log_variances_come_with_the_answers() -> None:
    """Breaks `share=false` with a likelihood whose noise the model predicts."""
    outputs = Unshared(NoisyModel(), TASKS)(torch.zeros(1, 1))
    assert list(outputs) == ["a", "a/log_variance", "b", "b/log_variance"]


def test_a_loss_term_is_refused() -> None:
    """Breaks in silence otherwise: a term compares what the tasks share."""
    term = Task("smooth", "term", loss_term=lambda outputs, targets: outputs["a"].sum())
    with pytest.raises(
        ConfigError, match=r"the loss term 'smooth' needs the outputs of all; use share=true\."
    ):
        Unshared(make_mlp(TASKS), [*TASKS, term])
