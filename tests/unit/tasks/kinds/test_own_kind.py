"""A kind of a user's own, as in ``tests/unit/tasks/ordinal.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_runner.data.dataset import Split, random_splits
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.runs.predictor import task_from_plain
from mtl_runner.tasks.task import Task
from mtl_runner.train.evaluation import evaluate
from tests.support.builders import Data, make_mlp
from tests.unit.tasks import ordinal
from tests.unit.tasks.ordinal import Ordinal


def test_the_kind_is_short() -> None:
    """Breaks if a kind wants more than one file of under 60 lines."""
    assert len(Path(ordinal.__file__).read_text().splitlines()) < 60


@pytest.mark.usefixtures("float64")
def test_its_evaluation_in_parts_is_that_of_the_whole() -> None:
    """Breaks if the sums of the base class need outputs and targets of one shape."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(90, 3, generator=random)
    grade = (2 * x[:, 0]).round().clamp(-1, 2) + 1
    grade[torch.rand(90, generator=random) < 0.3] = torch.nan
    splits = random_splits(x, {"grade": grade, "y": x[:, 1]}, seed=0)
    data = prepare(Data([Task("grade", Ordinal(levels=4)), Task("y", "regression")], splits))
    split: Split = data.splits["train"]
    forward = ForwardPass(make_mlp(data.tasks), Homoscedastic(data.tasks))
    at_once, in_parts = (
        evaluate(forward, data.tasks, split, [None, None], rows) for rows in (1000, 7)
    )
    for name, row in at_once.values.items():
        assert in_parts.values[name] == pytest.approx(row, rel=1e-12)
        assert in_parts.noise[name] == pytest.approx(at_once.noise[name], rel=1e-12)


class Derived(Ordinal):
    """A kind that keeps more than its options."""

    def __init__(self, levels: int = 3) -> None:
        super().__init__(np.int64(levels))
        self.top = torch.tensor(levels - 1)


def test_a_checkpoint_holds_the_options_of_a_kind_and_nothing_else() -> None:
    """Breaks if a run trains to its end and leaves a model that nobody can load."""
    saved = Task("a", Derived(levels=4)).plain()
    assert saved["kind"] == {
        "_target_": "tests.unit.tasks.kinds.test_own_kind.Derived",
        "levels": 4,
    }
    assert type(saved["kind"]["levels"]) is int
    again = task_from_plain(saved)
    assert isinstance(again.kind, Derived)
    assert again.kind.levels == 4


def test_a_kind_that_cannot_be_made_again_is_an_error_before_the_training() -> None:
    """Breaks if the error comes when the model is loaded."""

    class Local(Ordinal):
        pass

    with pytest.raises(
        ConfigError, match=r"^the kind of task 'a'\._target_='.*Local' cannot be imported"
    ):
        task_from_plain(Task("a", Local(levels=4)).plain())
