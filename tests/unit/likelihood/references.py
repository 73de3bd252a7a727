"""What the tests of this room share: likelihoods by ``torch.distributions``, learners on any axis, and whole runs in this process."""

from __future__ import annotations

import copy
import csv
import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Laplace, Normal

from mtl_runner.config.open_keys import OPEN
from mtl_runner.data.dataset import Split
from mtl_runner.experiment.build import build
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.likelihood import Heteroscedastic, Likelihood
from mtl_runner.models import PredictsNoise
from mtl_runner.models.predicts_noise import widened
from mtl_runner.runs.directory import read_config
from mtl_runner.runs.runner import Request, run
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task, log_variance_key
from mtl_runner.train.trainer import Trainer
from mtl_runner.update import AdaTask, Joint, PerTask, Update
from mtl_runner.update.jacobian import Jacobian
from mtl_runner.weighting import Fixed, Weighting
from tests.support.builders import KINDS, SIZES, Adam, make_mlp, make_split
from tests.support.paths import CONF

CLASS_WEIGHTS = (0.5, 3.0, 1.0, 0.25)
UPDATES: dict[str, tuple[type[Update], dict[str, Any]]] = {
    "joint": (Joint, {}),
    "per_task": (PerTask, {}),
    "fresh": (PerTask, {"gradients": "fresh"}),
    "adatask": (AdaTask, {}),
    "jacobian": (Jacobian, {"aggregator": "mgda"}),
}


# Likelihoods, by a library that is not ours


def distribution(kind: str, output: Tensor, s: Tensor) -> Distribution:
    """What the target of a kind is drawn from, given the output and s (log variance, log b, log temperature)."""
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
    """The mean over rows of ``-log_prob``, summed (or averaged) over a row's entries; what is not labelled does not count.

    Class weights make the mean over the entries a weighted one, as in PyTorch's cross entropy.
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
    """The task ``a`` of a kind, with labels missing or classes weighted if asked for."""
    weights = CLASS_WEIGHTS if class_weights else ()
    return Task("a", kind, size=SIZES[kind], missing=missing, class_weights=weights)


def with_gaps(split: Split, every: int = 3) -> Split:
    """The split without the labels of every so-manieth row, and of single entries where a row has several."""
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
    """The split without any label of these tasks."""
    targets = dict(split.targets)
    for name in names:
        targets[name] = torch.full_like(
            targets[name], torch.nan if targets[name].is_floating_point() else MISSING_CLASS
        )
    return Split(split.inputs, targets)


def outputs_for(task: Task, rows: int, spread: float = 2.0, seed: int = 7) -> Tensor:
    """Outputs of a model that is wrong."""
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(rows, task.size, generator=generator)).requires_grad_()


def predicting_noise(
    tasks: Sequence[Task], trivial: Sequence[float | None] | None = None, **options: Any
) -> PredictsNoise:
    """The small model of the builders, with log-variances among its outputs."""
    return PredictsNoise(
        make_mlp([widened(task) for task in tasks], **options),
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
    """A learner with a likelihood of the test's choice."""
    tasks = likelihood.tasks
    if model is None:
        model = (
            predicting_noise(tasks) if isinstance(likelihood, Heteroscedastic) else make_mlp(tasks)
        )
    weighting = Fixed(tasks) if weighting is None else weighting
    kind, more = UPDATES[update]
    if kind is not Joint:
        more = {**more, "tasks": tasks}
    axis = kind(find_parameters(model, likelihood, split), optimizer, **more, **options)
    return Learner(
        model, likelihood, weighting, axis, OwnOptimizers(weighting, optimizer, likelihood)
    )


def constant_noise(
    outputs: dict[str, Tensor], tasks: Sequence[Task], s: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The outputs of a model that predicts the same noise for every sample, as :class:`PredictsNoise` would give them."""
    found = dict(outputs)
    for task, value in zip(tasks, s, strict=True):
        numeric = task.kind.startswith("regression")
        shape = (
            len(outputs[task.name]),
            task.size if numeric else 1,
            *outputs[task.name].shape[2:],
        )
        found[log_variance_key(task.name)] = value.expand(shape)
        if not numeric:
            found[task.name] = outputs[task.name] * torch.exp(-value)
    return found


# Whole runs


class Everything:
    """A dataset with a task of every kind, targets in units of their own and, if asked for, labels that are missing."""

    def __init__(self, gaps: bool = True, rows: int = 60) -> None:
        units = {
            "regression": {"offset": 5.0, "scale": 3.0},
            "regression_l1": {"offset": -2.0, "scale": 0.5},
        }
        self.tasks = [Task(kind, kind, size=SIZES[kind], **units.get(kind, {})) for kind in KINDS]
        self.splits = {}
        for seed, name in enumerate(("train", "val", "test")):
            split = make_split(self.tasks, rows=rows - 10 * seed, seed=seed)
            for kind in KINDS[:2]:
                split.targets[kind] += split.inputs[:, :1]
            self.splits[name] = with_gaps(split, every=4) if gaps else split


def composed(*overrides: str) -> DictConfig:
    """The config of a run, as the command line composes it; a choice of groups is composed only once."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    values = [override for override in overrides if override.startswith(OPEN)]
    config = copy.deepcopy(
        _chosen(tuple(override for override in overrides if override not in values))
    )
    for override in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(
            config, override.key_or_group, override.value(), merge=True, force_add=True
        )
    return config


@functools.cache
def _chosen(overrides: tuple[str, ...]) -> DictConfig:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", overrides=["name=test", *overrides])


def everything(*overrides: str, gaps: bool = True, **data: Any) -> DictConfig:
    """The config of a short run on :class:`Everything`."""
    short = (
        "model=mlp",
        "model.hidden=[8]",
        "weighting=fixed",
        "trainer.epochs=4",
        "optimizer.lr=0.02",
    )
    config = composed(*short, "record.plots=none", "trainer.device=cpu", *overrides)
    node = {
        "_target_": "tests.unit.likelihood.references.Everything",
        "gaps": gaps,
        "batch_size": 16,
        "tasks": None,
        "losses": {},
    }
    config.data = OmegaConf.create({**node, **data})
    return config


def finished(directory: Path, config: DictConfig) -> Path:
    """Do the whole run that ``mtl-run`` would do, in this process."""
    outcome = run(Request(config, directory))
    assert outcome.error == ""
    return directory


def restored(directory: Path) -> Trainer:
    """The final state of a finished run, from its own record alone; from a copy, since resuming cuts metrics.csv back."""
    twin = directory.with_name(f"{directory.name}-restored")
    shutil.copytree(directory, twin, dirs_exist_ok=True)
    return Trainer(build(read_config(twin)), twin)


def read_rows(directory: Path, **cells: object) -> list[dict[str, str]]:
    """The rows of metrics.csv that hold these cells."""
    with (directory / "metrics.csv").open() as file:
        return [
            row
            for row in csv.DictReader(file)
            if all(row[key] == str(value) for key, value in cells.items())
        ]
