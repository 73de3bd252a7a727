"""The model of a config, for the inputs and tasks of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mtl_runner.config.instantiate import (
    import_target,
    make,
    takes,
)
from mtl_runner.data.prepare import Prepared
from mtl_runner.data.preprocessing import features_of
from mtl_runner.data.table.columns import Features
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.dataset import is_built_in
from mtl_runner.models import EmbedsCategories, PredictsNoise, Unshared
from mtl_runner.models.predicts_noise import with_noise_outputs
from mtl_runner.tasks.task import Task


def check_model_options(node: Any) -> None:
    """Let a model of this package check what needs no data, before they are read.

    Args:
        node: The ``model`` node of the config.

    Raises:
        ConfigError: If an option is impossible.
    """
    if isinstance(node, Mapping) and is_built_in(node):
        target = import_target(str(node["_target_"]), "model._target_")
        if hasattr(target, "check_options"):
            target.check_options(**{k: v for k, v in node.items() if not k.startswith("_")})


def build_model(
    node: Mapping[str, Any],
    data: Prepared,
    *,
    share: bool,
    predicts_noise: bool = False,
    trivial: Sequence[float | None] | None = None,
) -> nn.Module:
    """Return the model, sized from data and tasks where its class takes them.

    Args:
        node: The ``model`` node of the config.
        data: The dataset.
        share: False: every task trains its own copy of the model.
        predicts_noise: Whether the model has log-variances among its outputs.
        trivial: Standard loss of the trivial predictor per task, from which the noise starts.
    """
    shape = data.splits["train"].shape
    features = features_of(data.preprocessing)
    return model_from_shape(
        node,
        data.tasks,
        shape,
        share=share,
        predicts_noise=predicts_noise,
        trivial=trivial,
        features=features,
    )


def model_from_shape(
    node: Mapping[str, Any],
    tasks: Sequence[Task],
    shape: Any,
    *,
    share: bool,
    predicts_noise: bool = False,
    trivial: Sequence[float | None] | None = None,
    features: Features | None = None,
) -> nn.Module:
    """Return the model for inputs of a known shape.

    Args:
        node: The ``model`` node of the config.
        tasks: The tasks, in order.
        shape: Shape of one row of the inputs.
        share: False: every task trains its own copy of the model.
        predicts_noise: Whether the model has log-variances among its outputs.
        trivial: Standard loss of the trivial predictor per task, from which the noise starts.
        features: The columns of a table, whose categories ``model.embeddings`` embeds.

    Raises:
        ConfigError: If the target makes something else than a module.
    """
    model = _make_model(node, tasks, shape, features)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"model._target_ made a {type(model).__name__}; it must make a torch.nn.Module."
        )
    if predicts_noise:
        wide = _make_model(node, [with_noise_outputs(task) for task in tasks], shape, features)
        model = PredictsNoise(wide, model, tasks, trivial)
    return model if share else Unshared(model, tasks)


def _make_model(
    node: Mapping[str, Any], tasks: Sequence[Task], shape: Any, features: Features | None
) -> Any:
    """Return what the node makes, behind embeddings of the categories if it asks for them."""
    options = dict(node)
    # A class of the user's own may have an option of this name.
    sizes = None if takes(node, "embeddings") else options.pop("embeddings", None)

    def make_model(input_shape: Any) -> Any:
        return make(
            options,
            "model",
            other_keys=("embeddings",),
            tasks=list(tasks),
            input_shape=input_shape,
        )

    if sizes is None:
        return make_model(shape)
    if features is None:
        raise ConfigError(
            f"model.embeddings={sizes} embeds the categories of a table, but the inputs are none; use data=table, or model.embeddings=null."
        )
    blocks = features.category_blocks()
    if not blocks:
        return make_model(shape)
    return EmbedsCategories(make_model, features.width, blocks, sizes)
