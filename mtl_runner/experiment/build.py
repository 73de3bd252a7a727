"""From a composed config to everything that a run needs, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import defer_compiler
from mtl_runner.config.instantiate import make, make_function, make_update, optimizer_factory, takes
from mtl_runner.config.settings import Settings
from mtl_runner.data.dataset import Prepared, Split, prepare
from mtl_runner.data.inputs import InputTensors
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.conflicts import Conflicts
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.experiment.seeding import seed_everything
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.parts import PartSettings
from mtl_runner.likelihood import Likelihood
from mtl_runner.models import PredictsNoise, Unshared
from mtl_runner.models.predicts_noise import widened
from mtl_runner.schedule import Length, Schedule
from mtl_runner.tasks.metrics.base import Metric
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric, is_torchmetric
from mtl_runner.tasks.task import AnyMetric, Task
from mtl_runner.update import Update
from mtl_runner.weighting import Foreign, Weighting
from mtl_runner.weighting.protocols import ObservesNorms

DEBUG_ROWS = 128
SMALL_MODEL = 2_000_000  # parameters; below it a second CPU thread costs more than it gives
ALL_THREADS = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)
Datasets = dict[str, Prepared]
CONSTANT = 1e-12  # a trivial predictor with so small a loss has nothing left to predict


@dataclass
class Experiment:
    """Everything a run needs, built and checked."""

    settings: Settings
    data: Prepared
    learner: Learner
    schedule: Schedule
    lr_schedulers: list[Any]
    parameters: Parameters
    device: torch.device
    trivial: dict[str, list[float | None]] = field(default_factory=dict)

    def trivial_losses(self, split: str) -> list[float | None]:
        """Standard loss of the trivial predictor per task, worked out when a split is first evaluated (test: at the end)."""
        if split not in self.trivial:
            self.trivial[split] = trivial_losses(self.data.tasks, self.data.splits[split])
        return self.trivial[split]


def build(cfg: DictConfig, datasets: Datasets | None = None) -> Experiment:
    """Build an experiment from a composed config. Raises an ``MtlError`` with one sentence for everything that is wrong.

    Args:
        datasets: those of runs before this one, which are used again, and this one's is added. Only ours: a user's may draw from a
            global random state, which the seed sets.
    """
    defer_compiler()
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    settings = Settings.read(plain)
    device = choose_device(settings.trainer.device)
    torch.set_num_threads(
        1
    )  # whatever ran before in this process: the number changes the last digits
    seed_everything(settings.seed)  # a user's dataset may draw at random
    data = _data_on(device, plain["data"], DEBUG_ROWS if settings.debug else None, datasets)
    tasks = data.tasks
    settings = settings.for_rows(len(data.splits["train"]))

    if device.type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    trivial = trivial_losses(tasks, data.splits["train"])
    likelihood = make_likelihood(plain["likelihood"], tasks, trivial)
    seed_everything(
        settings.seed
    )  # the model comes first: same seed, same initial weights, whatever the strategy
    model = build_model(
        plain["model"],
        data,
        share=settings.share,
        predicts_noise=likelihood.predicts_noise,
        trivial=trivial,
    )
    _set_threads(settings.trainer.threads, model, device)
    model.to(device)
    likelihood.to(device)
    parameters = find_parameters(
        model, likelihood, data.splits["train"].rows(slice(0, settings.batch_size))
    )
    weighting = build_weighting(plain["weighting"], data, trivial, settings.seed).to(device)
    _check_weighting(weighting, parameters)

    part_settings = PartSettings(plain["optimizer"].get("parts"), parameters, tasks)
    _check_parts(part_settings, plain["update"])
    make_optimizer = part_settings.apply(
        optimizer_factory(plain["optimizer"], part_settings.settings)
    )
    blocks = (
        [[p for p in copy.parameters() if p.requires_grad] for copy in model.copies]
        if isinstance(model, Unshared)
        else None
    )
    length = Length(settings.trainer.epochs, -(-len(data.splits["train"]) // settings.batch_size))
    update: Update = make_update(
        plain["update"],
        parameters=parameters,
        make_optimizer=make_optimizer,
        tasks=tasks,
        clip=settings.trainer.clip,
        clip_blocks=blocks,
        length=length,
        seed=settings.seed,
    )
    own = OwnOptimizers(weighting, make_optimizer, likelihood)
    schedule: Schedule = make(
        plain["schedule"], "schedule", tasks=tasks, length=length, seed=settings.seed
    )
    scheduled = [*update.optimizers, *own.scheduled]
    lr_schedulers = make_schedulers(settings, scheduled)
    conflicts = (
        Conflicts(parameters, len(tasks))
        if settings.record.gradients and parameters.shared
        else None
    )
    learner = Learner(model, likelihood, weighting, update, own, conflicts)
    return Experiment(settings, data, learner, schedule, lr_schedulers, parameters, device)


def _data_on(
    device: torch.device, node: Mapping[str, Any], rows: int | None, datasets: Datasets | None
) -> Prepared:
    """The dataset on a device, of those that are there already or built."""
    key = f"{node} {rows} {device}"
    if datasets is not None and key in datasets:
        return datasets[key]
    data = build_data(node, rows)
    data.splits = {name: split.to(device) for name, split in data.splits.items()}
    if datasets is not None and is_ours(node):
        datasets[key] = data
    return data


def is_ours(node: Mapping[str, Any]) -> bool:
    """Whether a dataset is one of ours, so that its config says everything of it."""
    return str(node.get("_target_")).startswith("mtl_runner.")


def make_schedulers(settings: Settings, optimizers: Sequence[Optimizer]) -> list[Any]:
    """A learning-rate scheduler for each, if the config wants one."""
    node = settings.trainer.scheduler_node
    return (
        [make(node, "trainer.lr_scheduler", optimizer=optimizer) for optimizer in optimizers]
        if node
        else []
    )


def build_data(node: Mapping[str, Any], rows: int | None = None) -> Prepared:
    """The dataset of the config's ``data`` node, checked."""
    own_keys = ("batch_size", "tasks", "losses", "metrics")
    arguments = {key: value for key, value in node.items() if key not in own_keys}
    terms = {}
    for name, term in (node.get("losses") or {}).items():
        terms[name] = make_function(term, f"data.losses.{name}", arguments=2)
        if not callable(terms[name]):
            raise ConfigError(
                f"data.losses.{name} must be a callable of (outputs, targets); {type(terms[name]).__name__} is not."
            )
    metrics = {
        str(name): make_metrics(listed, f"data.metrics.{name}")
        for name, listed in (node.get("metrics") or {}).items()
    }
    dataset = make(arguments, "data", also=own_keys)
    return prepare(dataset, keep=node.get("tasks"), terms=terms, metrics=metrics, rows=rows)


def make_metrics(listed: Any, key: str) -> tuple[str | AnyMetric, ...]:
    """A task's entry of ``data.metrics``: names of the kind's metrics, or targets that make a metric or a torchmetric."""
    if isinstance(listed, str | Mapping) or not isinstance(listed, Sequence) or not listed:
        raise ConfigError(
            f"{key} must be a list, e.g. [accuracy, {{_target_: my_module.my_metric}}]; found {listed!r}."
        )
    return tuple(entry if isinstance(entry, str) else _made_metric(entry, key) for entry in listed)


def _made_metric(node: Any, key: str) -> AnyMetric:
    name = str(node.get("name", "")) if isinstance(node, Mapping) else ""
    own = {"name": name} if name and not takes(node, "name") else {}
    made = make(
        {option: value for option, value in node.items() if option not in own} if own else node, key
    )
    if isinstance(made, Metric):
        return replace(made, name=name) if own else made
    if is_torchmetric(made):
        return TorchMetric(made, name)
    raise ConfigError(
        f"{key}: {node['_target_']} made a {type(made).__name__}; it must make a Metric or a torchmetrics.Metric."
    )


def build_model(
    node: Mapping[str, Any],
    data: Prepared,
    *,
    share: bool,
    predicts_noise: bool = False,
    trivial: Sequence[float | None] | None = None,
) -> nn.Module:
    """The model, sized from data and tasks where its class takes ``tasks`` and ``input_shape``."""
    shape = InputTensors(data.splits["train"].inputs).shape
    return model_from_shape(
        node, data.tasks, shape, share=share, predicts_noise=predicts_noise, trivial=trivial
    )


def model_from_shape(
    node: Mapping[str, Any],
    tasks: Sequence[Task],
    shape: Any,
    *,
    share: bool,
    predicts_noise: bool = False,
    trivial: Sequence[float | None] | None = None,
) -> nn.Module:
    """The model for inputs of a known shape; with log-variances among its outputs if it has to predict the noise."""
    model = make(node, "model", tasks=list(tasks), input_shape=shape)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"model._target_ made a {type(model).__name__}; it must make a torch.nn.Module."
        )
    if predicts_noise:
        wide: nn.Module = make(
            node, "model", tasks=[widened(task) for task in tasks], input_shape=shape
        )
        model = PredictsNoise(wide, model, tasks, trivial)
    return model if share else Unshared(model, tasks)


def make_likelihood(
    node: Mapping[str, Any], tasks: list[Task], trivial: Sequence[float | None] | None = None
) -> Likelihood:
    """The likelihood of the config's ``likelihood`` node."""
    likelihood = make(node, "likelihood", tasks=tasks, trivial_losses=trivial)
    if not isinstance(likelihood, Likelihood):
        raise ConfigError(
            f"likelihood._target_ made a {type(likelihood).__name__}; it must make a Likelihood."
        )
    return likelihood


def build_weighting(
    node: Mapping[str, Any], data: Prepared, trivial: list[float | None], seed: int
) -> Weighting:
    """The weighting; any other module from losses to a scalar is wrapped."""
    weighting = make(node, "weighting", tasks=data.tasks, trivial_losses=trivial, seed=seed)
    if isinstance(weighting, Weighting):
        return weighting
    if isinstance(weighting, nn.Module):
        return Foreign(data.tasks, weighting)
    raise ConfigError(
        f"weighting._target_ made a {type(weighting).__name__}; it must make a Weighting or another nn.Module from losses [T] to a scalar."
    )


def _check_weighting(weighting: Weighting, parameters: Parameters) -> None:
    if (
        isinstance(weighting, ObservesNorms)
        and parameters.last_shared is None
        and len(weighting.tasks) > 1
    ):
        raise ConfigError(
            f"The weighting {type(weighting).__name__} compares the tasks' gradients at a shared weight (of two dimensions or more), but this "
            "model shares none; choose a model with a shared trunk, such as model=mlp with share=true."
        )


def _check_parts(settings: PartSettings, update: Mapping[str, Any]) -> None:
    groups = update.get("groups")
    for name in settings.settings:
        if isinstance(groups, Mapping) and name in groups:
            raise ConfigError(
                f"optimizer.parts.{name} and update.groups.{name} both set the optimizer of one part; keep one of them."
            )


def trivial_losses(tasks: list[Task], split: Split) -> list[float | None]:
    """Standard loss per task of the trivial predictor on a split.

    None where there is nothing to compare with: loss terms, replaced losses, constant targets.
    """
    losses: list[float | None] = []
    for task in tasks:
        if not task.has_target or task.loss_term is not None:
            losses.append(None)
            continue
        target = split.targets[task.name]
        loss = float(task.loss({task.name: task.trivial_output(target)}, {task.name: target}))
        losses.append(loss if loss > CONSTANT else None)
    return losses


def choose_device(name: str) -> torch.device:
    """``auto`` takes a GPU if there is one. Raises ``ConfigError`` for a device this machine has not."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"trainer.device={name!r} is not a device; use auto, cpu, cuda or cuda:0."
        ) from None
    if device.type == "cuda" and (
        not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
    ):
        raise ConfigError(
            f"trainer.device={name}: this machine has {torch.cuda.device_count()} CUDA GPUs; use auto or cpu."
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"trainer.device={name!r} is not supported; use auto, cpu, cuda or cuda:0."
        )
    return device


def _set_threads(threads: str | int, model: nn.Module, device: torch.device) -> None:
    small = device.type == "cpu" and sum(p.numel() for p in model.parameters()) < SMALL_MODEL
    torch.set_num_threads(
        int(threads) if threads != "auto" else 1 if small else ALL_THREADS
    )  # also after a run with fewer
