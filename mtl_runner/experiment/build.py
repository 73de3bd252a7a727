"""From a composed config to everything that a run needs, checked."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_optimizers import defer_compiler, needs_closure
from mtl_runner.config.instantiate import (
    make,
    make_update,
    optimizer_factory,
)
from mtl_runner.config.settings import Settings
from mtl_runner.config.times import parse_time
from mtl_runner.data.dataset import Split
from mtl_runner.data.items.iterable_split import IterableSplit
from mtl_runner.data.prepare import Prepared
from mtl_runner.errors import CodeError, ConfigError, DataError
from mtl_runner.errors.words import counted
from mtl_runner.experiment.conflicts import Conflicts
from mtl_runner.experiment.dataset import (
    Datasets,
    data_on,
    in_double_precision,
    trivial_losses,
)
from mtl_runner.experiment.device import (
    check_precision,
    choose_device,
    prepare_device,
    set_threads,
    use_channels_last,
)
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.forward import ForwardPass, doubled
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.model import build_model, check_model_options
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.experiment.schedulers import make_schedulers
from mtl_runner.experiment.seeding import seed_everything
from mtl_runner.experiment.sharding import check_sharding, optimizers_of_shards, share_out
from mtl_runner.experiment.term_points import TermPoints
from mtl_runner.gradients.loss_scale import LossScale
from mtl_runner.gradients.parameters import Parameters, trained_now
from mtl_runner.gradients.parts import PartSettings
from mtl_runner.gradients.ranks import Ranks, current_ranks
from mtl_runner.likelihood import Likelihood
from mtl_runner.models import Unshared
from mtl_runner.models.frozen_parts import FrozenParts, frozen_for_a_time
from mtl_runner.models.shared_batch_norm import share_batch_norm
from mtl_runner.schedule import RunLength, Schedule
from mtl_runner.tasks.task import Task
from mtl_runner.update import Jacobian, Joint, Update
from mtl_runner.weighting import Weighting, WrappedScalarizer
from mtl_runner.weighting.protocols import ObservesGradients, ObservesNorms

DEBUG_ROWS = 128


@dataclass
class Experiment:
    """Everything a run needs, built and checked.

    Attributes:
        settings: The settings of the run.
        data: The tasks and the splits, on the device.
        learner: The training step, with the model and the axes.
        schedule: The tasks that are active, by step.
        lr_schedulers: One learning-rate scheduler per optimizer that has one.
        parameters: The parameters of the model, with the tasks that own each.
        device: The device of the run.
        warmup_steps: Number of steps over which the learning rates grow from 0.
        frozen: The parts of the model that are frozen in the first steps.
        trivial: The losses of the trivial predictor, by split, as far as they are known.
        ranks: The processes that train the run together; None: this one alone.
        averaged: A copy of a sharded model, which is to hold the average of its weights; None: the
            trainer copies the model.
    """

    settings: Settings
    data: Prepared
    learner: Learner
    schedule: Schedule
    lr_schedulers: list[Any]
    parameters: Parameters
    device: torch.device
    warmup_steps: int = 0
    frozen: Sequence[FrozenParts] = ()
    trivial: dict[str, list[float | None]] = field(default_factory=dict)
    ranks: Ranks | None = None
    averaged: nn.Module | None = None

    def trivial_losses(self, split: str) -> list[float | None]:
        """Return the standard loss of the trivial predictor on a split, per task.

        It is worked out when the split is first evaluated (test: at the end).
        """
        if split not in self.trivial:
            self.trivial[split] = trivial_losses(self.data.tasks, self.data.splits[split])
        return self.trivial[split]

    def last_release(self) -> float:
        """Return the epoch at which the last frozen part begins to train within the run."""
        length = self.schedule.length
        steps = [parts.until_step or 0 for parts in self.frozen]
        return max((s for s in steps if s < length.steps), default=0) / length.steps_per_epoch


def build(cfg: DictConfig, datasets: Datasets | None = None) -> Experiment:
    """Build an experiment from a composed config.

    Args:
        cfg: The composed config.
        datasets: Datasets of earlier runs, to be used again; the one of this run is added. Only
            datasets of this package are kept: a user's may draw from a global random state, which
            the seed sets.

    Raises:
        MtlError: With one sentence for everything that is wrong.

    Example:
        >>> import hydra
        >>> from mtl_runner.config.conf_directory import conf_directory
        >>> overrides = ["name=run", "data=toy_regression", "data.n=20", "trainer.device=cpu"]
        >>> with hydra.initialize_config_dir(str(conf_directory()), version_base="1.3"):
        ...     experiment = build(hydra.compose("config", overrides))
        >>> [task.name for task in experiment.data.tasks], len(experiment.data.splits["train"])
        (['y1', 'y2'], 20)
    """
    defer_compiler()
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    settings = Settings.read(plain)
    ranks = current_ranks()
    device = choose_device(settings.trainer.device)
    if ranks is not None and device.type == "cuda":
        device = torch.device("cuda", ranks.local_rank)
    prepare_device(device, settings.trainer)
    # Whatever ran before in this process: the number of threads changes the last digits.
    torch.set_num_threads(1)
    check_model_options(plain["model"])
    # A user's dataset may draw at random.
    seed_everything(settings.seed)
    rows = DEBUG_ROWS if settings.debug else None
    data = data_on(device, plain["data"], rows, datasets, settings.loader)
    tasks, precision = data.tasks, settings.trainer.precision
    check_precision(precision, data, device, plain["update"])
    if precision == "float64":
        # A copy: the dataset itself may be used again.
        data = replace(data, splits=in_double_precision(data.splits))
    settings = settings.with_batch_size_for(len(data.splits["train"]))

    trivial = trivial_losses(tasks, data.splits["train"])
    likelihood = make_likelihood(plain["likelihood"], tasks, trivial)
    # The model comes first: same seed, same initial weights, whatever the strategy.
    seed_everything(settings.seed)
    model = build_model(
        plain["model"],
        data,
        share=settings.share,
        predicts_noise=likelihood.predicts_noise,
        trivial=trivial,
    )
    set_threads(settings.trainer.threads, model, device, ranks.local_size if ranks else 1)
    dtype = torch.float64 if precision == "float64" else None
    model.to(device, dtype)
    if use_channels_last(model, device, settings.trainer):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    likelihood.to(device, dtype)
    first_rows = data.splits["train"].rows(slice(0, settings.batch_size))
    first_rows.points = TermPoints(tasks, settings.seed, 1, device).of_step(0)
    if precision == "float64":
        first_rows = first_rows.apply(doubled)
    parameters = find_parameters(model, likelihood, first_rows)
    length = _length(settings, data)
    weighting = build_weighting(plain["weighting"], data, trivial, settings.seed, length)
    weighting.to(device, dtype)
    _check_weighting(weighting, parameters)
    if ranks is not None:
        _make_equal(ranks, data, (model, likelihood, weighting))
        if not settings.trainer.accumulate:
            share_batch_norm(model, ranks)
    averaged = None
    if ranks is not None and settings.trainer.parallel == "fsdp":
        check_sharding(settings.trainer, plain["update"], model, weighting)
        if settings.trainer.ema:
            averaged = copy.deepcopy(model).requires_grad_(False)
        forward = ForwardPass(model, likelihood, precision)
        parameters = share_out(forward, parameters, first_rows, ranks, averaged)

    part_settings = PartSettings(plain["optimizer"].get("parts"), parameters, tasks)
    _check_parts(part_settings, plain["update"])
    make_optimizer = part_settings.apply(
        optimizer_factory(plain["optimizer"], part_settings.settings)
    )
    if parameters.shards is not None:
        make_optimizer = optimizers_of_shards(make_optimizer, parameters)
    blocks = (
        [trained_now(copy.parameters()) for copy in model.copies]
        if isinstance(model, Unshared)
        else None
    )
    update = make_update(
        plain["update"],
        parameters=parameters,
        make_optimizer=make_optimizer,
        tasks=tasks,
        clip=settings.trainer.clip,
        clip_blocks=blocks,
        length=length,
        seed=settings.seed,
    )
    _check_made(update, Update, "update")
    _check_closures(update, settings)
    _check_update(update, weighting, settings)
    _check_learning_rates(update.optimizers)
    own_optimizers = OwnOptimizers(weighting, make_optimizer, likelihood)
    schedule = make(plain["schedule"], "schedule", tasks=tasks, length=length, seed=settings.seed)
    _check_made(schedule, Schedule, "schedule")
    lr_schedulers = make_schedulers(
        settings, [*update.optimizers, *own_optimizers.scheduled], length.steps_per_epoch
    )
    warmup = settings.trainer.warmup
    warmup_steps = 0 if warmup is None else parse_time(warmup, length, "trainer.warmup")
    if warmup_steps > length.steps:
        raise ConfigError(
            f"trainer.warmup={warmup} is longer than the run of {counted(length.steps, 'step')}, so that no learning rate would be reached; give a shorter one, such as 5%."
        )
    frozen = frozen_for_a_time(model)
    for parts in frozen:
        parts.until_step = parse_time(parts.until, length, "model.freeze.until")
        parts.at_step(0)
    conflicts = (
        Conflicts(parameters, len(tasks))
        if settings.record.gradients and parameters.shared
        else None
    )
    learner = Learner(
        model,
        likelihood,
        weighting,
        update,
        own_optimizers,
        conflicts,
        part_rows=settings.trainer.part_rows if settings.trainer.accumulate else None,
        scale=LossScale() if precision == "fp16" else None,
        precision=precision,
        ranks=ranks,
    )
    return Experiment(
        settings,
        data,
        learner,
        schedule,
        lr_schedulers,
        parameters,
        device,
        warmup_steps,
        frozen,
        ranks=ranks,
        averaged=averaged,
    )


def _length(settings: Settings, data: Prepared) -> RunLength:
    """Return the length of the run.

    Raises:
        ConfigError: If nobody knows how many steps an epoch has.
    """
    train = data.splits["train"]
    if isinstance(train, IterableSplit) and settings.steps_per_epoch is None:
        raise ConfigError(
            "The train split is an IterableDataset, of which nobody knows the end; set the steps of an epoch, e.g. data.steps_per_epoch=1000."
        )
    steps_per_epoch = settings.steps_per_epoch or -(-len(train) // settings.batch_size)
    return RunLength(settings.trainer.epochs, steps_per_epoch)


def _make_equal(ranks: Ranks, data: Prepared, modules: Sequence[nn.Module]) -> None:
    """Check that all processes have the same data, and give all the parameters of the first.

    Raises:
        DataError: If a split is not the same in all processes.
    """
    for name, split in data.splits.items():
        facts = [
            len(split),
            *(
                float(split.targets[task.name].double().nansum())
                for task in data.tasks
                if isinstance(split, Split) and task.has_target
            ),
        ]
        first = ranks.objects(facts)[0]
        differs = any(not math.isclose(a, b) for a, b in zip(first, facts, strict=True))
        if any(ranks.largest([differs])):
            raise DataError(
                f"The {name} split is not the same in every process; whatever the dataset draws at random must depend on its argument `seed` alone."
            )
    for module in modules:
        for tensor in module.state_dict().values():
            if isinstance(tensor, Tensor):
                ranks.from_first(tensor)


def make_likelihood(
    node: Mapping[str, Any], tasks: list[Task], trivial: Sequence[float | None] | None = None
) -> Likelihood:
    """Return the likelihood of the config's ``likelihood`` node.

    Args:
        node: The ``likelihood`` node of the config.
        tasks: The tasks, in order.
        trivial: Standard loss of the trivial predictor per task, from which the noise starts.

    Raises:
        ConfigError: If the target makes something else than a likelihood.
    """
    likelihood: Likelihood = make(node, "likelihood", tasks=tasks, trivial_losses=trivial)
    _check_made(likelihood, Likelihood, "likelihood")
    return likelihood


def build_weighting(
    node: Mapping[str, Any],
    data: Prepared,
    trivial: list[float | None],
    seed: int,
    length: RunLength | None = None,
) -> Weighting:
    """Return the weighting; any other module from losses to a scalar is wrapped.

    Args:
        node: The ``weighting`` node of the config.
        data: The dataset.
        trivial: Standard loss of the trivial predictor per task.
        seed: Seed of a weighting that draws at random.
        length: The length of the run; None if it is not known.

    Raises:
        ConfigError: If the target makes something else than a module.
        CodeError: If the class of a weighting does not call that of its base.
    """
    weighting = make(
        node, "weighting", tasks=data.tasks, trivial_losses=trivial, seed=seed, length=length
    )
    if isinstance(weighting, Weighting):
        if not {"_modules", "all_active"} <= vars(weighting).keys():
            raise CodeError(
                f"weighting: {type(weighting).__name__}.__init__ must begin with super().__init__(tasks)."
            )
        return weighting
    if isinstance(weighting, nn.Module):
        return WrappedScalarizer(data.tasks, weighting)
    raise ConfigError(
        f"weighting._target_ made a {type(weighting).__name__}; it must make a Weighting or another nn.Module from losses [T] to a scalar."
    )


def _check_made(made: object, base: type, key: str) -> None:
    """Raise ``ConfigError`` unless a node made an object of the class that the run needs."""
    if not isinstance(made, base):
        raise ConfigError(
            f"{key}._target_ made a {type(made).__name__}; it must make a{'n' if base.__name__[0] in 'AEIOU' else ''} {base.__name__}."
        )


def _check_learning_rates(optimizers: Sequence[Optimizer]) -> None:
    """Raise ``ConfigError`` if no parameter of the model has a learning rate above 0.

    A rate that single precision takes for 0 is none.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    smallest = torch.finfo(torch.float32).tiny
    if groups and all("lr" in group and float(group["lr"]) < smallest for group in groups):
        rate = float(groups[0]["lr"])
        raise ConfigError(
            f"optimizer.lr={rate:g} trains nothing; give a positive number{f' of at least {smallest:.1e}' if rate else ''} (optimizer.parts sets that of single parts, where 0 is allowed)."
        )


def _check_closures(update: Update, settings: Settings) -> None:
    """Raise ``ConfigError`` where an optimizer that takes long steps cannot have what it needs."""
    trainer = settings.trainer
    options = {
        "trainer.precision=fp16": trainer.precision == "fp16",
        "trainer.parallel=fsdp": trainer.parallel == "fsdp",
    }
    for option, given in options.items():
        if given and any(map(needs_closure, update.optimizers)):
            raise ConfigError(
                f"L-BFGS needs every parameter whole and in full precision, which {option} does not give; leave it out, or use optimizer=adam."
            )


def _check_weighting(weighting: Weighting, parameters: Parameters) -> None:
    if (
        isinstance(weighting, ObservesNorms)
        and not parameters.last_shared
        and len(weighting.tasks) > 1
    ):
        raise ConfigError(
            f"The weighting {type(weighting).__name__} compares the tasks' gradients at a shared weight (of two dimensions or more), but this "
            "model shares none; choose a model with a shared trunk, such as model=mlp with share=true."
        )
    if (
        isinstance(weighting, ObservesGradients)
        and not parameters.shared
        and len(weighting.tasks) > 1
    ):
        raise ConfigError(
            f"The weighting {type(weighting).__name__} compares the tasks' gradients at the shared parameters, but this model shares none; "
            "choose a model with a shared trunk, such as model=mlp with share=true."
        )


def _check_update(update: Update, weighting: Weighting, settings: Settings) -> None:
    """Raise ``ConfigError`` for an option of the update that the rest of the run does not allow."""
    if isinstance(update, Joint) and update.every > 1 and not isinstance(weighting, ObservesNorms):
        raise ConfigError(
            f"update.every={update.every} says how often gradients of single tasks are looked at, and neither update=joint nor the weighting {type(weighting).__name__} does so; leave it out, or use update=jacobian, weighting=gradnorm or weighting=norm_balance."
        )
    if not isinstance(update, Jacobian) or not update.at_representation:
        return
    trainer, shards = settings.trainer, update.parameters.shards
    for option, is_set, instead in (
        ("trainer.accumulate", trainer.accumulate is not None, "lower data.batch_size"),
        ("trainer.precision=fp16", trainer.precision == "fp16", "use bf16"),
        ("trainer.parallel=fsdp", shards is not None, "use trainer.parallel=data"),
    ):
        if is_set:
            raise ConfigError(
                f"update.at=representation needs the graph of the whole batch, without a scale, and whole parameters, which {option} does not leave; {instead}, or update.at=parameters."
            )
    for task in weighting.tasks:
        if task.sees_model:
            raise ConfigError(
                f"update.at=representation needs losses of the outputs, and the loss term {task.name!r} sees the whole model; use update.at=parameters."
            )
    aggregation = update.aggregation.first
    if current_ranks() is not None and aggregation.reads_entries and update.dropped is None:
        raise ConfigError(
            f"update.aggregator={aggregation.label} looks at single entries of the gradients, and at the representation each of several processes has those of its own rows; use trainer.devices=1, or update.at=parameters."
        )


def _check_parts(settings: PartSettings, update: Mapping[str, Any]) -> None:
    groups = update.get("groups")
    for name in settings.settings:
        if isinstance(groups, Mapping) and name in groups:
            raise ConfigError(
                f"optimizer.parts.{name} and update.groups.{name} both set the optimizer of one part; keep one of them."
            )
