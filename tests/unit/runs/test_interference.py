"""How far the tasks interfere: known gradients, known models, and a run that does not notice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.experiment.build import build
from mtl_runner.runs.interference import BATCHES, interference
from mtl_runner.runs.predictor import load
from mtl_runner.runs.runner import run
from mtl_runner.runs.stacked import StackedRuns
from tests.unit.runs.small_runs import tiny_request


def measured(directory: Path, *options: str) -> dict[str, Any]:
    """Return what a run that measures its interference recorded of it."""
    assert run(tiny_request(directory, "record.interference=true", *options)).error == ""
    values: dict[str, Any] = json.loads((directory / "summary.json").read_text()).get(
        "interference", {}
    )
    return values


def test_gradients_at_a_right_angle() -> None:
    """Breaks if a number is of the directions where it should be of the gradients, or the reverse.

    Of (3, 0) and (0, 4) the mean is (1.5, 2), whose cosines are .6 and .8.
    """
    values = interference(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    assert values["cosine"] == values["cosine_orthogonal"] == pytest.approx(0.7)
    assert values["norm_ratio"] == pytest.approx(4 / 3)
    assert values["condition"] == pytest.approx(1.0)


@pytest.mark.parametrize("cosine", [0.8, -0.8])
def test_the_condition_number_of_two_directions_has_a_closed_form(cosine: float) -> None:
    """Breaks if the Gramian is not that of gradients of norm 1: it is (1 + |c|) / (1 - |c|)."""
    gradients = torch.tensor([[2.0, 0.0], [5 * cosine, 5 * math.sqrt(1 - cosine**2)]])
    assert interference(gradients)["condition"] == pytest.approx(9.0, rel=1e-5)


def test_gradients_of_one_direction() -> None:
    """Breaks if a Gramian that cannot be inverted has a condition number out of its rounding."""
    values = interference(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]))
    assert (values["cosine"], values["norm_ratio"]) == (pytest.approx(1.0), 2.0)
    assert values["cosine_orthogonal"] == pytest.approx(1.5 / math.sqrt(5))
    assert values["condition"] == math.inf


def test_a_gradient_of_norm_zero_is_left_out() -> None:
    """Breaks if a task without labels makes every number infinite or NaN."""
    some = torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0]])
    assert interference(some) == interference(some[[0, 2]])
    assert all(math.isnan(value) for value in interference(some[:2]).values())


def test_it_is_of_the_unweighted_losses_on_the_first_rows_of_validation(tmp_path: Path) -> None:
    """Breaks if other rows, other losses or another model are measured than the docs say."""
    options = ("model=mlp", "data.n_val=200", "data.batch_size=10", "+weighting.weights.y1=7")
    options = (*options, "trainer.epochs=3", "trainer.judge=best")
    values = measured(tmp_path, *options)
    assert values["rows"] == 10 * BATCHES == 80
    rows = build(tiny_request(tmp_path, *options).config).data.splits["val"].batches(80)
    first = next(iter(rows))
    model = load(tmp_path).model
    outputs = model(first.inputs)
    shared = [p for p in model.parameters() if all(_reaches(o, p) for o in outputs.values())]
    losses = [torch.nn.functional.mse_loss(outputs[t], first.targets[t]) for t in outputs]
    rows_of_gradients = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
    expected = interference(
        torch.stack([torch.cat([g.flatten() for g in row]) for row in rows_of_gradients])
    )
    # Our loss may be another multiple of the squared error: none of the numbers depends on it.
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=1e-3)


def _reaches(output: Tensor, parameter: Tensor) -> bool:
    (gradient,) = torch.autograd.grad(
        output.sum(), [parameter], retain_graph=True, allow_unused=True
    )
    return gradient is not None


def test_the_run_does_not_notice(tmp_path: Path) -> None:
    """Breaks if the measurement moves a result: a parameter, a random number, a test row."""
    options = ("trainer.epochs=2", "record.predictions=true", "model=mlp", "model.dropout=0.5")
    assert measured(tmp_path / "a", *options)
    assert run(tiny_request(tmp_path / "b", *options)).error == ""
    for name in ("metrics.csv", "predictions.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_tasks_that_share_nothing_do_not_interfere(tmp_path: Path) -> None:
    """Breaks if single-task runs record a number that is about nothing."""
    assert measured(tmp_path, "weighting=single_task") == {}


def test_a_run_of_a_stack_measures_what_it_measures_alone(tmp_path: Path) -> None:
    """Breaks if a replica is measured with another's parameters, or keeps runs out of a stack."""
    options = ("model=mlp", "trainer.epochs=2", "record.interference=true")
    requests = {
        seed: tiny_request(tmp_path / str(seed), *options[: 3 - (seed == 2)], f"seed={seed}")
        for seed in range(3)
    }
    runs = StackedRuns(requests, memory=2e9)
    runs.run()
    assert (sorted(runs.outcomes), runs.not_stacked) == ([0, 1, 2], {})
    stacked, other, none = (
        json.loads((request.directory / "summary.json").read_text()).get("interference")
        for request in requests.values()
    )
    assert none is None
    assert stacked["cosine"] != other["cosine"]
    alone = measured(tmp_path / "alone", *options[:2], "seed=0")
    assert stacked == pytest.approx(alone, rel=1e-3)
