"""The options of a study of transfer: each wrong one is refused in one sentence before any run."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.study.transfer.options import OPTIONS, TransferOptions, common_options


def defaults() -> dict[str, Any]:
    """Return the options of conf/study/transfer.yaml."""
    config = OmegaConf.load(conf_directory() / "study" / "transfer.yaml")
    given: Any = OmegaConf.to_container(config.study)
    return dict(given)


def test_the_defaults_are_valid_and_all_there_are() -> None:
    """Breaks if +study=transfer alone is refused, or hides an option from who reads its config."""
    assert set(defaults()) == set(OPTIONS)
    options = TransferOptions.read(defaults())
    assert options.proxy is None
    assert options.narrow == 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"proxi": "auto"},
            "study.proxi is not an option of +study=transfer; did you mean 'proxy'? allowed: decades, extensions, fixed_points, margin, narrow, per_decade, proxy, rates, seeds, splits, tuning_seeds.",
        ),
        ({"narrow": 1}, "study.narrow must be a whole number of at least 2; found 1."),
        ({"seeds": 1}, "study.seeds must be a whole number of at least 2; found 1."),
        (
            {"rates": 2},
            "study.rates must be odd, the narrow model's learning rate and as many on either side; found 2.",
        ),
        ({"splits": 0}, "study.splits must be auto or a whole number of at least 1; found 0."),
        ({"margin": -0.1}, "study.margin must be a positive number; found -0.1."),
    ],
)
def test_a_wrong_option_is_named(change: dict[str, Any], sentence: str) -> None:
    """Breaks if a study begins with numbers that it cannot work with."""
    with pytest.raises(ConfigError) as error:
        TransferOptions.read({**defaults(), **change})
    assert str(error.value) == sentence


def test_a_missing_option_is_named() -> None:
    """Breaks if a study of a user's own conf ends in a KeyError."""
    given = defaults()
    del given["rates"]
    with pytest.raises(ConfigError, match=re.escape("study.rates is missing; conf/study/transfer")):
        TransferOptions.read(given)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["data=digits,related"], "A study is about one dataset; start one study for each."),
        (["seed=0,1"], "A study chooses seed itself; give one number, "),
        (
            ["model.hidden=[8],[16]"],
            "+study=transfer makes its runs itself, and model.hidden=[8],[16] has several values; give one of them.",
        ),
        (
            ["weighting=famo"],
            "+study=transfer tunes the weights of weighting=fixed; leave weighting=famo out, or compare it by +study=fair.",
        ),
        (
            ["weighting.weights.ink=2"],
            "+study=transfer chooses the weights; leave weighting.weights.ink=2 out.",
        ),
    ],
)
def test_what_the_study_chooses_is_not_given(options: list[str], sentence: str) -> None:
    """Breaks if an option is dropped in silence that the user wanted to compare."""
    with pytest.raises(ConfigError) as error:
        common_options(OverridesParser.create().parse_overrides(options))
    assert str(error.value).startswith(sentence)


def test_all_other_options_are_those_of_every_run() -> None:
    """Breaks if the wide model or the trainer of the command line is another than in the runs."""
    typed = ["data=digits", "model.hidden=[64]", "++trainer.epochs=3", "study.seeds=5"]
    assert common_options(OverridesParser.create().parse_overrides(typed)) == typed[:3]
