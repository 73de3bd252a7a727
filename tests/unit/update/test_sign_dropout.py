"""GradDrop at the representation: its formula is tested in tests/oracles/test_representation.py."""

from __future__ import annotations

import torch

from mtl_runner.update.sign_dropout import sign_dropout
from tests.support.builders import assert_near, assert_same_bits


def test_one_mask_serves_all_rows_of_the_batch() -> None:
    """Breaks if a sign is drawn for every row by itself."""
    torch.manual_seed(0)
    up = torch.rand(50, 200) + 0.1
    down = -(torch.rand(50, 200) + 0.1)
    kept = sign_dropout([up, down], torch.ones(50, 200))
    is_up = kept[0] > 0
    assert 20 < int(is_up.sum()) < 180
    assert_same_bits(kept, torch.where(is_up, up, down))


def test_a_full_leak_is_the_sum_and_a_dead_activation_has_no_gradient() -> None:
    """Breaks if the leak is added on top, or 0/0 gives NaN."""
    rows = [torch.tensor([[1.0, 2.0]]), torch.tensor([[-3.0, 5.0]])]
    value = torch.tensor([[1.0, 0.0]])
    assert_near(sign_dropout(rows, value, torch.ones(2)), rows[0] + rows[1], 0)
    assert float(sign_dropout(rows, value)[0, 1]) == 0.0


def test_the_signs_of_activations_count() -> None:
    """Breaks if two rows that pull one activation to 0 from both sides cancel each other."""
    value = torch.tensor([[1.0], [-1.0]])
    strong, weak = torch.tensor([[1.0], [-1.0]]), torch.tensor([[0.5], [-0.5]])
    assert_near(sign_dropout([strong, weak], value), strong + weak, 0)
