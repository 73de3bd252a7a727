"""The best model is that of the best monitor, or each copy's best where tasks share nothing."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
import torch

from mtl_runner.errors import RunDirectoryError
from mtl_runner.likelihood import Homoscedastic, Standard
from mtl_runner.models import Unshared
from mtl_runner.tasks.task import Task
from mtl_runner.train import checkpoint
from mtl_runner.train.best_model import BestModel, merge_likelihood_states, model_parts
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.monitor import Monitor
from tests.support.builders import assert_near, assert_same_bits, copy_state, make_mlp, make_tasks

TASKS = make_tasks(a="regression", b="classification")


def evaluation(a: float, b: float = 1.0) -> Evaluation:
    """Return an evaluation with the relative losses of two tasks."""
    rows = {"a": a, "b": b}
    return Evaluation({name: {"loss": x, "relative_loss": x} for name, x in rows.items()})


def shift(module: torch.nn.Module, amount: float) -> None:
    """Add a number to all parameters of a module."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(amount)


def test_the_weights_of_the_best_epoch_are_kept_and_lent() -> None:
    """Breaks if another epoch's weights pass for the best, or training goes on from the best."""
    model, likelihood = make_mlp(TASKS), Homoscedastic(TASKS, init=0.0)
    best = BestModel(model, Monitor(None, "relative_loss"), likelihood)
    states = []
    for epoch, loss in enumerate((0.9, 0.4, 0.6), 1):
        shift(model, 1.0)
        shift(likelihood, 1.0)
        states.append((copy_state(model.state_dict()), copy_state(likelihood.state_dict())))
        assert best.update(epoch, evaluation(loss)) == (epoch < 3)
    with best.loaded():
        assert_same_bits((model.state_dict(), likelihood.state_dict()), states[1])
    assert_same_bits((model.state_dict(), likelihood.state_dict()), states[2])
    with contextlib.suppress(MemoryError), best.loaded():
        raise MemoryError  # as an evaluation may
    assert_same_bits((model.state_dict(), likelihood.state_dict()), states[2])
    assert best.latest_epoch == 2
    assert best.value == pytest.approx(0.7)


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_the_first_evaluation_always_counts(loss: float) -> None:
    """Breaks if a run whose monitor is never finite ends without a best model."""
    best = BestModel(make_mlp(TASKS), Monitor(None, "relative_loss"), Standard(TASKS))
    assert best.update(1, evaluation(loss))
    assert not best.update(2, evaluation(loss))
    assert best.latest_epoch == 1


def test_copies_keep_the_best_epoch_of_their_own_task() -> None:
    """Breaks if T runs in one are cut at one epoch for all, or a copy gets another task's noise."""
    model = Unshared(make_mlp(TASKS), TASKS)
    likelihood = Homoscedastic(TASKS, init=0.0)
    best = BestModel(model, Monitor(None, "relative_loss"), likelihood)
    assert list(model_parts(model)) == ["a", "b"]
    for epoch, losses in enumerate([(0.5, 0.9), (0.7, 0.3)], 1):
        shift(likelihood, 1.0)
        shift(model, 1.0)
        best.update(epoch, evaluation(*losses))
    assert best.epochs == {"a": 1, "b": 2}
    assert best.latest_epoch == 2
    assert best.value == pytest.approx(0.4)
    final = copy_state(model.state_dict())
    with best.loaded():
        state = model.state_dict()
        for name, tensor in state.items():
            epochs_since = 1.0 if name.startswith("copies.0") else 0.0
            assert_near(tensor, final[name] - epochs_since, 1e-6)
        assert [s.item() for s in likelihood.log_variance] == [1.0, 2.0]


def test_a_resumed_run_has_the_best_model_of_its_files(tmp_path: Path) -> None:
    """Breaks if a resumed run forgets its best epoch, or takes its last weights for the best."""
    model = make_mlp(TASKS)
    best = BestModel(model, Monitor(None, "relative_loss"), Standard(TASKS))
    best.update(3, evaluation(0.5))
    kept = copy_state(model.state_dict())
    checkpoint.save(tmp_path / "best.pt", best.state())
    shift(model, 1.0)
    resumed = BestModel(model, Monitor(None, "relative_loss"), Standard(TASKS))
    resumed.restore(tmp_path, best.progress())
    assert (resumed.latest_epoch, resumed.value) == (3, best.value)
    with resumed.loaded():
        assert_same_bits(model.state_dict(), kept)


def test_the_best_model_of_another_run_is_not_taken(tmp_path: Path) -> None:
    """Breaks if a best.pt that was copied into a run is reported as this run's result."""
    best = BestModel(make_mlp(TASKS), Monitor(None, "relative_loss"), Standard(TASKS))
    best.update(3, evaluation(0.5))
    best.run = "another"
    checkpoint.save(tmp_path / "best.pt", best.state())
    best.run = "this"
    with pytest.raises(
        RunDirectoryError,
        match=r"best\.pt' is not of the run of the checkpoint\.pt beside it; put the right one back, or run again with mtl-run repeat=",
    ):
        best.restore(tmp_path, best.progress())
    # A run of an older version has no identity.
    best.run = None
    best.restore(tmp_path, best.progress())


def test_states_of_one_model_are_one_state() -> None:
    """Breaks if a likelihood's state at the best epoch is lost where tasks share a model."""
    likelihood = Homoscedastic(TASKS, init=2.0)
    state = likelihood.state_dict()
    assert merge_likelihood_states(likelihood, {"": state}) == state
    assert merge_likelihood_states(likelihood, {}) == state


def test_noise_scales_are_those_of_the_best_epoch() -> None:
    """Breaks if intervals are made of the noise of a model that was not kept."""
    tasks = [Task("a"), Task("b")]
    best = BestModel(torch.nn.Linear(1, 1), Monitor(None, "relative_loss"), Standard(tasks))
    for epoch, (loss, scale) in enumerate([(0.8, 1.0), (0.5, 2.0), (0.6, 3.0)], 1):
        rows = {task.name: {"loss": loss, "relative_loss": loss} for task in tasks}
        best.update(epoch, Evaluation(rows), lambda: {"a": scale})  # noqa: B023
    assert best.state()["noise_scales"] == {"a": 2.0}
