"""Short names of strategies."""

from __future__ import annotations

from mtl_runner.results.names import LONGEST, short_names
from mtl_runner.results.records.evidence import StrategyEvidence


def test_short_names_stay_as_they_are() -> None:
    """Breaks if a name that fits is changed."""
    strategies = [StrategyEvidence(name, "strategy") for name in ("dwa", "dwa, lr=0.1")]
    assert short_names(strategies) == {"dwa": "dwa", "dwa, lr=0.1": "dwa, lr=0.1"}


def test_no_name_is_long_and_no_two_are_the_same() -> None:
    """Breaks if a name of 150 letters squeezes a picture, or two rows cannot be told apart."""
    tasks = " ".join(f"task_{i}=0.125" for i in range(8))
    names = [f"fixed {tasks}{end}" for end in ("1", "2", "3")]
    strategies = [StrategyEvidence(name, "fixed") for name in names]
    short = short_names(strategies)
    assert list(short) == names
    assert len(set(short.values())) == 3
    assert all(len(name) <= LONGEST + len(" (3)") for name in short.values())


def test_the_only_fixed_weights_are_called_so() -> None:
    """Breaks if the best fixed weights of eight tasks are a list of numbers in a paper."""
    name = "fixed " + " ".join(f"task_{i}=0.125" for i in range(8))
    assert short_names([StrategyEvidence(name, "fixed")]) == {name: "best fixed weights"}


def test_the_numbers_of_a_search_are_rounded() -> None:
    """Breaks if sixteen digits push the other columns off the terminal."""
    long = StrategyEvidence(
        "dwa, lr=0.006892694481137703, temperature=3.583487751785418", "strategy"
    )
    tiny = StrategyEvidence("dwa, lr=1.23456789e-05", "strategy")
    twin = StrategyEvidence("dwa, lr=1.23459999e-05", "strategy")
    assert list(short_names([long, tiny, twin], longest=60).values()) == [
        "dwa, lr=0.006893, temperature=3.583",
        "dwa, lr=1.235e-05",
        "dwa, lr=1.235e-05 (2)",
    ]


def test_defaults_are_left_out_of_a_long_name() -> None:
    """Breaks if the equal weights of merged sweeps are called `fixed, ...`."""
    equal = "fixed, optimizer.lr=default, digit=default, parity=default, ink=default"
    longer = "dwa, optimizer.lr=default, weighting.temperature=3"
    strategies = [StrategyEvidence(equal, "equal"), StrategyEvidence(longer, "strategy")]
    assert list(short_names(strategies, longest=32).values()) == [
        "fixed (defaults)",
        "dwa, weighting.temperature=3",
    ]
