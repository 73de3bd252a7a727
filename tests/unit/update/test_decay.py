"""Weight decay that several optimizers of one parameter share out."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.update.decay import GroupOptimizers, is_decoupled
from tests.support.builders import assert_same_bits


@pytest.mark.parametrize(
    ("make_optimizer", "expected"),
    [
        (torch.optim.AdamW, True),
        (torch.optim.Adafactor, True),
        (partial(torch.optim.NAdam, decoupled_weight_decay=True), True),
        (torch.optim.Adam, False),
        (torch.optim.SGD, False),
    ],
)
def test_decay_is_decoupled_where_it_is_no_part_of_the_gradient(
    make_optimizer: Any, expected: bool
) -> None:
    """Breaks if an L2 term is applied as decoupled decay, or the other way round."""
    optimizer = make_optimizer([nn.Parameter(torch.ones(1))], lr=0.1, weight_decay=0.1)
    assert is_decoupled(optimizer, optimizer.param_groups[0]) is expected


def two_groups(make_optimizer: Any) -> tuple[nn.Parameter, nn.Parameter, GroupOptimizers]:
    """Return a parameter of both groups, one of the second group, and their optimizers."""
    shared, private = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    parameters = Parameters([shared, private], [frozenset({0, 1}), frozenset({1})])
    return (
        shared,
        private,
        GroupOptimizers(parameters, [[shared], [shared, private]], make_optimizer),
    )


def decays(groups: GroupOptimizers) -> list[list[float]]:
    """Return the weight decay of every parameter group of every optimizer."""
    return [[g["weight_decay"] for g in optimizer.param_groups] for optimizer in groups.optimizers]


def test_decoupled_decay_goes_to_the_first_group_that_reaches_a_parameter() -> None:
    """Breaks if a shared parameter decays twice, or not at all while the first group is idle."""
    *_, groups = two_groups(partial(torch.optim.AdamW, weight_decay=0.5))
    assert groups.decoupled
    assert groups.largest_decay == 0.5
    groups.begin_step({0: (0,), 1: (1,)})
    assert decays(groups) == [[0.5], [0.0, 0.5]]
    groups.begin_step({1: (1,)})
    assert decays(groups)[1] == [0.5, 0.5]
    assert groups.l2_terms(1, {1: (1,)}) == []


def test_an_l2_term_is_shared_by_the_groups_that_reach_a_parameter() -> None:
    """Breaks if a shared parameter gets two L2 terms, or half of one while a group is idle."""
    shared, private, groups = two_groups(partial(torch.optim.Adam, weight_decay=0.5))
    assert decays(groups) == [[0.0], [0.0]]
    terms = groups.l2_terms(1, {0: (0,), 1: (1,)})
    assert [(term[0] is shared, term[2]) for term in terms] == [(True, 0.25), (False, 0.5)]
    assert terms[1][0] is private
    assert groups.l2_terms(1, {1: (1,)})[0][2] == 0.5
    with torch.no_grad():
        shared.fill_(7.0)
    assert_same_bits(terms[0][1], torch.ones(1))


def test_without_decay_there_is_nothing_to_share_out() -> None:
    """Breaks if an optimizer without weight decay is asked for one."""
    *_, groups = two_groups(partial(torch.optim.Adafactor, weight_decay=0.0))
    assert groups.largest_decay == 0
    assert not groups.decoupled
    groups.begin_step({0: (0,)})
    assert groups.l2_terms(0, {0: (0,)}) == []


def test_two_kinds_of_decay_are_refused() -> None:
    """Breaks if the decay of one part silently becomes that of another kind."""
    kinds = iter([torch.optim.AdamW, torch.optim.Adam])
    with pytest.raises(ConfigError, match=r"decoupled_weight_decay must be the same for all parts"):
        two_groups(lambda block: next(kinds)(block, weight_decay=0.1))
