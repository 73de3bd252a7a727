"""The numbers of solution.png: truth and answers on the grid that the test split is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.build import build
from mtl_runner.runs.solution import solutions_on_grid
from mtl_runner.train.trainer import Trainer
from tests.support.whole_runs import compose_config

SMALL = (
    "data=kovasznay",
    "weighting=fixed",
    "data.n_boundary=16",
    "data.batch_size=16",
    "data.n_interior=8",
    "data.grid_lines=6",
    "model.hidden=[4]",
    "trainer.device=cpu",
)


def test_every_output_lies_on_the_grid(tmp_path: Path) -> None:
    """Breaks if axes are swapped, or an answer is drawn at another place, also of shuffled rows."""
    trainer = Trainer(build(compose_config(*SMALL)), tmp_path)
    data = trainer.experiment.data
    split = data.splits["test"]
    assert isinstance(split, Split)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    trainer.experiment.data = replace(data, splits={**data.splits, "test": split.rows(order)})
    solutions = solutions_on_grid(trainer)
    assert list(solutions) == ["u", "v", "p"]
    shown = solutions["v"]
    np.testing.assert_allclose(shown.first, np.linspace(-0.5, 1, 6), atol=1e-6)
    np.testing.assert_allclose(shown.second, np.linspace(-0.5, 1.5, 6), atol=1e-6)
    point = torch.tensor([[shown.first[1], shown.second[4]]])
    answer = trainer.learner.model(point)["v"].item()
    assert abs(shown.answer[1, 4] - answer) < 1e-6
    row = int((split.inputs - point).abs().sum(1).argmin())  # type: ignore[operator]
    assert abs(shown.truth[1, 4] - split.targets["v"][row].item()) < 1e-7


def test_rows_that_are_no_grid_have_no_solution(tmp_path: Path) -> None:
    """Breaks if a picture is drawn of rows at random places, or of a grid with a hole."""
    trainer = Trainer(build(compose_config(*SMALL)), tmp_path)
    data = trainer.experiment.data
    test = data.splits["test"]
    assert isinstance(test, Split)
    hole, at_random = test.rows(slice(0, 35)), data.splits["train"]
    twice = test.rows(torch.tensor([*range(35), 0]))
    for split in (hole, at_random, twice):
        trainer.experiment.data = replace(data, splits={**data.splits, "test": split})
        assert solutions_on_grid(trainer) == {}
