"""Densities by ``torch.distributions``, and learners with any update, for tests of likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Laplace, Normal

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.likelihood import Heteroscedastic, Likelihood
from mtl_runner.models import PredictsNoise
from mtl_runner.models.predicts_noise import with_noise_outputs
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task, log_variance_key
from mtl_runner.update import AdaTask, Joint, PerTask, Update
from mtl_runner.update.jacobian import Jacobian
from mtl_runner.weighting import Fixed, Weighting
from tests.support.builders import SIZES, Adam, make_mlp

CLASS_WEIGHTS = (0.5, 3.0, 1.0, 0.25)
UPDATES: dict[str, tuple[type[Update], dict[str, Any]]] = {
    "joint": (Joint, {}),
    "per_task": (PerTask, {}),
    "fresh": (PerTask, {"gradients": "fresh"}),
    "adatask": (AdaTask, {}),
    "jacobian": (Jacobian, {"aggregator": "mgda"}),
}


# Likelihoods, by torch.distributions


def distribution(kind: str, output: Tensor, s: Tensor) -> Distribution:
    """Return the distribution of a target, given the output and s.

    Args:
        kind: The kind of task.
        output: The output, a mean, median or logits.
        s: The log variance (regression), log b (Laplace) or log temperature.
    """
    if kind == "regression":
        return Normal(output, (s / 2).exp())
    if kind == "regression_l1":
        return Laplace(output, s.exp())
    if kind == "classification":
        return Categorical(logits=(output / s.exp()).movedim(1, -1))
    return Bernoulli(logits=output / s.exp())


def nll_by_hand(
    task: Task, output: Tensor, target: Tensor, s: Tensor, reduce: str = "sum"
) -> Tensor:
    """Return the mean over rows of ``-log_prob``, summed (or averaged) over a row's entries.

    Entries without a label do not count. Class weights make the mean over the entries a weighted
    one, as in PyTorch's cross entropy.
    """
    known = target != MISSING_CLASS if task.kind == "classification" else ~target.isnan()
    safe = torch.where(known, target, torch.zeros_like(target))
    errors = -distribution(task.kind, output, s).log_prob(safe)
    counts = known.to(errors.dtype)
    if task.class_weights:
        counts = counts * torch.tensor(task.class_weights)[safe]
    mean = (errors * counts).sum() / counts.sum()
    if reduce == "mean":
        return mean
    return mean * known.sum() / known.flatten(1).any(1).sum() if known.dim() > 1 else mean


# Problems


def make_task(kind: str, *, missing: bool = False, class_weights: bool = False) -> Task:
    """Return the task ``a`` of a kind, with labels missing or classes weighted if asked for."""
    weights = CLASS_WEIGHTS if class_weights else ()
    return Task("a", kind, size=SIZES[kind], missing=missing, class_weights=weights)


def with_gaps(split: Split, every: int = 3) -> Split:
    """Return the split with labels missing.

    Args:
        split: A split in which nothing is missing.
        every: All labels of every ``every``-th row are missing; where a row has several labels,
            the first label of the row after it is missing, too.
    """
    targets = {}
    for name, target in split.targets.items():
        missing = torch.nan if target.is_floating_point() else MISSING_CLASS
        holed = target.clone()
        holed[::every] = missing
        if target.dim() > 1:
            holed[1::every, 0] = missing
        targets[name] = holed
    return Split(split.inputs, targets)


def without_labels(split: Split, *names: str) -> Split:
    """Return the split without any label of these tasks."""
    targets = dict(split.targets)
    for name in names:
        targets[name] = torch.full_like(
            targets[name], torch.nan if targets[name].is_floating_point() else MISSING_CLASS
        )
    return Split(split.inputs, targets)


def outputs_for(task: Task, rows: int, spread: float = 2.0, seed: int = 7) -> Tensor:
    """Return random outputs, which fit no target."""
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(rows, task.size, generator=generator)).requires_grad_()


def predicting_noise(
    tasks: Sequence[Task], trivial: Sequence[float | None] | None = None, **options: Any
) -> PredictsNoise:
    """Return the small model of the builders, with log-variances among its outputs."""
    return PredictsNoise(
        make_mlp([with_noise_outputs(task) for task in tasks], **options),
        make_mlp(tasks, **options),
        tasks,
        trivial,
    )


def learner_with(
    likelihood: Likelihood,
    split: Split,
    *,
    model: nn.Module | None = None,
    weighting: Weighting | None = None,
    update: str = "joint",
    optimizer: Callable[..., torch.optim.Optimizer] = Adam,
    **options: Any,
) -> Learner:
    """Return a learner with a likelihood of the test's choice."""
    tasks = likelihood.tasks
    if model is None:
        model = (
            predicting_noise(tasks) if isinstance(likelihood, Heteroscedastic) else make_mlp(tasks)
        )
    weighting = Fixed(tasks) if weighting is None else weighting
    update_class, update_options = UPDATES[update]
    if update_class is not Joint:
        update_options = {**update_options, "tasks": tasks}
    parameters = find_parameters(model, likelihood, split)
    return Learner(
        model,
        likelihood,
        weighting,
        update_class(parameters, optimizer, **update_options, **options),
        OwnOptimizers(weighting, optimizer, likelihood),
    )


def constant_noise(
    outputs: dict[str, Tensor], tasks: Sequence[Task], s: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Return the outputs of a :class:`PredictsNoise` that predicts the same noise everywhere."""
    noisy = dict(outputs)
    for task, value in zip(tasks, s, strict=True):
        numeric = task.kind.startswith("regression")
        shape = (
            len(outputs[task.name]),
            task.size if numeric else 1,
            *outputs[task.name].shape[2:],
        )
        noisy[log_variance_key(task.name)] = value.expand(shape)
        if not numeric:
            noisy[task.name] = outputs[task.name] * torch.exp(-value)
    return noisy
