"""The norms of the tasks' gradients at the start of a run, for fixed weights 1/norm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from omegaconf import DictConfig, open_dict

from mtl_runner.config.working_directory import working_directory_searched
from mtl_runner.errors import ConfigError

# Batches whose norms are averaged: one alone says little of a task with few labels.
BATCHES = 10


def norms_at_start(config: DictConfig) -> dict[str, float]:
    """Return the norm of every task's gradient at the last shared layer, before any step.

    It is the mean over the first batches of a run, as ``weighting=gradnorm`` measures it, on the
    CPU and in single precision. Nothing is trained.

    Args:
        config: The composed config of a run, without Hydra's own node.

    Raises:
        ConfigError: If they cannot be measured: no weight is shared by the tasks, a task has no
            label or no gradient in these batches, or the model does not run here.

    Example:
        >>> import hydra
        >>> from mtl_runner.config.conf_directory import conf_directory
        >>> options = ["name=run", "data=related", "data.scales=[1,10]", "weighting=fixed"]
        >>> with hydra.initialize_config_dir(str(conf_directory()), version_base="1.3"):
        ...     norms = norms_at_start(hydra.compose("config", options))
        >>> 5 < norms["y2"] / norms["y1"] < 20  # errors, and so their gradients, are ten times as large
        True
    """
    config = config.copy()
    with open_dict(config):
        config.trainer.update(
            device="cpu", devices=1, parallel="data", precision="float32", threads=1
        )
        config.data.loader.workers = 0
    try:
        with working_directory_searched():
            return _measured(config)
    except Exception as error:  # somebody else's model or data may raise anything
        raise ConfigError(
            f"the norms of the tasks' gradients cannot be measured at the start: {str(error).rstrip('.')}."
        ) from error


def _measured(config: DictConfig) -> dict[str, float]:
    """Return the mean norm per task.

    Raises:
        ConfigError: If there is none of some task.
    """
    from mtl_runner.data.dataset import BatchGroup, Split
    from mtl_runner.experiment.build import build
    from mtl_runner.gradients.parameters import trained_now
    from mtl_runner.tasks.activity import Active
    from mtl_runner.train.batch_groups import make_batches

    experiment = build(config)
    learner, parameters = experiment.learner, experiment.parameters
    if not trained_now(parameters.last_shared):
        raise ConfigError("the tasks share no weights that are trained from the start")
    measured: dict[str, list[float]] = {task.name: [] for task in experiment.data.tasks}
    epoch: Iterator[tuple[Split | BatchGroup, Active]] = make_batches(experiment).epoch(0)
    for batch, active in islice(epoch, BATCHES):
        first = batch.first if isinstance(batch, BatchGroup) else batch
        norms = parameters.norms(learner.forward(first).losses, active.tasks).tolist()
        for values, norm in zip(measured.values(), norms, strict=True):
            # A norm of 0 is no measurement: idle tasks, and heads that begin at 0.
            if math.isfinite(norm) and norm > 0:
                values.append(norm)
    if missing := [task for task, values in measured.items() if not values]:
        raise ConfigError(f"no gradient of task {missing[0]!r} reaches the last shared layer")
    return {task: math.fsum(values) / len(values) for task, values in measured.items()}
