"""The cards: our own classes hold their laws, and a wrong one fails the law that it breaks."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from mtl_runner.conform.card import make_card
from mtl_runner.conform.laws import METHODS
from mtl_runner.conform.subject import Subject, load_subject
from mtl_runner.errors import ConfigError

HERE = "tests.unit.conform.implementations"
OWN = {
    "cov": "CoV",
    "dwa": "DWA",
    "famo": "FAMO",
    "fixed": "Fixed",
    "geometric_mean": "GeometricMean",
    "gradnorm": "GradNorm",
    "imtl_l": "IMTLL",
    "log_sum": "LogSum",
    "softadapt": "SoftAdapt",
    "uncertainty": "Uncertainty",
    "uncertainty_analytic": "UncertaintyAnalytic",
    "uncertainty_softmax": "UncertaintySoftmax",
}
# Their own parameters are trained for hundreds of steps.
LONG = ("gradnorm", "cagrad")


def own_subject(name: str) -> Subject:
    """Return our implementation of a method."""
    if name in OWN:
        return load_subject(f"mtl_runner.weighting.{OWN[name]}", {})
    reference = METHODS[name].reference
    assert reference is not None
    return reference.subject


def failed(name: str, method: str, **options: Any) -> list[str]:
    """Return the laws that a class of implementations.py breaks."""
    return make_card(load_subject(f"{HERE}.{name}", options), method).failed


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in METHODS],
)
def test_our_own_implementation_holds_every_law(name: str) -> None:
    """Breaks if a law is no law, or our implementation does not keep it."""
    if METHODS[name].wants_rows:
        pytest.importorskip("torchjd")
    card = make_card(own_subject(name), name)
    assert card.failed == []
    assert any(entry.holds for entry in card.entries)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("UncertaintyByArguments", "uncertainty"),
        ("FAMO", "famo_without_balance"),
        ("Shortest", "mgda"),
        ("mean_row", "mean"),
    ],
)
def test_another_right_implementation_holds_every_law(name: str, method: str) -> None:
    """Breaks if a law asks for more than the paper, such as for our parameters."""
    if method == "famo_without_balance":
        without = ("balance", "objective", "resume")
        card = make_card(load_subject(f"{HERE}.{name}", {}), "famo", without=without)
        assert card.failed == []
        assert card.left_out == without
    else:
        assert failed(name, method) == []


@pytest.mark.parametrize(
    ("name", "method", "broken"),
    [
        ("UncertaintyClamped", "uncertainty", ["stationary"]),
        ("UncertaintyFrozen", "uncertainty", ["own_term", "stationary"]),
        ("LogSumWithoutFloor", "log_sum", ["solved_task"]),
        ("DWA", "dwa", ["resume"]),
        ("ShortestTwice", "mgda", ["shortest", "length"]),
        ("last_loss_only", "fixed", ["balance", "objective", "equal_tasks", "order"]),
    ],
)
def test_a_wrong_implementation_breaks_its_law_alone(
    name: str, method: str, broken: list[str]
) -> None:
    """Breaks if an error of a kind that is out there passes, or is blamed on another law."""
    assert failed(name, method) == broken


@pytest.mark.long
def test_a_turned_exponent_breaks_the_laws_about_slow_tasks() -> None:
    """Breaks if a GradNorm that starves the slow task passes, or a right one does not."""
    assert failed("GradNorm", "gradnorm") == []
    assert failed("GradNormTurned", "gradnorm") == ["slow_task", "balanced_norms"]


def test_progress_that_is_measured_between_batches_is_seen() -> None:
    """Breaks if a FAMO that compares different batches passes for the paper's."""
    broken = failed("FAMOOfBatches", "famo")
    assert {"equal_progress", "progress"} <= set(broken)
    assert {"total", "not_negative", "equal_tasks", "order"}.isdisjoint(broken)


def test_the_state_of_the_process_is_left_as_it_was() -> None:
    """Breaks if a check changes the default type or a stream of random numbers."""
    torch.manual_seed(3)
    random.seed(3)
    state, python_state = torch.get_rng_state(), random.getstate()
    make_card(own_subject("log_sum"), "log_sum")
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python_state


def test_the_card_says_what_was_done() -> None:
    """Breaks if a reader cannot see how the class was made, called and compared."""
    card = make_card(own_subject("famo"), "famo", {"gamma": 0.01}, ("resume",))
    lines = card.text().splitlines()
    assert lines[0].startswith("mtl_runner.weighting.FAMO (mtl-runner ")
    assert lines[0].endswith(") as famo: Liu et al., NeurIPS 2023")
    assert lines[1] == "made with: its defaults"
    assert lines[2].startswith("called: weigh(losses [T])")
    assert lines[3:5] == ["compared with: FAMO(gamma=0.01) of mtl-runner", "left out: resume"]
    assert "yes  total: the weights sum to a constant [algorithm 1: c]" in lines
    assert lines[-1] == "10 of 10 laws hold."
    assert card.as_json()["entries"][0]["law"] == "balance"


def test_laws_that_do_not_apply_are_counted_apart() -> None:
    """Breaks if a law without an answer counts as kept or as broken."""
    card = make_card(own_subject("log_sum"), "log_sum")
    assert card.summary == "7 of 7 laws hold (1 not applicable)."
    (entry,) = [entry for entry in card.entries if entry.holds is None]
    assert entry.measured == "it remembers nothing from step to step"


@pytest.mark.parametrize(
    ("method", "options", "without", "sentence"),
    [
        ("fam", {}, (), "--as fam is no method whose laws are known; did you mean 'famo'? allowed"),
        ("famo", {}, ("resum",), "--without resum is no law of famo; did you mean 'resume'?"),
        (
            "famo",
            {"gama": 1},
            (),
            "--reference gama is not an option of FAMO; did you mean 'gamma'?",
        ),
        (
            "gradnorm",
            {"lr": 1},
            (),
            "--reference lr is no number of the laws of gradnorm, which have",
        ),
    ],
)
def test_wrong_words_are_named(
    method: str, options: dict[str, Any], without: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a misspelt method, law or option is passed over, or hears nothing of what is right."""
    with pytest.raises(ConfigError) as error:
        make_card(own_subject("famo"), method, options, without)
    assert str(error.value).startswith(sentence)
