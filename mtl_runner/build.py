"""Config to objects: the one place that instantiates, where every configuration error is caught and worded."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from mtl_runner.checkpoint import seed_everything
from mtl_runner.conflicts import Conflicts
from mtl_runner.data.base import Prepared, Split, prepare
from mtl_runner.errors import ConfigError, MtlError, suggest
from mtl_runner.likelihood import Likelihood
from mtl_runner.likelihood.heteroscedastic import PredictsNoise, widened
from mtl_runner.models import Unshared
from mtl_runner.parameters import Parameters, find_parameters
from mtl_runner.schedule import Length, Schedule
from mtl_runner.settings import Settings
from mtl_runner.step import Learner
from mtl_runner.task import Task
from mtl_runner.update import OwnParameters, Update
from mtl_runner.update.stepping import defer_compiler
from mtl_runner.weighting import Foreign, Weighting

DEBUG_ROWS = 128
DEBUG_EPOCHS = 2
SMALL_MODEL = 2_000_000  # parameters; below it a second CPU thread costs more than it gives
ALL_THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
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


def build(cfg: DictConfig) -> Experiment:
    """Build an experiment from a composed config. Raises an ``MtlError`` with one sentence for everything that is wrong."""
    defer_compiler()
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    settings = Settings.read(plain)
    device = choose_device(settings.device)
    torch.set_num_threads(1)  # whatever ran before in this process: the number changes the last digits
    seed_everything(settings.seed)  # a user's dataset may draw at random
    data = build_data(plain["data"], rows=DEBUG_ROWS if settings.debug else None)
    tasks = data.tasks
    settings = settings.for_rows(len(data.splits["train"]))

    if device.type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    data.splits = {name: split.to(device) for name, split in data.splits.items()}
    trivial = trivial_losses(tasks, data.splits["train"])
    likelihood: Likelihood = make(plain["likelihood"], "likelihood", tasks=tasks, trivial_losses=trivial)
    seed_everything(settings.seed)  # the model comes first: same seed, same initial weights, whatever the strategy
    model = build_model(plain["model"], data, share=settings.share, predicts_noise=likelihood.predicts_noise, trivial=trivial)
    _set_threads(settings.threads, model, device)
    model.to(device)
    likelihood.to(device)
    parameters = find_parameters(model, likelihood, data.splits["train"].rows(slice(0, settings.batch_size)))
    weighting = build_weighting(plain["weighting"], data, trivial, settings.seed).to(device)
    _check_weighting(weighting, parameters)

    make_optimizer = _optimizer_factory(plain["optimizer"])
    blocks = (
        [[p for p in copy.parameters() if p.requires_grad] for copy in model.copies] if isinstance(model, Unshared) else None
    )
    length = Length(settings.epochs, -(-len(data.splits["train"]) // settings.batch_size))
    update: Update = make(
        _without_nested_targets(plain["update"]),
        "update",
        parameters=parameters,
        make_optimizer=make_optimizer,
        tasks=tasks,
        clip=settings.clip,
        clip_blocks=blocks,
        length=length,
        seed=settings.seed,
    )
    own = OwnParameters(weighting, make_optimizer, likelihood)
    schedule: Schedule = make(plain["schedule"], "schedule", tasks=tasks, length=length, seed=settings.seed)
    scheduled = [*update.optimizers, *own.scheduled]
    lr_schedulers = [
        make(settings.lr_scheduler, "trainer.lr_scheduler", optimizer=optimizer)
        for optimizer in scheduled
        if settings.lr_scheduler
    ]
    conflicts = Conflicts(parameters, len(tasks)) if settings.gradients and parameters.shared else None
    learner = Learner(model, likelihood, weighting, update, own, conflicts)
    return Experiment(settings, data, learner, schedule, lr_schedulers, parameters, device)


def build_data(node: Mapping[str, Any], rows: int | None = None) -> Prepared:
    """The dataset of the config's ``data`` node, checked."""
    own_keys = ("batch_size", "tasks", "losses")
    arguments = {key: value for key, value in node.items() if key not in own_keys}
    terms = {}
    for name, term in (node.get("losses") or {}).items():
        terms[name] = _make_term(term, f"data.losses.{name}")
        if not callable(terms[name]):
            raise ConfigError(
                f"data.losses.{name} must be a callable of (outputs, targets); {type(terms[name]).__name__} is not."
            )
    return prepare(make(arguments, "data", also=own_keys), keep=node.get("tasks"), terms=terms, rows=rows)


def _make_term(node: Any, key: str) -> Any:
    """A loss term: what the target makes, or, if the target is a function that still wants two arguments, that function itself."""
    from hydra.utils import get_object

    called = True
    if isinstance(node, Mapping) and "_target_" in node:
        with contextlib.suppress(Exception):  # `make` words what is wrong with it
            target = get_object(str(node["_target_"]))
            wanted = [
                n for n, p in _names(target).items() if n not in node and p.default is p.empty and p.kind is not p.VAR_KEYWORD
            ]
            called = not (inspect.isfunction(target) and len(wanted) == 2)  # (outputs, targets)
    return make(node, key, called=called)


def build_model(
    node: Mapping[str, Any],
    data: Prepared,
    *,
    share: bool,
    predicts_noise: bool = False,
    trivial: Sequence[float | None] | None = None,
) -> nn.Module:
    """The model, sized from data and tasks where its class takes ``tasks`` and ``input_shape``."""
    inputs = data.splits["train"].inputs
    shape: Any = {k: tuple(v.shape[1:]) for k, v in inputs.items()} if isinstance(inputs, dict) else tuple(inputs.shape[1:])
    return model_from_shape(node, data.tasks, shape, share=share, predicts_noise=predicts_noise, trivial=trivial)


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
        raise ConfigError(f"model._target_ made a {type(model).__name__}; it must make a torch.nn.Module.")
    if predicts_noise:
        wide: nn.Module = make(node, "model", tasks=[widened(task) for task in tasks], input_shape=shape)
        model = PredictsNoise(wide, model, tasks, trivial)
    return model if share else Unshared(model, tasks)


def build_weighting(node: Mapping[str, Any], data: Prepared, trivial: list[float | None], seed: int) -> Weighting:
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
    if weighting.needs_norms and parameters.last_shared is None:
        raise ConfigError(
            f"The weighting {type(weighting).__name__} compares the tasks' gradients at a shared weight, but this model shares none; "
            "choose a model with a shared trunk (model=mlp) and share=true."
        )


def _without_nested_targets(node: Mapping[str, Any]) -> dict[str, Any]:
    """The classes of ``update.groups`` by another key, since Hydra would make those optimizers without parameters."""
    groups = node.get("groups")
    if not isinstance(groups, Mapping):
        return dict(node)
    renamed = {
        name: {("target" if key == "_target_" else key): value for key, value in settings.items()}
        if isinstance(settings, Mapping)
        else settings
        for name, settings in groups.items()
    }
    return {**node, "groups": renamed}


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


def make(node: Any, key: str, also: Sequence[str] = (), called: bool = True, **context: Any) -> Any:
    """Instantiate ``node._target_`` with the node's options and those of the context that its signature takes.

    Args:
        node: a mapping with ``_target_``. key: where it stands in the config, for the errors. also: other keys that may stand there.
        called: False for a function that the run calls itself.
        context: objects of the run, passed by name if the target has such a parameter.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import get_object, instantiate

    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(f"{key} needs a `_target_`, the import path of a class or function, e.g. my_module.MyClass.")
    path = str(node["_target_"])
    logging.getLogger("hydra.utils").disabled = True  # the sentence below says it; Hydra would print a traceback as well
    try:
        target = get_object(path)
    except (ImportError, ValueError, AttributeError, InstantiationException) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ConfigError(f"{key}._target_={path!r} cannot be imported ({reason}).{_install_hint(path)}") from error
    if not callable(target):
        raise ConfigError(f"{key}._target_={path!r} is a {type(target).__name__}; it must be a class or function.")
    known = _parameters_of(target)
    options = {name for name in node if name not in ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")}
    for option in options:
        if known is not None and option not in known:
            allowed = [name for name in (*known, *also) if name not in (*context, "params", "optimizer")]
            raise ConfigError(f"{key}.{option} is not an option of {path.rsplit('.', 1)[-1]}; {suggest(option, allowed)}.")
    extra = {name: value for name, value in context.items() if name in _names(target) and name not in options}
    try:
        # Partial, then called: instantiate would turn the context's objects into configs.
        partial = instantiate({**node, "_convert_": "all", "_partial_": True})
        return partial(**extra) if called else partial
    except InstantiationException as error:
        raise _unwrapped(error, key, path, node) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(_refusal(key, path, node, error)) from error


def _unwrapped(error: Exception, key: str, path: str, node: Mapping[str, Any]) -> Exception:
    cause = error.__cause__
    while cause is not None and not isinstance(cause, MtlError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, MtlError | OSError | MemoryError):
        return cause
    return ConfigError(_refusal(key, path, node, cause or error))


def _refusal(key: str, path: str, node: Mapping[str, Any], error: BaseException) -> str:
    options = ", ".join(f"{name}={value!r}" for name, value in node.items() if name != "_target_") or "none"
    return f"{key}: {path} refuses its options ({options}): {_first_line(error)}."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _install_hint(path: str) -> str:
    return " Install it with: pip install 'mtl-runner[torchjd]'." if path.startswith("torchjd") else ""


def choose_device(name: str) -> torch.device:
    """``auto`` takes a GPU if there is one. Raises ``ConfigError`` for a device this machine has not."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"trainer.device={name!r} is not a device; use auto, cpu, cuda or cuda:0.") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"trainer.device={name}: this machine has {torch.cuda.device_count()} CUDA GPUs; use auto or cpu.")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"trainer.device={name!r} is not supported; use auto, cpu, cuda or cuda:0.")
    return device


def _set_threads(threads: str | int, model: nn.Module, device: torch.device) -> None:
    small = device.type == "cpu" and sum(p.numel() for p in model.parameters()) < SMALL_MODEL
    torch.set_num_threads(int(threads) if threads != "auto" else 1 if small else ALL_THREADS)  # also after a run with fewer


def _optimizer_factory(node: Mapping[str, Any]) -> Any:
    """A function from parameters to an optimizer; fused where the class can and the user did not choose."""

    def make_optimizer(params: Any, **changes: Any) -> Optimizer:
        target = changes.pop("target", None)
        arguments = {**node, **changes}
        if target is not None:  # another class: of the old one's options only those that it knows
            known = _optimizer_options({"_target_": target})
            arguments = {"_target_": target, **{k: v for k, v in node.items() if k in known}, **changes}
        known = _optimizer_options(arguments)
        if "fused" in known and not {"fused", "foreach", "capturable", "differentiable"} & set(arguments):
            arguments["fused"] = True
        if isinstance(params, list) and params and isinstance(params[0], dict) and "weight_decay" not in known:
            params = [{k: v for k, v in group.items() if k != "weight_decay"} for group in params]
        optimizer = make(arguments, "optimizer", params=params)
        if not isinstance(optimizer, Optimizer):
            raise ConfigError(f"optimizer._target_ made a {type(optimizer).__name__}; it must make a torch.optim.Optimizer.")
        return optimizer

    return make_optimizer


def _names(target: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a class or function; none for builtins that do not tell."""
    try:
        return dict(inspect.signature(target).parameters)
    except (ValueError, TypeError):
        return {}


def _parameters_of(target: Any) -> list[str] | None:
    """The names of the options it takes; None if it takes any, or does not tell."""
    found = _names(target)
    return None if not found or any(p.kind is p.VAR_KEYWORD for p in found.values()) else list(found)


def _optimizer_options(node: Mapping[str, Any]) -> set[str]:
    from hydra.utils import get_object

    try:
        return set(_names(get_object(str(node.get("_target_")))))
    except (ImportError, ValueError):
        return set()  # `make` words the error
