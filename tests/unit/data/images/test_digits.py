"""Real digits with four tasks whose raw losses differ by orders of magnitude."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.data import Digits
from mtl_runner.data.prepare import Prepared, prepare
from mtl_runner.experiment.dataset import trivial_losses


@pytest.fixture(scope="module")
def digits() -> Prepared:
    """Return the dataset, checked as before training."""
    return prepare(Digits())


def test_four_tasks_share_one_image(digits):
    """Breaks the names that configs, plots and the README rely on."""
    assert {task.name: (task.kind, task.size) for task in digits.tasks} == {
        "digit": ("classification", 10),
        "parity": ("classification", 2),
        "ink": ("regression", 1),
        "image": ("regression", 64),
    }
    assert digits.splits["train"].inputs.shape[1:] == (64,)


def test_targets_are_what_their_names_say(digits):
    """Breaks the meaning of the tasks: parity of the digit, ink of the image, the image itself."""
    ink = next(task for task in digits.tasks if task.name == "ink")
    for split in digits.splits.values():
        x, targets = split.inputs, split.targets
        assert torch.equal(targets["parity"], targets["digit"] % 2)
        assert torch.equal(targets["image"], x)
        torch.testing.assert_close(targets["ink"][:, 0] + ink.offset, 16 * x.sum(1))
        assert float(x.min()) == 0.0
        assert float(x.max()) == 1.0


def test_raw_losses_of_the_trivial_predictor_span_four_orders_of_magnitude(digits):
    """Breaks the point of the dataset: with equal scales equal weights would do."""
    losses = dict(
        zip(
            [t.name for t in digits.tasks],
            trivial_losses(digits.tasks, digits.splits["train"]),
            strict=True,
        )
    )
    assert 0.02 < losses["image"] < 0.3
    assert losses["parity"] == pytest.approx(0.693, abs=0.01)
    assert losses["digit"] == pytest.approx(2.303, abs=0.01)
    assert 500 < losses["ink"] < 5000
    assert losses["ink"] / losses["image"] > 1e4


def test_splits_are_disjoint_and_complete(digits):
    """Breaks honest validation, or loses rows."""
    from sklearn.datasets import load_digits

    rows = [
        tuple(row)
        for split in digits.splits.values()
        for row in (16 * split.inputs).round().int().tolist()
    ]
    assert [len(digits.splits[name]) for name in ("train", "val", "test")] == [1257, 270, 270]
    assert sorted(rows) == sorted(tuple(row) for row in load_digits().data.astype(int).tolist())


def test_fractions_set_the_sizes():
    """Breaks `data.val` and `data.test`."""
    splits = Digits(val=0.1, test=0.4).splits
    assert [len(splits[name]) for name in ("train", "val", "test")] == [898, 180, 719]


def test_split_follows_its_seed_alone(digits):
    """Breaks reproducibility.

    The split must not depend on the global random state, only on `data.seed`.
    """
    torch.manual_seed(123)
    again, other_seed = Digits(), Digits(seed=1)
    assert torch.equal(again.splits["train"].inputs, digits.splits["train"].inputs)
    assert torch.equal(
        again.splits["train"].targets["digit"], digits.splits["train"].targets["digit"]
    )
    assert not torch.equal(other_seed.splits["train"].inputs, digits.splits["train"].inputs)
