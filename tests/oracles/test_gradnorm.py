"""GradNorm in training: equal norms at the last shared layer, and tasks of different scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import nn

from mtl_runner.data.dataset import Split
from mtl_runner.models import MLP
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import Fixed, GradNorm, Weighting
from tests.support.builders import losses_of, make_learner, make_split, make_tasks, train

pytestmark = pytest.mark.usefixtures("float64")


def test_alpha_zero_equalises_the_norms_of_a_network() -> None:
    """Breaks if one task pulls harder than another at the last shared layer.

    The largest norm is 30 times the smallest before, and at most 1.3 times on average after.
    """
    tasks = make_tasks(a="regression", b="regression", c="regression_l1")
    split = make_split(tasks)
    split.targets["a"] *= 10
    learner = make_learner(
        tasks,
        split,
        weighting=GradNorm(tasks, alpha=0.0),
        optimizer=partial(torch.optim.SGD, lr=1e-3),
    )
    raw, ratios = [], []
    for _ in range(500):
        norms = learner.update.parameters.norms(
            list(losses_of(learner.model, tasks, split)), (0, 1, 2)
        )
        weighted_norms = train(learner, split, 1).weights[0] * norms
        raw.append((norms.max() / norms.min()).item())
        ratios.append((weighted_norms.max() / weighted_norms.min()).item())
    assert min(raw[0], raw[-1]) > 20
    assert ratios[0] == pytest.approx(raw[0])
    assert sum(ratios[-200:]) / 200 < 1.3  # 1.08 measured


def chens_problem(sigmas: Sequence[float], seed: int) -> tuple[list[Task], Split, Split]:
    """Return tasks and two splits of sigma_t tanh((B + E_t) x) for unit x (section 4 of the paper).

    There are 20 inputs and 10 outputs instead of 250 and 100.
    """
    inputs, outputs, rows = 20, 10, 600
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randn, generator=generator)
    common = 10**0.5 * draw(outputs, inputs)
    maps = [common + 3.5**0.5 * draw(outputs, inputs) for _ in sigmas]
    splits = []
    for _ in range(2):
        x = nn.functional.normalize(draw(rows, inputs), dim=1)
        targets = {
            f"t{i}": s * torch.tanh(x @ m.T)
            for i, (s, m) in enumerate(zip(sigmas, maps, strict=True))
        }
        splits.append(Split(x, targets))
    return [Task(f"t{i}", "regression", size=outputs) for i in range(len(sigmas))], *splits


@pytest.mark.parametrize("seed", [0, 1])
def test_the_weights_undo_the_scales_of_chens_problem(seed: int) -> None:
    """Breaks if GradNorm leaves the smallest of three targets behind, as equal weights do."""
    tasks, train_split, test_split = chens_problem((1.0, 5.0, 30.0), seed)
    ratios, weights = [], []
    makers: list[Callable[[Sequence[Task]], Weighting]] = [Fixed, partial(GradNorm, alpha=0.12)]
    for make in makers:
        torch.manual_seed(seed)
        model = MLP(tasks, (20,), (32, 32))
        weighting = make(tasks)
        learner = make_learner(
            tasks,
            train_split,
            model=model,
            weighting=weighting,
            optimizer=partial(torch.optim.Adam, lr=3e-3),
        )
        before = losses_of(model, tasks, test_split).detach()
        generator = torch.Generator().manual_seed(0)
        for _ in range(400):
            rows = torch.randint(600, (64,), generator=generator)
            weights = learner.step(train_split.rows(rows), Active.all(3)).weight.tolist()
        ratios.append(losses_of(model, tasks, test_split).detach() / before)
    equal, gradnorm = ratios
    assert gradnorm.sum() < 0.85 * equal.sum()
    assert (gradnorm[:2] < 0.8 * equal[:2]).all()
    assert weights[0] > 4 * weights[1] > 16 * weights[2]
