"""The options of a study, and the candidates of a command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.study import Candidate
from mtl_runner.study.options import candidates_of, check_sweep, checked_options, splits_of

KNOBS = {"dwa": {"weighting.temperature": ["1", "5"]}}


def parsed(*overrides: str) -> list[Override]:
    """Return the options of a command line as Hydra parses them."""
    return OverridesParser.create().parse_overrides(list(overrides))


def strategies(*overrides: str, default: str = "uncertainty") -> list[Candidate]:
    """Return the candidates of a command line beside the two baselines."""
    candidates = candidates_of(parsed(*overrides), KNOBS, default)
    assert [candidate.name for candidate in candidates[:2]] == ["equal", "single_task"]
    return candidates[2:]


@pytest.fixture
def options() -> dict[str, Any]:
    """The defaults of a study."""
    study = OmegaConf.load(conf_directory() / "study" / "fair.yaml").study
    return dict(OmegaConf.to_container(study))  # type: ignore[arg-type]


def test_the_defaults_are_valid(options: dict[str, Any]) -> None:
    """Breaks if a study cannot be started without an option."""
    assert checked_options(options) == options


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seedz": 3}, "study.seedz is not an option of a study; did you mean 'seeds'?"),
        ({"seeds": 1}, "study.seeds must be auto or a whole number of at least 2; found 1."),
        (
            {"seeds": "many"},
            "study.seeds must be auto or a whole number of at least 2; found 'many'.",
        ),
        ({"tuning_seeds": 0}, "study.tuning_seeds must be a whole number of at least 1; found 0."),
        ({"splits": "each"}, "study.splits must be auto or a number of splits, 1 for one; found"),
        ({"splits": 0}, "study.splits must be auto or a whole number of at least 1; found 0."),
        ({"seeds": True}, "study.seeds must be auto or a whole number of at least 2; found True."),
        ({"decades": math.inf}, "study.decades must be a positive number; found inf."),
        ({"knobs": 3}, "study.knobs must name options and two values each, e.g. "),
        ({"knobs": {"dwaa": {}}}, "study.knobs names the unknown weighting 'dwaa'; did you mean"),
        ({"knobs": {"dwa": {"weighting.lr": [1]}}}, "study.knobs.dwa must give two values"),
        ({"regularisation": 3}, "study.regularisation must give values for options, e.g. {optim"),
        (
            {"regularisation": {"weighting.lr": [1]}},
            "study.regularisation.weighting.lr must be an option of the optimizer or of the model",
        ),
        (
            {"regularisation": {"optimizer.weight_decay": 0.1}},
            "study.regularisation must give a list of numbers for optimizer.weight_decay, e.g.",
        ),
        ({"search": 3}, "study.search must be the directory of a search, or null; found 3."),
    ],
)
def test_a_wrong_option_is_named(
    options: dict[str, Any], changes: dict[str, Any], sentence: str
) -> None:
    """Breaks if a typing error starts an hour of runs, or ends in Python's own words."""
    with pytest.raises(ConfigError) as error:
        checked_options({**options, **changes})
    assert str(error.value).startswith(sentence)


def test_a_missing_option_is_named(options: dict[str, Any]) -> None:
    """Breaks if an own file in conf/study that leaves out an option ends in a KeyError."""
    del options["margin"]
    with pytest.raises(ConfigError, match=r"study\.margin is missing; conf/study/fair\.yaml"):
        checked_options(options)


def test_a_study_from_before_there_was_a_search_is_one(options: dict[str, Any]) -> None:
    """Breaks if a user's own file in conf/study needs a line for every new option."""
    del options["search"]
    assert checked_options(options)["search"] is None


def test_a_knob_may_be_that_of_a_users_weighting(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a user's own weighting cannot be tuned as carefully as ours."""
    (tmp_path / "conf" / "weighting").mkdir(parents=True)
    (tmp_path / "conf" / "weighting" / "users.yaml").touch()
    monkeypatch.chdir(tmp_path)
    checked_options({**options, "knobs": {"users": {"weighting.beta": [1, 2]}}})


@pytest.mark.parametrize(
    "override", ["seed=0,1", "seed=range(0,3)", "optimizer.lr=1,2", "data=a,b", "data.n=1,2"]
)
def test_a_study_is_not_swept_over_what_it_chooses(override: str) -> None:
    """Breaks if a study takes its seeds or learning rates from the command line, or mixes data."""
    with pytest.raises(ConfigError):
        check_sweep(parsed("weighting=fixed,dwa", override))


def test_single_values_are_allowed() -> None:
    """Breaks if the middle of the learning rates, or the dataset, cannot be chosen."""
    check_sweep(parsed("seed=1", "optimizer.lr=0.1", "data=digits", "model.hidden=[8],[16]"))


def test_every_combination_is_a_strategy_once() -> None:
    """Breaks if a strategy that is named twice has twice the trials of the others."""
    names = [s.name for s in strategies("weighting=dwa,famo,dwa", "model.dropout=0,0.1")]
    assert names == [
        *("dwa, dropout=0", "dwa, dropout=0.1"),
        *("famo, dropout=0", "famo, dropout=0.1"),
    ]


def test_the_baselines_are_not_strategies_too() -> None:
    """Breaks if equal weights, or single tasks, are tuned and judged twice."""
    assert [s.name for s in strategies("weighting=fixed,single_task,famo")] == ["famo"]


def test_a_strategy_has_the_knob_of_its_weighting_unless_it_is_swept() -> None:
    """Breaks if the main option is left at its default, or set against the command line."""
    (dwa, famo) = strategies("weighting=dwa,famo")
    assert dwa.knob == ("weighting.temperature", ("1", "5"))
    assert famo.knob is None
    for strategy in strategies("weighting=dwa,famo", "weighting.temperature=2,3"):
        assert strategy.knob is None


def test_weights_of_a_user_are_fixed_weights() -> None:
    """Breaks if weights that a user adds are judged as a strategy, with a frozen twin."""
    weights = "weighting.weights.a=2,3"
    candidates = strategies("weighting=fixed", weights, default="fixed")
    assert [candidate.role for candidate in candidates] == ["fixed", "fixed"]
    candidates = strategies("weighting=fixed,dwa", weights)
    assert [candidate.role for candidate in candidates] == [*["fixed"] * 2, *["strategy"] * 2]


def test_one_weighting_is_compared_with_the_baselines() -> None:
    """Breaks if a user's own method alone cannot be judged, or its options reach the baselines."""
    (strategy,) = strategies("weighting=dwa", "data=digits")
    assert (strategy.name, strategy.overrides) == ("dwa", ("weighting=dwa",))
    assert strategy.knob == ("weighting.temperature", ("1", "5"))
    (strategy,) = strategies("weighting=dwa", "weighting.temperature=3")
    assert strategy.overrides == ("weighting=dwa", "weighting.temperature=3")
    assert strategy.knob is None


def test_an_option_of_the_weighting_belongs_to_every_strategy() -> None:
    """Breaks if an option of one weighting is lost, or given to equal weights too."""
    overrides = parsed("weighting=fixed,dwa,famo", "weighting.lr=0.1")
    candidates = candidates_of(overrides, KNOBS, "uncertainty")
    assert [c.overrides for c in candidates] == [
        ("weighting=fixed",),
        ("weighting=single_task",),
        ("weighting.lr=0.1", "weighting=dwa"),
        ("weighting.lr=0.1", "weighting=famo"),
    ]


def test_small_data_get_a_split_for_every_seed() -> None:
    """Breaks if a study of a small table is about one split, or a large one is split ten times."""
    assert splits_of("auto", 10, 9_999, has_seed=True) == 10
    assert splits_of("auto", 10, 10_000, has_seed=True) == 1
    assert splits_of("auto", 10, 100, has_seed=False) == 1
    assert splits_of(3, 10, 10**6, has_seed=True) == 3
    assert splits_of(30, 10, 100, has_seed=True) == 10
    with pytest.raises(ConfigError, match="needs data that are split by a seed"):
        splits_of(2, 10, 100, has_seed=False)


def test_the_seed_of_the_data_is_swept_by_the_study() -> None:
    """Breaks if a user who wants several splits is not told the option."""
    sweep = OverridesParser.create().parse_overrides(["data.seed=0,1", "weighting=dwa"])
    with pytest.raises(ConfigError, match=r"chooses data\.seed itself; give study\.splits"):
        check_sweep(sweep)


def test_weights_of_one_value_are_fixed_weights() -> None:
    """Breaks if a user's own weights cannot be judged, or are taken for equal weights."""
    (candidate,) = strategies("weighting=fixed", "weighting.weights.a=2")
    assert (candidate.role, candidate.name) == ("fixed", "fixed")
    assert candidate.overrides == ("weighting=fixed", "weighting.weights.a=2")


@pytest.mark.parametrize(
    "options", [("data=digits",), ("weighting=fixed",), ("weighting=single_task",)]
)
def test_a_study_of_nothing_is_refused(options: tuple[str, ...]) -> None:
    """Breaks if a study of its baselines alone runs for an hour."""
    with pytest.raises(ConfigError, match="A study compares strategies; name some"):
        strategies(*options)
