"""Advice on useless choices holds against training itself, and no preset needs any."""

from __future__ import annotations

import pytest
import torch

from tests.support.paths import CONF
from tests.unit.train.advised_runs import free_softmax, setup_advice, train_parameters

pytestmark = pytest.mark.usefixtures("float64")

UNEQUAL = "weighting.weights={regression: 0.01, multilabel: 3.0}"
PER_TASK = ("update=per_task", UNEQUAL)
TWO_GROUPS = "update.groups=[[regression,regression_l1],[classification,multilabel]]"
EQUAL_IN_GROUP = "weighting.weights={classification: 5.0, multilabel: 5.0}"
ADAGRAD = "optimizer._target_=torch.optim.Adagrad"
TINY_EPS = "optimizer.eps=1e-30"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(PER_TASK, id="adam"),
        pytest.param((*PER_TASK, "update.gradients=fresh"), id="fresh"),
        pytest.param((*PER_TASK, "optimizer=adamw"), id="adamw"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.NAdam"), id="nadam"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.Adamax"), id="adamax"),
        pytest.param((*PER_TASK, ADAGRAD), id="adagrad"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.RMSprop"), id="rmsprop"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.SGD", "~eps"), id="sgd"),
        pytest.param(("update=adatask", UNEQUAL), id="adatask"),
        pytest.param(("update=joint", UNEQUAL), id="joint"),
        pytest.param(("update=jacobian", "update.aggregator=sum", UNEQUAL), id="jacobian"),
        pytest.param(("update=per_task", "weighting.weights=2.0"), id="all_two"),
        pytest.param((*PER_TASK, TWO_GROUPS), id="unequal_within_a_group"),
        pytest.param(("update=per_task", TWO_GROUPS, EQUAL_IN_GROUP), id="unequal_between_groups"),
        pytest.param(("update=per_task", "weighting.weights={multilabel: 0.0}"), id="zero"),
        pytest.param((*PER_TASK, "optimizer.weight_decay=0.5"), id="l2"),
        pytest.param((*PER_TASK, "optimizer=adamw", "optimizer.weight_decay=0.5"), id="decoupled"),
        pytest.param((*PER_TASK, "trainer.clip=0.5"), id="clip"),
        # Its first steps are those of SGD.
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.RAdam"), id="radam"),
        pytest.param(
            (*PER_TASK, ADAGRAD, "optimizer.initial_accumulator_value=0.1"), id="adagrad_warm"
        ),
    ],
)
def test_fixed_weights_are_called_useless_exactly_where_training_ignores_them(
    options: tuple[str, ...],
) -> None:
    """Breaks if useless weights go unmentioned, or weights with an effect are mentioned."""
    eps = () if "~eps" in options else (TINY_EPS,)
    options = tuple(option for option in options if option != "~eps")
    ones = tuple(option for option in options if not option.startswith("weighting.weights"))
    advice = [sentence for sentence in setup_advice(*options, *eps) if "have no effect" in sentence]
    without_effect = torch.allclose(
        train_parameters(*options, *eps), train_parameters(*ones, *eps), rtol=0, atol=1e-9
    )
    # Equal weights need no advice.
    unequal = "weighting.weights=2.0" not in options
    assert bool(advice) == (without_effect and unequal)


@pytest.mark.parametrize(
    "groups",
    [
        "{shared: {}}",
        "{regression: {}, classification: {}}",
        "{shared: {lr: 0.02}, regression: {weight_decay: 0.0}}",
        "{shared: {lr: 0.02}, regression: {lr: 0.01}}",
        "{regression: {weight_decay: 0.1}}",
        "{regression: {start: '2 steps'}}",
        "{regression: {_target_: torch.optim.RMSprop}}",
        "{regression: {gain: 0.5}}",
    ],
)
def test_groups_are_called_useless_exactly_where_training_ignores_them(groups: str) -> None:
    """Breaks if groups that change nothing go unmentioned, or groups that do are mentioned."""
    advice = [
        sentence
        for sentence in setup_advice(f"update.groups={groups}")
        if "bit for bit" in sentence
    ]
    assert bool(advice) == torch.equal(
        train_parameters(f"update.groups={groups}"), train_parameters()
    )


PRESETS = sorted(path.stem for path in (CONF / "weighting").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_needs_advice_but_the_exact_softmax(preset: str) -> None:
    """Breaks if a preset at its defaults gives advice on a model with a shared trunk."""
    advice = setup_advice(f"weighting={preset}")
    assert advice == ([free_softmax("classification")] if preset == "uncertainty_exact" else [])
