"""The class under test: found, made, and refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner.conform.subject import load_subject
from mtl_runner.errors import ConfigError

HERE = "tests.unit.conform.implementations"


def test_number_of_tasks_and_shared_parameter_are_filled_in() -> None:
    """Breaks if a constructor with the usual names needs options."""
    shared = nn.Parameter(torch.zeros(5))
    made = load_subject(f"{HERE}.GradNorm", {}).make(4, shared)
    assert made.weights.shape == (4,)
    assert made.shared[0] is shared
    assert made.weights.dtype == torch.float64


def test_an_option_of_the_user_wins() -> None:
    """Breaks if what is filled in replaces what the user gave."""
    subject = load_subject(f"{HERE}.GradNorm", {"num_losses": 2, "alpha": 0.5})
    made = subject.make(4, nn.Parameter(torch.zeros(5)))
    assert (len(made.weights), made.alpha) == (2, 0.5)
    assert subject.fixed_count


def test_a_function_takes_its_options_at_every_call() -> None:
    """Breaks if a function cannot be tested, or its options are lost."""
    subject = load_subject("torch.nn.functional.softmax", {"dim": 0})
    function = subject.make(3, nn.Parameter(torch.zeros(5)))
    assert function(torch.zeros(2)).tolist() == [0.5, 0.5]


def test_the_package_is_named_with_its_version() -> None:
    """Breaks if a card does not say which release it is about."""
    assert load_subject("torch.nn.Identity", {}).package.startswith("torch 2")
    assert load_subject("mtl_runner.weighting.FAMO", {}).package.startswith("mtl-runner ")
    assert load_subject(f"{HERE}.FAMO", {}).package == "tests"


@pytest.mark.parametrize(
    ("path", "options", "method", "sentence"),
    [
        ("famo", {}, "", "'famo' is no import path; name the class as module.Class, as in"),
        ("a/b.py", {}, "", "'a/b.py' is no import path; "),
        (
            "mtl_runner.weighting.FAM",
            {},
            "",
            "MODULE.CLASS='mtl_runner.weighting.FAM' cannot be imported (mtl_runner.weighting has no 'FAM'; did you mean 'FAMO'?).",
        ),
        (f"{HERE}.NOT_CALLABLE", {}, "", f"{HERE}.NOT_CALLABLE is a int; name a class, or a "),
        (
            f"{HERE}.FAMO",
            {"n_task": 2},
            "",
            f"n_task is not an option of {HERE}.FAMO; did you mean",
        ),
        (f"{HERE}.FAMO", {}, "updat", f"{HERE}.FAMO has no method 'updat'; did you mean 'update'?"),
    ],
)
def test_what_does_not_exist_is_named(
    path: str, options: dict[str, Any], method: str, sentence: str
) -> None:
    """Breaks if a wrong path, option or method is no sentence that says what is right."""
    with pytest.raises(ConfigError) as error:
        load_subject(path, options, method)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("path", "options", "sentence"),
    [
        (
            "torch.nn.Linear",
            {},
            "torch.nn.Linear needs in_features and out_features; give each with --set in_features=VALUE.",
        ),
        (
            "torch.nn.Softplus",
            {"beta": 1, "threshold": 2},
            "",
        ),
        (
            "torch.nn.Dropout",
            {"p": 2.0},
            "torch.nn.Dropout cannot be made with p (ValueError: dropout probability has to be between 0 and 1, but got 2.0); give what it needs with --set NAME=VALUE.",
        ),
        (
            "mtl_runner.weighting.FAMO",
            {"gamma": -1},
            "weighting.gamma must be a number of at least 0; found -1.",
        ),
    ],
)
def test_a_class_that_cannot_be_made_says_what_it_needs(
    path: str, options: dict[str, Any], sentence: str
) -> None:
    """Breaks if a missing or wrong option ends in a traceback."""
    subject = load_subject(path, options)
    if not sentence:
        subject.make(3, nn.Parameter(torch.zeros(5)))
        return
    with pytest.raises(ConfigError) as error:
        subject.make(3, nn.Parameter(torch.zeros(5)))
    assert str(error.value) == sentence
