"""The best model by the monitor: of the whole model, or of each copy by its own task where nothing is shared."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from mtl_runner.likelihood import Likelihood
from mtl_runner.models import Unshared
from mtl_runner.train import checkpoint
from mtl_runner.train.evaluation import Evaluation, Monitor


def model_parts(model: nn.Module) -> dict[str, nn.Module]:
    """What has a best epoch of its own: the copy of each task where nothing is shared, else the whole, called ``""``."""
    return (
        dict(zip(model.names, model.copies, strict=True))
        if isinstance(model, Unshared)
        else {"": model}
    )


class Best:
    """Keeps the best value of the monitor, its epoch and the weights.

    Copies that share nothing are T runs in one, so each keeps the best epoch of its own task.
    """

    def __init__(self, model: nn.Module, monitor: Monitor, likelihood: Likelihood) -> None:
        self.whole, self.likelihood = model, likelihood
        self.monitor = monitor
        self.parts = model_parts(model)
        self.values = dict.fromkeys(self.parts, math.inf)
        self.epochs = dict.fromkeys(self.parts, 0)
        self.weights: dict[str, dict[str, Any]] = {}
        self.noise: dict[
            str, dict[str, Any]
        ] = {}  # the likelihood beside each part's weights: it is half of what a classifier predicts
        self.header: dict[str, Any] = {}  # what `mtl_runner.load` needs to rebuild the model

    @property
    def latest_epoch(self) -> int:
        """The last epoch at which any part became better: what patience counts from."""
        return max(self.epochs.values())

    @property
    def value(self) -> float:
        """The best value of the monitor (the mean over copies where each has its own)."""
        watched = self.monitor.task
        return (
            self.values[watched]
            if watched in self.values
            else sum(self.values.values()) / len(self.values)
        )

    def update(self, epoch: int, evaluation: Evaluation) -> bool:
        """Compare, and keep the weights of the parts that became better."""
        better = [
            name
            for name in self.parts
            if self.monitor.value(evaluation, name or None) < self.values[name]
            or not self.epochs[name]  # the first always counts
        ]
        for name in better:
            self.values[name] = self.monitor.value(evaluation, name or None)
            self.epochs[name] = epoch
            self.weights[name] = _copied(self.parts[name])
            self.noise[name] = _copied(self.likelihood)
        return bool(better)

    def state(self) -> dict[str, Any]:
        """The content of best.pt."""
        return {"weights": self.weights, "noise": self.noise, **self.progress(), **self.header}

    def progress(self) -> dict[str, Any]:
        """What the checkpoint remembers of it."""
        return {"values": dict(self.values), "epochs": dict(self.epochs)}

    def restore(self, directory: Path, progress: dict[str, Any]) -> None:
        """Take up the state of a checkpoint and the weights of best.pt."""
        self.values, self.epochs = progress["values"], progress["epochs"]
        if self.latest_epoch:
            saved = checkpoint.load(directory / "best.pt", next(self.whole.parameters()).device)
            self.weights, self.noise = saved["weights"], saved["noise"]

    @contextlib.contextmanager
    def model(self) -> Iterator[nn.Module]:
        """The model with its best weights, and the likelihood as it was then, for a while."""
        current, noise = _copied(self.whole), _copied(self.likelihood)
        for name, weights in self.weights.items():
            self.parts[name].load_state_dict(weights)
        self.likelihood.load_state_dict(noise_of_parts(self.likelihood, self.noise))
        try:
            yield self.whole
        finally:
            self.whole.load_state_dict(current)
            self.likelihood.load_state_dict(noise)


def noise_of_parts(likelihood: Likelihood, noise: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The likelihood's state from those kept with each part: copies of the model that share nothing have one for their task each."""
    if "" in noise or not noise:
        return noise.get("", likelihood.state_dict())
    indices = {str(i): task.name for i, task in enumerate(likelihood.tasks)}
    keys = likelihood.state_dict()
    return {key: noise[indices[key.rpartition(".")[2]]][key] for key in keys}


def _copied(module: nn.Module) -> dict[str, Any]:
    return {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}
