"""Options by what they do to a run."""

from __future__ import annotations

from mtl_runner.errors.option_keys import COMPUTATION, PLACES, WITHOUT_EFFECT, is_among
from tests.oracles.methods.runs import compose


def test_an_option_is_itself_and_all_below_it() -> None:
    """Breaks if `data.loader.workers` changes a result, or `devices` counts as `device`."""
    assert is_among("data.loader.workers", WITHOUT_EFFECT)
    assert is_among("record", COMPUTATION)
    assert not is_among("trainer.device", WITHOUT_EFFECT)
    assert not is_among("data", PLACES)


def test_the_options_of_every_run_are_there() -> None:
    """Breaks if an option is misspelt here, so that it makes a name or a difference after all."""
    config = compose("data=toy_regression")
    for option in PLACES:
        group, _, key = option.partition(".")
        if group in ("trainer", "record") and key:
            assert key in config[group], option
