"""What an evaluation says of the noise: the likelihood of a split, and the sigma that was predicted on it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mtl_runner.data.dataset import Split, prepare
from mtl_runner.experiment.build import trivial_losses
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic, Likelihood, Standard
from mtl_runner.tasks.task import Task, log_variance_key
from mtl_runner.train.evaluation import sigma_statistics
from tests.support.builders import (
    KINDS,
    ROWS,
    Data,
    evaluated,
    make_mlp,
    make_split,
    near,
    predicted,
)
from tests.unit.likelihood.references import nll_by_hand, predicting_noise, with_gaps

pytestmark = pytest.mark.usefixtures("float64")

TRIVIAL = [2.0, 0.7, 1.0, 0.6]


def problem(gaps: bool) -> tuple[list[Task], Split]:
    """A task of every kind, the numbers in units of their own."""
    sizes = {"regression": 2, "regression_l1": 1, "classification": 4, "multilabel": 3}
    units = {"regression": {"scale": 3.0, "offset": 1.0}, "regression_l1": {"scale": 0.5}}
    tasks = [Task(kind, kind, size=sizes[kind], **units.get(kind, {})) for kind in KINDS]
    split = make_split(tasks)
    prepared = prepare(Data.of(tasks, train=with_gaps(split) if gaps else split))
    return prepared.tasks, prepared.splits["train"]


def log_variance_of(
    likelihood: Likelihood, task: Task, outputs: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """A task's s, and its output before any temperature."""
    if isinstance(likelihood, Homoscedastic):
        s = likelihood.log_variance[KINDS.index(task.name)].detach()
        return s, outputs[task.name]
    s = outputs[log_variance_key(task.name)]
    return s, outputs[task.name] if task.kind.startswith("regression") else outputs[
        task.name
    ] * s.exp()


def wild(tasks: list[Task]) -> torch.nn.Module:
    """A model whose predicted noise varies, also between batches of the evaluation."""
    model = predicting_noise(tasks, TRIVIAL)
    torch.manual_seed(5)
    for task, head in zip(tasks, model.model.heads, strict=True):
        torch.nn.init.normal_(head.weight[task.size :])
    return model


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", ["homoscedastic", "heteroscedastic"])
def test_nll_is_that_of_torch_distributions_over_the_split(name: str, gaps: bool) -> None:
    """Breaks if a split's nll is not one number of all its rows, or counts a missing label."""
    tasks, split = problem(gaps)
    likelihood = (
        Homoscedastic(tasks, init=0.4)
        if name == "homoscedastic"
        else Heteroscedastic(tasks, beta=0.5)
    )
    model = make_mlp(tasks) if name == "homoscedastic" else wild(tasks)
    outputs = predicted(model, split, ROWS)
    found = evaluated(model, tasks, split, trivial_losses(tasks, split), 7, likelihood)
    for task in tasks:
        s, output = log_variance_of(likelihood, task, outputs)
        expected = nll_by_hand(task, output, split.targets[task.name], s)
        assert found.noise[task.name]["nll"] == pytest.approx(expected.item(), rel=1e-12)
        assert "nll" not in found.values[task.name], (
            "metrics that exist for every likelihood stand apart"
        )


def test_predicted_sigmas_are_averaged_in_the_units_of_the_target() -> None:
    """Breaks if sigma is the mean of log variances, in training units, or of the first batch only."""
    tasks, split = problem(gaps=True)
    likelihood, model = Heteroscedastic(tasks), wild(tasks)
    outputs = predicted(model, split, ROWS)
    found = evaluated(model, tasks, split, [None] * 4, 7, likelihood).noise
    alone = sigma_statistics(ForwardPass(model, likelihood), split, 7)
    for task in tasks:
        s = outputs[log_variance_key(task.name)].numpy()
        unit = {"regression": 3.0, "regression_l1": 0.5}.get(task.name, 1.0)
        sigma = unit * np.exp(s if task.name == "regression_l1" else s / 2)
        assert sigma.std() > 1e-2
        expected = {"sigma": sigma.mean()} | {
            f"sigma_q{q:02}": np.quantile(sigma, q / 100) for q in (5, 50, 95)
        }
        for name, value in expected.items():
            assert found[task.name][name] == pytest.approx(value, rel=1e-12), name
            assert alone[task.name][name] == pytest.approx(value, rel=1e-12), name
        assert set(alone[task.name]) == set(expected)


def test_losses_and_metrics_are_those_of_the_calibrated_answers() -> None:
    """Breaks if the calibration error of a learned temperature is that of the logits without it."""
    tasks, split = problem(gaps=False)
    model = make_mlp(tasks)
    likelihood = Homoscedastic(
        tasks, init={"regression": 0.0, "classification": -3.0, "multilabel": 2.0}
    )
    found = evaluated(model, tasks, split, trivial_losses(tasks, split), 7, likelihood)
    plain = evaluated(model, tasks, split, trivial_losses(tasks, split), 7)
    outputs = predicted(model, split, ROWS)
    sharper = {
        "classification": outputs["classification"] * math.exp(3.0),
        "multilabel": outputs["multilabel"] / math.exp(2.0),
    }
    for task in tasks:
        answers = sharper.get(task.name, outputs[task.name])
        loss = task.loss({task.name: answers}, split.targets).item()
        assert found.values[task.name]["loss"] == pytest.approx(loss, rel=1e-12)
        baseline = trivial_losses([task], split)[0]
        assert found.values[task.name]["relative_loss"] == pytest.approx(loss / baseline, rel=1e-12)
        for name, value in task.measure(answers, split.targets[task.name]).items():
            near(torch.tensor(found.values[task.name][name]), value, 1e-12)
        moved = found.values[task.name]["loss"] != pytest.approx(
            plain.values[task.name]["loss"], abs=1e-6
        )
        assert moved == (task.name in sharper)
    assert found.values["classification"]["ece"] != pytest.approx(
        plain.values["classification"]["ece"], abs=1e-3
    )
    assert found.values["classification"]["accuracy"] == plain.values["classification"]["accuracy"]


def test_without_a_noise_scale_there_is_nothing_to_say_of_it() -> None:
    """Breaks if the standard likelihood, or an evaluation without one, invents an nll."""
    tasks, split = problem(gaps=False)
    model = make_mlp(tasks)
    for likelihood in (None, Standard(tasks)):
        found = evaluated(model, tasks, split, [None] * 4, 100, likelihood)
        assert found.noise == {task.name: {} for task in tasks}


def test_a_loss_term_has_an_nll_column_that_is_its_loss() -> None:
    """Breaks if a task without a likelihood stops the evaluation of the others."""
    tasks, split = problem(gaps=False)
    term = Task(
        "t", "term", loss_term=lambda outputs, targets: outputs["regression"].square().mean()
    )
    likelihood = Homoscedastic([*tasks, term])
    model = make_mlp(tasks)
    found = evaluated(model, [*tasks, term], split, [None] * 5, 100, likelihood)
    expected = predicted(model, split, ROWS)["regression"].square().mean().item()
    assert found.noise["t"] == {"nll": pytest.approx(expected)}
    assert found.values["t"] == {"loss": pytest.approx(expected)}
