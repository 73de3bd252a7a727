"""Tasks of a given relatedness are what they say."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.data import Related
from mtl_runner.data.prepare import prepare
from mtl_runner.data.toys.related import root_of_equal_cosines
from mtl_runner.errors import ConfigError
from tests.support.builders import assert_near, assert_same_bits

SMALL: dict[str, Any] = {"dim": 8, "n": 40, "n_val": 10, "n_test": 20}
LINEAR: dict[str, Any] = {"dim": 8, "sines": 0, "n": 40_000, "n_val": 10, "n_test": 10}


def targets_of(**options: Any) -> dict[str, Tensor]:
    """Return the training targets, in double precision."""
    targets = Related(**options).splits["train"].targets
    return {name: target.double() for name, target in targets.items()}


def correlation(targets: dict[str, Tensor], first: str, second: str) -> float:
    """Return the correlation of two targets."""
    return float(torch.corrcoef(torch.stack([targets[first], targets[second]]))[0, 1])


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.floats(0, 1))
def test_every_two_directions_have_the_cosine_that_was_asked_for(count: int, share: float) -> None:
    """Breaks the dial, also at its ends: unit vectors whose products are all the cosine."""
    lowest = -1 / (count - 1) if count > 1 else -1.0
    cosine = lowest + share * (1 - lowest)
    data = Related(cosine=cosine, scales=[1.0] * count, **SMALL)
    expected = torch.full((count, count), cosine, dtype=torch.float64).fill_diagonal_(1)
    assert_near(data.directions @ data.directions.T, expected, 1e-6)
    root = root_of_equal_cosines(count, cosine)
    assert_near(root @ root.T, expected, 1e-6)


def test_two_tasks_are_the_pair_of_the_paper() -> None:
    """Breaks w1 = u1, w2 = p u1 + sqrt(1 - p^2) u2 for orthogonal unit vectors."""
    u1, u2 = Related(cosine=0.0, **SMALL).directions
    w1, w2 = Related(cosine=0.6, **SMALL).directions
    assert_near(w1, u1, 1e-12)
    assert_near(w2, 0.6 * u1 + 0.8 * u2, 1e-12)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.3, 0.9, 1.0])
def test_labels_of_linear_tasks_correlate_as_the_formula_says(cosine: float) -> None:
    """Breaks the correlation p / (1 + sigma^2), of every pair of three tasks."""
    targets = targets_of(cosine=cosine, noise=0.5, scales=[1, 10, 0.1], **LINEAR)
    for first, second in combinations(targets, 2):
        # The standard error of 40 000 rows is at most 1 / 200.
        assert correlation(targets, first, second) == pytest.approx(cosine / 1.25, abs=0.02)


def test_labels_with_sines_correlate_more_the_higher_the_cosine() -> None:
    """Breaks the dial of the paper's tasks, which are not linear."""
    correlations = [
        correlation(targets_of(cosine=p, dim=8, n=5000), "y1", "y2")
        for p in (-1.0, -0.5, 0.0, 0.5, 1.0)
    ]
    assert correlations == sorted(correlations)
    assert correlations[2] == pytest.approx(0, abs=0.06)
    assert correlations[-1] > 0.95, "the same task twice, but for the noise"


def test_labels_are_the_formula() -> None:
    """Breaks the target itself: without noise, what the paper writes, from inputs and direction."""
    data = Related(sines=1, noise=0.0, scales=[3.0], **SMALL)
    frequency, phase = torch.randn(
        2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    split = data.splits["val"]
    assert isinstance(split.inputs, Tensor)
    z = split.inputs.double() @ data.directions[0]
    assert_near(split.targets["y1"].double(), 3 * (z + (frequency * z + phase).sin()), 1e-5)
    assert data.tasks[0].true_sigma is None


def test_a_scale_multiplies_a_task_and_nothing_else() -> None:
    """Breaks the second dial: tasks that differ in more than their scale."""
    plain, scaled = Related(scales=[1, 1], **SMALL), Related(scales=[1, 8], **SMALL)
    for name, split in plain.splits.items():
        assert_same_bits(scaled.splits[name].targets["y1"], split.targets["y1"])
        assert_same_bits(scaled.splits[name].targets["y2"], 8 * split.targets["y2"])
    assert [task.true_sigma for task in scaled.tasks] == [0.1, 0.8]


def test_runs_along_the_dial_share_inputs_and_the_first_task() -> None:
    """Breaks comparisons of two cosines, or of more tasks or rows: all else must stay as it is."""
    few = Related(cosine=0.1, **SMALL)
    more = Related(cosine=0.9, scales=[1, 1, 1], **{**SMALL, "n": 60})
    for split in ("val", "test"):
        assert_same_bits(few.splits[split].inputs, more.splits[split].inputs)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = Related(cosine=0.9, **SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_bits(few.splits["train"].inputs, again.splits["train"].inputs)
    assert_same_bits(few.splits["train"].targets["y1"], again.splits["train"].targets["y1"])
    assert not torch.equal(
        few.splits["train"].targets["y1"],
        Related(cosine=0.1, seed=1, **SMALL).splits["train"].targets["y1"],
    )


def test_one_label_per_row_leaves_every_row_to_one_task() -> None:
    """Breaks `data.labels=one`: training rows with more labels, or validation rows with fewer."""
    prepared = prepare(Related(scales=[1, 1, 1], labels="one", **{**SMALL, "n": 42}))
    known = torch.stack([~t.isnan() for t in prepared.splits["train"].targets.values()])
    assert known.flatten(1).sum(1).tolist() == [14, 14, 14]
    assert (known.flatten(2).sum(0) == 1).all()
    assert all(task.missing for task in prepared.tasks)
    for name in ("val", "test"):
        assert all(not t.isnan().any() for t in prepared.splits[name].targets.values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"cosine": -0.6, "scales": [1, 1, 1]},
            "data.cosine must lie between -0.5 and 1 for 3 tasks; found -0.6.",
        ),
        ({"cosine": 1.1}, "data.cosine must lie between -1 and 1 for 2 tasks; found 1.1."),
        ({"cosine": "high"}, "data.cosine must lie between -1 and 1 for 2 tasks; found 'high'."),
        (
            {"scales": [1, 0]},
            "data.scales must be a list of positive numbers, one per task, e.g. [1, 10]; found [1, 0].",
        ),
        (
            {"scales": 2},
            "data.scales must be a list of positive numbers, one per task, e.g. [1, 10]; found 2.",
        ),
        (
            {"dim": 2, "scales": [1, 1, 1]},
            "data.dim must be at least the number of tasks, 3; found 2.",
        ),
        ({"sines": -1}, "data.sines must be a whole number of at least 0; found -1."),
        ({"noise": -1}, "data.noise must be a number of at least 0; found -1."),
        ({"labels": "some"}, "data.labels='some' is unknown; allowed: all, one."),
        ({"n_val": 0}, "data.n_val must be a whole number of at least 1; found 0."),
        ({"seed": 0.5}, "data.seed must be a whole number of at least 0; found 0.5."),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    """Breaks the sentence about an option."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        Related(**options)
