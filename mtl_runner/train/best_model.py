"""The best model of a run by the monitor; where tasks share nothing, the best copy of each task."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mtl_runner.errors import RunDirectoryError
from mtl_runner.gradients.shards import cut_like_module
from mtl_runner.likelihood import Likelihood
from mtl_runner.models import Unshared
from mtl_runner.train import checkpoint
from mtl_runner.train.evaluation import Evaluation
from mtl_runner.train.monitor import Monitor


def model_parts(model: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of a model that have a best epoch of their own.

    Returns:
        The copy of each task, by the task's name, where tasks share nothing; else the model, called
        ``""``.

    Example:
        >>> model_parts(nn.Identity())
        {'': Identity()}
    """
    return (
        dict(zip(model.task_names, model.copies, strict=True))
        if isinstance(model, Unshared)
        else {"": model}
    )


class BestModel:
    """Keeps the best value of the monitor, its epoch and the weights of the model at that epoch.

    The likelihood's parameters are kept beside the weights: a classification's temperature is part
    of what it predicts. Copies that share nothing are T runs in one, so each keeps the best epoch
    of its own task.

    Args:
        model: The model that is trained.
        monitor: The number that judges the model; less is better.
        likelihood: The likelihood that is trained with the model.
        trained: The model itself where the other one is an average of its weights: its weights
            are kept beside.

    Attributes:
        header: More content of ``best.pt``: what :func:`mtl_runner.load` needs to rebuild the
            model.
        noise_scales: The learned noise scales at the best epoch, by task, in the target's units.
        run: The identity of the run, the same in its checkpoint; None in runs older than that.

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> from mtl_runner.tasks.task import Task
        >>> model, tasks = nn.Linear(1, 1), [Task("depth")]
        >>> best = BestModel(model, Monitor(None, "relative_loss"), Standard(tasks))
        >>> losses = {1: 0.8, 2: 0.5, 3: 0.6}
        >>> [best.update(epoch, Evaluation({"depth": {"loss": x}})) for epoch, x in losses.items()]
        [True, True, False]
        >>> best.value, best.latest_epoch
        (0.5, 2)
    """

    def __init__(
        self,
        model: nn.Module,
        monitor: Monitor,
        likelihood: Likelihood,
        trained: nn.Module | None = None,
    ) -> None:
        self.model, self.likelihood = model, likelihood
        self.monitor = monitor
        self.parts = model_parts(model)
        is_average = trained is not None and trained is not model
        self.trained_parts = model_parts(trained) if trained is not None and is_average else {}
        self.trained_weights: dict[str, dict[str, Any]] = {}
        self.values = dict.fromkeys(self.parts, math.inf)
        self.epochs: dict[str, float] = dict.fromkeys(self.parts, 0)
        self.weights: dict[str, dict[str, Any]] = {}
        self.likelihood_states: dict[str, dict[str, Any]] = {}
        self.noise_scales: dict[str, float] = {}
        self.header: dict[str, Any] = {}
        self.run: str | None = None

    @property
    def latest_epoch(self) -> float:
        """The last epoch at which any part became better; patience counts from it."""
        return max(self.epochs.values())

    @property
    def value(self) -> float:
        """The best value of the monitor; the mean over copies where each has its own."""
        monitored_task = self.monitor.task
        return (
            self.values[monitored_task]
            if monitored_task in self.values
            else sum(self.values.values()) / len(self.values)
        )

    def update(
        self,
        epoch: float,
        evaluation: Evaluation,
        noise_scales: Callable[[], Mapping[str, float]] = dict,
    ) -> bool:
        """Keep the weights of the parts that an evaluation shows to be better than before.

        Args:
            epoch: The epoch of the evaluation.
            evaluation: The evaluation of the validation split.
            noise_scales: A function that returns the learned noise scales by task, in the target's
                units; called if a part became better.

        Returns:
            Whether any part became better. The first evaluation always counts.
        """
        improved = [
            name
            for name in self.parts
            if self.monitor.value(evaluation, name or None) < self.values[name]
            or not self.epochs[name]
        ]
        for name in improved:
            self.values[name] = self.monitor.value(evaluation, name or None)
            self.epochs[name] = epoch
            self.weights[name] = _copy_state(self.parts[name])
            self.likelihood_states[name] = _copy_state(self.likelihood)
            if name in self.trained_parts:
                self.trained_weights[name] = _copy_state(self.trained_parts[name])
            self.noise_scales |= {
                task: scale for task, scale in noise_scales().items() if name in ("", task)
            }
        return bool(improved)

    def state(self) -> dict[str, Any]:
        """Return the content of ``best.pt``."""
        states: dict[str, Any] = {
            "weights": self.weights,
            "noise": self.likelihood_states,
            "noise_scales": dict(self.noise_scales),
        }
        if self.trained_parts:
            states["trained_weights"] = self.trained_weights
        return {**states, **self.progress(), **self.header, "run": self.run}

    def progress(self) -> dict[str, Any]:
        """Return what the checkpoint keeps: best values and their epochs, without the weights."""
        return {"values": dict(self.values), "epochs": dict(self.epochs)}

    def restore(self, directory: Path, progress: dict[str, Any]) -> None:
        """Take up values and epochs from a checkpoint, and the weights from ``best.pt``.

        Args:
            directory: Directory of the run.
            progress: What :meth:`progress` returned when the checkpoint was written.

        Raises:
            RunDirectoryError: If ``best.pt`` cannot be read, or is another run's.
        """
        self.values, self.epochs = progress["values"], progress["epochs"]
        if self.latest_epoch:
            path = directory / "best.pt"
            saved = checkpoint.load(path, next(self.model.parameters()).device)
            if self.run is not None and saved.get("run") != self.run:
                raise RunDirectoryError(
                    f"{str(path)!r} is not of the run of the checkpoint.pt beside it; put the right one back, or run again with mtl-run repeat={directory}."
                )
            self.weights = _cut_like(self.parts, saved["weights"])
            self.likelihood_states = saved["noise"]
            # Runs of earlier versions did not keep them.
            self.noise_scales = dict(saved.get("noise_scales", {}))
            if self.trained_parts:
                self.trained_weights = _cut_like(self.trained_parts, saved["trained_weights"])

    @contextlib.contextmanager
    def loaded(self) -> Iterator[nn.Module]:
        """Give model and likelihood their best parameters while the context lasts."""
        current_model, current_likelihood = _copy_state(self.model), _copy_state(self.likelihood)
        for name, weights in self.weights.items():
            self.parts[name].load_state_dict(weights)
        self.likelihood.load_state_dict(
            merge_likelihood_states(self.likelihood, self.likelihood_states)
        )
        try:
            yield self.model
        finally:
            self.model.load_state_dict(current_model)
            self.likelihood.load_state_dict(current_likelihood)


def merge_likelihood_states(
    likelihood: Likelihood, states: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return one state of a likelihood from those kept with each part of the model.

    Args:
        likelihood: The likelihood, for its tasks and the names in its state.
        states: Its state at the best epoch of each part, by the part's name (:func:`model_parts`);
            where tasks share nothing, the entry of a task is taken from the state that was kept
            with the task's copy.

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> from mtl_runner.tasks.task import Task
        >>> merge_likelihood_states(Standard([Task("depth")]), {"": {}})
        {}
    """
    if "" in states or not states:
        return states.get("", likelihood.state_dict())
    names = {str(i): task.name for i, task in enumerate(likelihood.tasks)}
    keys = likelihood.state_dict()
    return {key: states[names[key.rpartition(".")[2]]][key] for key in keys}


def _cut_like(
    parts: dict[str, nn.Module], weights: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the weights of the parts of a model, cut as those of a sharded model are."""
    return {name: cut_like_module(state, parts[name]) for name, state in weights.items()}


def _copy_state(module: nn.Module) -> dict[str, Any]:
    return {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}
