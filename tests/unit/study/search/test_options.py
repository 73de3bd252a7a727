"""The options of a search: each wrong one is refused in one sentence before any run."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.study.search.options import SearchOptions, common_options

GIVEN: dict[str, Any] = {
    "trials": 40,
    "batch": 8,
    "seed": 0,
    "weights": [0.01, 100],
    "lr": [1e-4, 0.1],
    "prune": True,
}


def test_the_defaults_are_valid() -> None:
    """Breaks if +search=optuna alone is refused, or its learning rates forget optimizer.lr."""
    config = OmegaConf.load(conf_directory() / "search" / "optuna.yaml")
    options = SearchOptions.read(OmegaConf.to_container(config.search), 0.02)
    assert options.lr == pytest.approx((0.002, 0.2))
    assert options.trials % options.batch == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"trials": 0}, "search.trials must be a whole number of at least 1; found 0."),
        ({"batch": 2.5}, "search.batch must be a whole number of at least 1; found 2.5."),
        ({"seed": -1}, "search.seed must be a whole number of at least 0; found -1."),
        (
            {"weights": [100, 0.01]},
            "search.weights must be two positive numbers, the smaller one first, as in [0.01, 100]; found [100, 0.01].",
        ),
        (
            {"weights": None},
            "search.weights must be two positive numbers, the smaller one first, as in [0.01, 100]; found None.",
        ),
        (
            {"lr": [0, 0.1]},
            "search.lr must be two positive numbers, the smaller one first, as in [0.0001, 0.1], or null; found [0, 0.1].",
        ),
        ({"prune": 1}, "search.prune must be true or false; found 1."),
        (
            {"trails": 3},
            "search.trails is not an option of a search; did you mean 'trials'? allowed: batch, lr, prune, seed, trials, weights.",
        ),
    ],
)
def test_a_wrong_option_is_named(change: dict[str, Any], sentence: str) -> None:
    """Breaks if a search begins with a range that it cannot search."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        SearchOptions.read(GIVEN | change, 0.01)


def test_a_missing_option_is_named() -> None:
    """Breaks if a config of a user's own with half of the options ends in a traceback."""
    with pytest.raises(ConfigError, match=r"^search\.seed is missing; conf/search/optuna\.yaml"):
        SearchOptions.read({key: GIVEN[key] for key in GIVEN if key != "seed"}, 0.01)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "data=digits,toy_mixed",
            "A search makes its trials itself, and data=digits,toy_mixed has several values; give one of them.",
        ),
        (
            "weighting=uncertainty",
            "+search=optuna searches the weights of weighting=fixed; leave weighting=uncertainty out.",
        ),
        (
            "++weighting.weights.digit=2",
            "+search=optuna chooses the weights; leave weighting.weights.digit=2 out, or narrow search.weights.",
        ),
    ],
)
def test_an_option_that_the_search_chooses_is_refused(option: str, sentence: str) -> None:
    """Breaks if an option is passed over without a word."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        common_options(OverridesParser.create().parse_overrides([option]))


def test_a_user_decides_when_trials_end_or_the_search_does() -> None:
    """Breaks if one of two limits is passed over, or a user can give none."""
    option = OverridesParser.create().parse_overrides(["trainer.give_up={5: 0.9}"])
    sentence = "+search=optuna chooses trainer.give_up; leave trainer.give_up={5: 0.9} out, or set search.prune=false."
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        common_options(option, prune=True)
    assert common_options(option, prune=False) == ["trainer.give_up={5: 0.9}"]


def test_the_options_of_every_trial() -> None:
    """Breaks if a trial is composed as a search, or without what the user typed."""
    typed = ["+search=optuna", "search.trials=9", "++optimizer.eps=1e-7", "weighting=fixed"]
    typed += ["optimizer.lr=0.1", "seed=3", "weighting.normalize=sum", "data=digits"]
    common = common_options(OverridesParser.create().parse_overrides(typed))
    assert common == ["++optimizer.eps=1e-7", "weighting.normalize=sum", "data=digits"]
