"""Sets of labels: valid targets and the trivial predictor."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.errors import DataError
from mtl_runner.tasks.kinds import Multilabel
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")


def test_a_label_is_zero_one_or_missing() -> None:
    """Breaks if a count is trained on as a label."""
    kind = Multilabel()
    target = kind.clean(torch.tensor([[0, 1], [1, 1]]), torch.tensor([True, False]), "")
    assert target[0].tolist() == [0.0, 1.0]
    assert target[1].isnan().all()
    with pytest.raises(
        DataError, match=r"^is multilabel and has values other than 0 and 1 in the val"
    ):
        kind.clean(torch.tensor([[0.0, 2.0]]), None, "in the val split")


def test_the_trivial_predictor_knows_how_frequent_each_label_is() -> None:
    """Breaks if a missing label counts as absent."""
    target = torch.tensor([[1.0, 0.0], [0.0, torch.nan], [0.0, 1.0], [0.0, torch.nan]])
    frequencies = Multilabel().trivial(target, Task("a", "multilabel", size=2)).sigmoid()
    assert_near(frequencies, torch.tensor([0.25, 0.5]), 1e-12)


def test_torchmetrics_see_probabilities_of_fully_labelled_rows() -> None:
    """Breaks if a torchmetric sees logits, or a row with a missing label."""
    target = torch.tensor([[1.0, 0.0], [0.0, torch.nan]])
    task = Task("a", "multilabel", size=2)
    probabilities, labels = Multilabel().predictions(torch.zeros(2, 2), target, task)
    assert probabilities.tolist() == [[0.5, 0.5]]
    assert labels.tolist() == [[1, 0]]


@pytest.mark.parametrize("places", [(), (2, 3)])
def test_a_label_that_training_always_or_never_has_is_not_certain(places: tuple[int, ...]) -> None:
    """Breaks if any model beats the trivial predictor on labels that training never held."""
    target = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [torch.nan, 0.0, 0.0]])
    target = target[(..., *[None] * len(places))].expand(3, 3, *places)
    n = torch.tensor(places).prod().item() if places else 1
    frequencies = Multilabel().trivial(target, Task("a", "multilabel", size=3)).sigmoid()
    expected = torch.tensor([(2 * n + 1) / (2 * n + 2), 1 / (3 * n + 2), 1 / 3])
    assert_near(frequencies, expected, 1e-12)
