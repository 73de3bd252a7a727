"""The model of a config: for a shape of inputs, shared or not, with or without predicted noise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.model import check_model_options, model_from_shape
from mtl_runner.models import MLP, PredictsNoise, Unshared
from tests.support.builders import make_tasks

TASKS = make_tasks(a="regression", b="classification")
NODE = {"_target_": "mtl_runner.models.MLP", "hidden": [4]}


@pytest.mark.parametrize(
    ("share", "predicts_noise", "expected"),
    [(True, False, MLP), (False, False, Unshared), (True, True, PredictsNoise)],
)
def test_a_model_fits_inputs_and_tasks(
    share: bool, predicts_noise: bool, expected: type[nn.Module]
) -> None:
    """Breaks if a model has outputs of another size than the tasks ask for."""
    model = model_from_shape(NODE, TASKS, (3,), share=share, predicts_noise=predicts_noise)
    assert isinstance(model, expected)
    outputs = model(torch.zeros(2, 3))
    assert {task.name: (2, task.size) for task in TASKS}.items() <= {
        name: tuple(output.shape) for name, output in outputs.items()
    }.items()


def test_what_is_no_model_is_named() -> None:
    """Breaks if a class that makes something else fails at the first step only."""
    with pytest.raises(ConfigError) as error:
        model_from_shape({"_target_": "builtins.dict"}, TASKS, (3,), share=True)
    assert str(error.value) == "model._target_ made a dict; it must make a torch.nn.Module."


def test_embeddings_need_a_table() -> None:
    """Breaks if `model.embeddings` is ignored where there are no categories."""
    with pytest.raises(ConfigError, match="embeds the categories of a table"):
        model_from_shape({**NODE, "embeddings": "auto"}, TASKS, (3,), share=True)


def test_a_class_of_a_users_is_not_asked_before_the_data() -> None:
    """Breaks if code of a user's runs earlier than it would."""
    check_model_options({"_target_": "not_there.Model"})
    check_model_options({})
