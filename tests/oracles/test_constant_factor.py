"""A constant factor on a loss: under Adam only eps feels it, under SGD it scales the rate."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.data.prepare import Prepared, prepare
from mtl_runner.models import TextRCNN
from mtl_runner.weighting import Fixed
from tests.support.builders import flat_parameters, make_learner, train
from tests.support.reuters_folders import ROWS, texts, tiny_reuters, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of tiny texts, whose labels follow from their words."""
    return write_json(tmp_path / "reuters", train=texts(ROWS))


def trained(prepared: Prepared, factor: float, optimizer: Any, steps: int = 15) -> Tensor:
    """Return the weights after some steps on the topics' loss times a factor."""
    tasks = prepared.tasks[:1]
    torch.manual_seed(0)
    model = TextRCNN(tasks, (24,), words=200, embedding=6, hidden=4, features=8)
    split = prepared.splits["train"].rows(slice(0, 16))
    weighting = Fixed(tasks, weights={"topics": factor})
    learner = make_learner(tasks, split, model=model, weighting=weighting, optimizer=optimizer)
    train(learner, split, steps)
    return flat_parameters(model)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_does_not_see_a_constant_factor_but_for_eps(folder: Path, optimizer: object) -> None:
    """Breaks if "0.08 x loss" has an effect under Adam beyond the one that eps causes."""
    prepared = prepare(tiny_reuters(folder))
    gaps = {}
    for eps in (1e-30, 1e-8, 1e-4):
        adam = partial(optimizer, lr=2e-3, eps=eps)  # type: ignore[operator]
        gaps[eps] = float(
            (trained(prepared, 1.0, adam) - trained(prepared, 0.08, adam)).abs().max()
        )
    assert gaps[1e-30] < 1e-10
    assert gaps[1e-30] < gaps[1e-8] < gaps[1e-4]


@pytest.mark.usefixtures("float64")
def test_sgd_takes_a_constant_factor_for_a_learning_rate(folder: Path) -> None:
    """Breaks if a factor of 0.08 is not undone by a learning rate of lr / 0.08 under SGD."""
    prepared = prepare(tiny_reuters(folder))
    sgd = partial(torch.optim.SGD, momentum=0.9)
    without_factor = trained(prepared, 1.0, partial(sgd, lr=0.5))
    assert float((trained(prepared, 0.08, partial(sgd, lr=0.5)) - without_factor).abs().max()) > 0.1
    assert (
        float((trained(prepared, 0.08, partial(sgd, lr=0.5 / 0.08)) - without_factor).abs().max())
        < 1e-10
    )
