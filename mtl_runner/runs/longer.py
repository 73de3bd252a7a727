"""A run that goes on for more epochs than it was first asked for (``resume=RUN trainer.epochs=N``).

It goes on only where its first part would have been the same in the longer run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mtl_runner.config.instantiate import takes
from mtl_runner.errors import ConfigError, RunDirectoryError
from mtl_runner.errors.checks import whole_number
from mtl_runner.errors.option_keys import WITHOUT_EFFECT, is_among
from mtl_runner.errors.words import counted
from mtl_runner.experiment.build import Experiment, build
from mtl_runner.experiment.own_optimizers import SETTLING
from mtl_runner.experiment.schedulers import RUN_LENGTHS
from mtl_runner.runs import directory as run_directory
from mtl_runner.runs.lifecycle import display_path
from mtl_runner.runs.records import not_kept
from mtl_runner.runs.request import Request
from mtl_runner.train import checkpoint

KEY = "trainer.epochs"
# Groups of the config whose options can be times.
TIMED = ("trainer", "schedule", "update", "model", "weighting", "likelihood")


def can_be_longer(directory: Path, config: DictConfig, epochs: Any) -> bool:
    """Return whether a run can go on to more epochs; False if it has so many already.

    Args:
        directory: Its run directory.
        config: Its recorded config.
        epochs: The number of epochs that is asked for.

    Raises:
        ConfigError: If it is no number of epochs, or fewer than the run's.
        RunDirectoryError: If the run kept no checkpoint, or its first part depends on its length.
    """
    whole_number(epochs, KEY, 1)
    missing = not_kept(directory)
    if missing is not None:
        raise RunDirectoryError(missing)
    if not (directory / "checkpoint.pt").exists():
        raise RunDirectoryError(
            f"{display_path(directory)!r} has no checkpoint yet; start it with mtl-run repeat={display_path(directory)} {KEY}={epochs}."
        )
    experiment = build(config)
    before = experiment.settings.trainer.epochs
    if epochs == before:
        return False
    name = display_path(directory)
    if epochs < before:
        raise ConfigError(
            f"{KEY}={epochs} is less than the {counted(before, 'epoch')} of {name!r}; leave it out to resume the run, or give more."
        )
    reason = bound_to_length(experiment, config)
    if reason:
        raise RunDirectoryError(
            f"{name!r} was to end after {counted(before, 'epoch')}, and {reason}, so with {counted(epochs, 'epoch')} it would have begun otherwise; train anew with mtl-run repeat={name} {KEY}={epochs}."
        )
    return True


def bound_to_length(experiment: Experiment, config: DictConfig) -> str:
    """Return what depends on the number of epochs of a run, as half a sentence; empty if nothing.

    Args:
        experiment: The run's experiment.
        config: Its recorded config.
    """
    node = experiment.settings.trainer.scheduler_node
    if node and "epochs" not in node:
        lengths = [key for key in RUN_LENGTHS if key not in node and takes(node, key)]
        if lengths:
            return f"its learning rate (trainer.lr_scheduler={_name(node)}) falls towards that end"
    if experiment.learner.own_optimizers.annealed:
        owners = " and ".join(experiment.learner.own_optimizers.owners)
        return f"the learning rate of its {owners} falls over the last {SETTLING:.0%} of them"
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    for group in TIMED:
        for key, value in _shares_of_the_run(plain.get(group), group):
            if not is_among(key, WITHOUT_EFFECT):
                return f"{key}={value} is a share of them"
    return ""


def make_longer(request: Request, epochs: int) -> Request:
    """Write the longer length into the records of a run that :func:`can_be_longer` let pass.

    A kill at any instant leaves a run that the same command can make longer again.

    Args:
        request: The run, as it is recorded, in a directory that is claimed.
        epochs: Its new number of epochs.

    Returns:
        The request for the longer run.
    """
    config = request.config.copy()
    OmegaConf.update(config, KEY, epochs)
    overrides = [
        *(text for text in request.overrides if text.lstrip("+").partition("=")[0] != KEY),
        f"{KEY}={epochs}",
    ]
    path = request.directory / "checkpoint.pt"
    state = checkpoint.load(path)
    if state.get("config") is not None:
        state["config"] = OmegaConf.to_container(config)
        checkpoint.save(path, dict(state))
    run_directory.record_again(request.directory, config, overrides, request.choices)
    return Request(config, request.directory, overrides, request.choices, request.hydra)


def _name(node: Mapping[str, Any]) -> str:
    name = str(node["_target_"]).rpartition(".")[2]
    return "cosine" if name == "CosineAnnealingLR" else name


def _shares_of_the_run(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the options that are a share of the run, such as ``5%``, with their keys."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _shares_of_the_run(value, f"{key}.{name}")
    elif isinstance(node, list):
        for value in node:
            yield from _shares_of_the_run(value, key)
    elif isinstance(node, str) and re.fullmatch(r"\s*[\d.]+\s*%\s*", node):
        yield key, node.strip()
