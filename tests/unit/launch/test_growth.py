"""Which sweeps may go on in one directory."""

from __future__ import annotations

import pytest

from mtl_runner.launch.growth import difference

BEFORE = ("weighting=fixed,dwa", "seed=range(0,2)", "data=digits", "++trainer.epochs=5")


@pytest.mark.parametrize(
    "options",
    [
        ("weighting=fixed,dwa,famo", "seed=range(0,5)", "data=digits", "++trainer.epochs=5"),
        ("data=digits", "++trainer.epochs=5", "weighting=dwa", "seed=3"),
        ("weighting=dwa", "data=digits,toy_regression", "++trainer.epochs=5,6"),
        (*BEFORE, "optimizer.lr=0.1,0.01"),
        (*BEFORE, "++record.checkpoints=none", "++data.loader.workers=2"),
    ],
    ids=["more", "fewer", "more values of what was one", "a new axis", "no effect"],
)
def test_a_sweep_grows(options: tuple[str, ...]) -> None:
    """Breaks if more seeds, strategies or points need another directory."""
    assert difference(BEFORE, options) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": "data=moons"}, "data=digits there and data=moons here"),
        (
            {"++trainer.epochs": "++trainer.epochs=6"},
            "trainer.epochs=5 there and trainer.epochs=6 here",
        ),
        ({"++trainer.epochs": ""}, "trainer.epochs=5 there and no trainer.epochs here"),
        ({"new": "++model.hidden=[8]"}, "no model.hidden there and model.hidden=[8] here"),
        ({"new": "+study=fair"}, "no study there and study=fair here"),
        ({"new": "~experiment"}, "no ~experiment there and ~experiment here"),
    ],
)
def test_what_cannot_be_compared_is_named(changes: dict[str, str], text: str) -> None:
    """Breaks if runs on other data, or of other lengths, are mixed without a word."""
    options = {option.partition("=")[0]: option for option in BEFORE} | changes
    assert difference(BEFORE, list(filter(None, options.values()))) == text


def test_a_study_may_become_another_one() -> None:
    """Breaks if a quick study, or one with other numbers, cannot be gone on from."""
    quick = ["+study=quick", "study.seeds=2", "weighting=dwa"]
    assert (
        difference(quick, ["+study=fair", "study.budget='3 minutes'", "weighting=dwa,famo"]) is None
    )


def test_what_cannot_be_parsed_is_another_sweep() -> None:
    """Breaks if a damaged record of a sweep ends in a traceback."""
    assert difference(["seed=(("], ["seed=1"]) == "seed=(( there"


def test_a_search_may_have_more_trials() -> None:
    """Breaks if a search that was too short has to begin again, or goes on in other ranges."""
    before = ["+search=optuna", "data=digits", "search.trials=8"]
    assert difference(before, ["+search=optuna", "data=digits", "search.batch=4"]) is None
    assert (
        difference(before, [*before, "search.lr=[0.1,1]"])
        == "no search.lr there and search.lr=[0.1,1] here"
    )
