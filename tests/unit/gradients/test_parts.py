"""The parts of a model, and settings of the optimizer for single parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.parts import PartSettings, parts_of, read_settings
from mtl_runner.tasks.task import Task

TASKS = [Task("a"), Task("b")]


def three_parameters() -> Parameters:
    """Return a shared parameter, a private one of each task, in this order."""
    owners = [frozenset({0, 1}), frozenset({0}), frozenset({1})]
    return Parameters([nn.Parameter(torch.ones(1)) for _ in owners], owners)


def test_parts_are_shared_and_private_parameters() -> None:
    """Breaks if a part gets a parameter of another one, or an empty part is listed."""
    parameters = three_parameters()
    shared, a, b = parameters.tensors
    parts = parts_of(parameters, TASKS)
    assert list(parts) == ["shared", "a", "b"]
    for part, parameter in zip(parts.values(), (shared, a, b), strict=True):
        assert len(part) == 1
        assert part[0] is parameter
    assert list(parts_of(Parameters([a], [frozenset({0})]), TASKS)) == ["a"]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"trunk": {}}, "key names 'trunk', which is no part of the model; allowed: a, b, shared."),
        ({"shared": 0.1}, "key.shared must be settings such as {lr: 0.01}; found 0.1."),
        (0.1, "key must be {shared: {lr: 0.001}, <task>: {lr: 0.01}}; found 0.1."),
        ({"b": {}}, "key.b is empty: task 'b' has no parameter of its own; leave it out."),
        ({"shared": {}}, "key.shared is empty: no parameter is shared by two tasks; leave it out."),
    ],
    ids=str,
)
def test_what_is_no_setting_of_a_part_is_named(value: Any, sentence: str) -> None:
    """Breaks if a part silently keeps the settings of the optimizer."""
    parts = {"a": []} if sentence.startswith(("key.b", "key.shared is")) else {"shared": []}
    with pytest.raises(ConfigError) as error:
        read_settings(value, parts, TASKS, "key")
    assert str(error.value) == sentence


def test_settings_are_copied() -> None:
    """Breaks if an update that takes a setting out of its copy changes the run's config."""
    value = {"a": {"lr": 0.1}, "b": None}
    settings = read_settings(value, {"a": [], "b": []}, TASKS, "key")
    assert settings == {"a": {"lr": 0.1}, "b": {}}
    settings["a"].pop("lr")
    assert value == {"a": {"lr": 0.1}, "b": None}
    assert read_settings(None, {}, TASKS, "key") == {}


def test_neighbours_of_one_part_make_one_group() -> None:
    """Breaks if the order of the parameters changes, or every parameter has a group of its own."""
    parameters = three_parameters()
    shared, a, b = parameters.tensors
    settings = PartSettings({"shared": {"lr": 0.1}}, parameters, TASKS)
    groups = settings.groups([a, b, shared])
    assert [group.get("lr") for group in groups] == [None, 0.1]
    assert [[id(p) for p in group["params"]] for group in groups] == [[id(a), id(b)], [id(shared)]]


def test_groups_of_an_update_stay_apart_and_keep_their_settings() -> None:
    """Breaks if two groups of a caller are merged, or their own settings win over the part's."""
    parameters = three_parameters()
    shared, a, b = parameters.tensors
    settings = PartSettings({"a": {"lr": 0.1}}, parameters, TASKS)
    given = [{"params": [shared, a], "weight_decay": 0.5}, {"params": [b]}]
    groups = settings.groups(given)
    assert [(group.get("lr"), group.get("weight_decay")) for group in groups] == [
        (None, 0.5),
        (0.1, 0.5),
        (None, None),
    ]


def test_without_settings_the_factory_is_the_one_that_was_given() -> None:
    """Breaks if a run without parts gets several parameter groups."""
    settings = PartSettings(None, three_parameters(), TASKS)
    assert settings.apply(torch.optim.Adam) is torch.optim.Adam
