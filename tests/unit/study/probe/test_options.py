"""The options of a probe: their checks, and the length of a short run."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.study.probe.options import ProbeOptions, common_options

DEFAULTS: dict[str, Any] = {"share": 0.25, "steps": 400, "seeds": 2, "rates": [1, 3]}


def test_the_yaml_has_all_options() -> None:
    """Breaks if an option has no default, or one that is refused."""
    node = OmegaConf.load(conf_directory() / "probe" / "weighting.yaml")
    assert OmegaConf.to_container(node)["probe"] == DEFAULTS  # type: ignore[index, call-overload]
    assert ProbeOptions.read(DEFAULTS) == ProbeOptions(0.25, 400, 2, (1.0, 3.0))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"step": 3}, "probe.step is not an option of a probe; did you mean 'steps'?"),
        (
            {"share": 1.5},
            "probe.share must be a share of the epochs above 0 and at most 1; found 1.5.",
        ),
        (
            {"rates": [1, 1]},
            "probe.rates must be different positive numbers, multiples of optimizer.lr, as in [1, 3]; found [1, 1].",
        ),
        ({"seeds": 1}, "probe.seeds must be a whole number of at least 2; found 1."),
    ],
)
def test_a_wrong_option_is_named(changed: dict[str, Any], sentence: str) -> None:
    """Breaks if a wrong number starts a probe, or the sentence does not say what is right."""
    with pytest.raises(ConfigError) as error:
        ProbeOptions.read(DEFAULTS | changed)
    assert str(error.value).startswith(sentence.removesuffix("?"))


def test_a_missing_option_is_named() -> None:
    """Breaks if a conf/probe of the user's own without an option ends in a traceback."""
    with pytest.raises(ConfigError) as error:
        ProbeOptions.read({"share": 0.25})
    assert str(error.value) == "probe.steps is missing; conf/probe/weighting.yaml has its default."


@given(st.integers(1, 1000), st.integers(1, 5000))
def test_a_short_run_is_a_part_of_a_whole_one(epochs: int, steps_per_epoch: int) -> None:
    """Breaks if a short run is longer than a whole one, or than a minute allows."""
    short = ProbeOptions.read(DEFAULTS).epochs(epochs, steps_per_epoch)
    assert 1 <= short <= epochs
    assert short == 1 or short * steps_per_epoch <= 400
    assert short == 1 or short <= 0.25 * epochs + 1


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("weighting=famo", "+probe=weighting tries weightings itself; leave weighting=famo out."),
        (
            "weighting.weights.a=2",
            "+probe=weighting tries weightings itself; leave weighting.weights.a=2 out.",
        ),
        (
            "++record.gradients=false",
            "+probe=weighting measures gradients itself; leave record.gradients=false out.",
        ),
        (
            "data=digits,related",
            "A probe makes its runs itself, and data=digits,related has several values; give one of them.",
        ),
    ],
)
def test_what_a_probe_chooses_cannot_be_given(typed: str, sentence: str) -> None:
    """Breaks if an option that the probe overrides is silently ignored."""
    with pytest.raises(ConfigError) as error:
        common_options(OverridesParser.create().parse_overrides([typed]))
    assert str(error.value) == sentence


def test_the_short_runs_share_all_other_options() -> None:
    """Breaks if an option does not reach the short runs, or a rate, seed or length reaches all."""
    typed = ["+probe=weighting", "probe.seeds=3", "data=digits", "++model.hidden=[8]"]
    own = ["seed=4", "optimizer.lr=0.1", "++trainer.epochs=9"]
    parsed = OverridesParser.create().parse_overrides([*typed, *own])
    assert common_options(parsed) == ["data=digits", "++model.hidden=[8]"]
