"""The factors of a study: which groups they make, and what is none."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from mtl_runner.errors import ConfigError
from mtl_runner.study import Candidate
from mtl_runner.study.factors import Group, check_factors, check_given, groups_of
from mtl_runner.study.plan import frozen_twin

OPTIMIZERS = ["adam", "sgd"]


def config_of(**model: Any) -> DictConfig:
    """Return a config with these options of the model."""
    return OmegaConf.create({"model": model})


def test_a_study_without_factors_is_one_group_of_its_own_candidates() -> None:
    """Breaks if a study without these options trains anything else than before."""
    candidates = [Candidate("dwa", "strategy", ("weighting=dwa",))]
    groups = groups_of([], [], config_of(hidden=[8]), OPTIMIZERS)
    assert groups == [Group()]
    assert groups[0].candidates(candidates) == candidates


def test_every_combination_of_levels_is_a_group() -> None:
    """Breaks if an optimizer is compared at some widths only."""
    groups = groups_of(OPTIMIZERS, [16, 64], config_of(width=8), OPTIMIZERS)
    assert [group.levels for group in groups] == [
        (("optimizer", optimizer), ("width", width))
        for optimizer in ("adam", "sgd")
        for width in ("16", "64")
    ]
    assert groups[2].overrides == ("optimizer=sgd", "model.width=16")
    assert groups[2].keys == ["model.width"]
    assert [group.level("optimizer") for group in groups] == ["adam", "adam", "sgd", "sgd"]


@pytest.mark.parametrize(
    ("model", "widths", "overrides"),
    [
        ({"width": 8, "hidden": [1]}, [4, 16], ["model.width=4", "model.width=16"]),
        ({"hidden": [8, 8, 8]}, [4, 16], ["model.hidden=[4,4,4]", "model.hidden=[16,16,16]"]),
        ({"hidden": [8]}, [[4], [16, 4]], ["model.hidden=[4]", "model.hidden=[16,4]"]),
        ({"trunk": {"width": 8}}, [4, 16], ["model.trunk.width=4", "model.trunk.width=16"]),
        ({"n": 1}, {"model.n": [2, 3]}, ["model.n=2", "model.n=3"]),
    ],
)
def test_the_width_is_the_option_of_the_model_that_is_one(
    model: dict[str, Any], widths: Any, overrides: list[str]
) -> None:
    """Breaks if models of another architecture are compared with those of one width."""
    groups = groups_of([], widths, config_of(**model), OPTIMIZERS)
    assert [group.overrides for group in groups] == [(option,) for option in overrides]


def test_a_model_without_a_width_asks_for_its_name() -> None:
    """Breaks if a study of widths trains one and the same model several times."""
    with pytest.raises(ConfigError, match=r"^study\.widths does not know which option of this"):
        groups_of([], [4, 16], config_of(name="resnet18"), OPTIMIZERS)


def test_an_unknown_optimizer_is_named() -> None:
    """Breaks if a typing error is found after an hour of runs with the other optimizer."""
    with pytest.raises(ConfigError) as error:
        groups_of(["adam", "sdg"], [], config_of(width=8), OPTIMIZERS)
    assert str(error.value) == (
        "study.optimizers names the unknown optimizer 'sdg'; did you mean 'sgd'? allowed: adam, sgd."
    )


@pytest.mark.parametrize(
    ("optimizers", "widths", "sentence"),
    [
        ("adam", [], "study.optimizers must be a list of two or more optimizers, e.g. [adam, sgd]"),
        (["adam"], [], "study.optimizers must be"),
        (["adam", "adam"], [], "study.optimizers must be"),
        ([], 16, "study.widths must be a list of two or more widths, e.g. [16, 64, 256] or {mod"),
        ([], [16], "study.widths must be"),
        ([], [16, 0], "study.widths must be"),
        ([], [[16], ["x"]], "study.widths must be"),
        ([], {"model.width": [1, 2], "model.depth": [1, 2]}, "study.widths must be"),
        ([], {"optimizer.lr": [1, 2]}, "study.widths must be"),
    ],
)
def test_what_are_no_levels_is_refused(optimizers: Any, widths: Any, sentence: str) -> None:
    """Breaks if one level is called a comparison, or a word a width."""
    with pytest.raises(ConfigError) as error:
        check_factors(optimizers, widths)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    "widths", [None, [], [16, 64], [[16], [64, 64]], {}, {"model.width": [1, 2]}]
)
def test_levels_are_taken(widths: Any) -> None:
    """Breaks if a study of widths cannot be asked for."""
    check_factors(OPTIMIZERS, widths)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("optimizer=sgd", "study.optimizers names the optimizers; leave out optimizer=."),
        ("optimizer.lr=0.1", "study.optimizers gives every optimizer the learning rate of its own"),
    ],
)
def test_what_factors_choose_is_not_given_beside_them(option: str, sentence: str) -> None:
    """Breaks if all optimizers search around the learning rate of one of them."""
    overrides = OverridesParser.create().parse_overrides([option])
    check_given(overrides, [])
    with pytest.raises(ConfigError) as error:
        check_given(overrides, OPTIMIZERS)
    assert str(error.value).startswith(sentence)


def test_a_twin_stays_in_the_group_of_its_strategy() -> None:
    """Breaks if a strategy under SGD is compared with fixed weights under Adam."""
    strategy = Candidate("dwa", "strategy", ("weighting=dwa",), ("weighting.alpha", ("1", "2")))
    group = Group((("optimizer", "sgd"),), ("optimizer=sgd",))
    twin = frozen_twin(group.candidates([strategy])[0], {"a": 0.5, "b": 1.5})
    assert twin.overrides[-1] == "optimizer=sgd"
    assert (twin.group, twin.role, twin.twin_of, twin.knob) == (group.levels, "twin", "dwa", None)
