"""Which runs can train as one stack: by their configs, and by the experiments built from them."""

from __future__ import annotations

import copy
import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.compat.torch_modules import draws_at_random, keeps_running_statistics
from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import InputTensors
from mtl_runner.data.items.loaded_split import LoadedSplit
from mtl_runner.data.prepare import AnySplit
from mtl_runner.experiment import seeding
from mtl_runner.experiment.build import Experiment
from mtl_runner.models.vae import GaussianDraw
from mtl_runner.tasks.task import Task
from mtl_runner.train.batch_groups import BatchGroups
from mtl_runner.train.batches import Batches, LoadedBatches
from mtl_runner.train.evaluation_interval import EvaluationInterval
from mtl_runner.train.stack.stacked_optimizer import ELEMENTWISE
from mtl_runner.weighting import Weighting
from mtl_runner.weighting.protocols import (
    KeepsLosses,
    ObservesGradients,
    ObservesLosses,
    ObservesNorms,
    ObservesTraces,
    RemembersLosses,
)

PLAIN = (bool, int, float, str, type(None))


def config_key(config: Mapping[str, Any]) -> str:
    """Return a text that is equal for configs that differ only as replicas may differ.

    Replicas may differ in the seeds, the optimizer's settings, the numbers of the data (seed,
    noise, ...), and the options that weighting and likelihood name in ``replica_options``. A 0
    differs from other numbers: it can switch something off.

    Args:
        config: The composed config as plain dictionaries and lists.

    Example:
        >>> def config(lr, clip):
        ...     groups = dict.fromkeys(("data", "weighting", "likelihood"), {})
        ...     return {**groups, "optimizer": {"lr": lr}, "trainer": {"clip": clip}}
        >>> config_key(config(lr=0.1, clip=1.0)) == config_key(config(lr=0.2, clip=1.0))
        True
        >>> config_key(config(lr=0.1, clip=1.0)) == config_key(config(lr=0.1, clip=2.0))
        False
    """
    key = {name: node for name, node in config.items() if name not in ("seed", "name", "tracker")}
    # It is measured after the training, of each run by itself.
    key["record"] = {k: v for k, v in key.get("record", {}).items() if k != "interference"}
    key["optimizer"] = _without_numbers(key["optimizer"])
    kept = ("batch_size", "losses", "metrics")
    key["data"] = {
        name: node if name in kept else _without_numbers(node) for name, node in key["data"].items()
    }
    key["data"].pop("seed", None)
    for part in ("weighting", "likelihood"):
        options = _replica_options(key[part].get("_target_"))
        key[part] = {
            name: _without_numbers(node) if name in options else node
            for name, node in key[part].items()
        }
    return json.dumps(key, sort_keys=True, default=str)


def reason_not_to_stack(experiment: Experiment) -> str:
    """Return why a run cannot be a replica of any stack; empty if it can."""
    learner, settings = experiment.learner, experiment.settings
    if isinstance(learner.weighting, ObservesGradients | ObservesTraces):
        return f"{type(learner.weighting).__name__} measures each run's gradients every few steps"
    for part in (learner.weighting, learner.likelihood):
        # A subclass inherits the promise of its parent, but may not keep it.
        if "replica_options" in vars(type(part)) and part.replica_options is not None:
            continue
        is_ours = type(part).__module__.startswith("mtl_runner.")
        if is_ours or not (isinstance(part, Weighting) and is_pure(part)):
            return f"{type(part).__name__} keeps a state or draws at random"
    if learner.update.optimizer_tasks is None:
        return f"the update {type(learner.update).__name__}, with these options, needs each run's gradients by themselves"
    if not experiment.schedule.can_stack:
        return f"the schedule {type(experiment.schedule).__name__} can say something else for every run"
    if any(isinstance(split, LoadedSplit) for split in experiment.data.splits.values()):
        return "the data are read while it trains"
    if settings.steps_per_epoch is not None:
        return "data.steps_per_epoch cuts the passes over the rows into other epochs"
    if learner.conflicts is not None:
        return "record.gradients looks at each run's gradients"
    if experiment.frozen:
        return "model.freeze lets parts of the model train from a step on"
    if settings.debug:
        return "debug=true"
    if settings.trainer.devices != 1:
        return "trainer.devices shares the batches of each run out among several processes"
    if settings.trainer.precision != "float32":
        return f"trainer.precision={settings.trainer.precision} would round otherwise in a stack"
    if settings.trainer.accumulate is not None:
        return "trainer.accumulate takes the batches of each run in parts"
    if settings.trainer.ema is not None:
        return "trainer.ema follows the weights of each run by themselves"
    if settings.trainer.checkpoint_every is not None:
        return "trainer.checkpoint_every saves each run inside its epochs"
    length = experiment.schedule.length
    if not EvaluationInterval.parse(settings.trainer.evaluate_every, length).is_in_epochs:
        return "trainer.evaluate_every looks at each run inside its epochs"
    if settings.trainer.lr_scheduler_per == "step":
        return "trainer.lr_scheduler_per=step changes the learning rates within an epoch"
    if experiment.warmup_steps:
        return "trainer.warmup changes the learning rates within an epoch"
    return _reason_in_optimizers(experiment) or _reason_in_modules(learner.model)


def reason_in_batches(
    batches: Batches | LoadedBatches | BatchGroups, epochs: int, tasks: Sequence[Task]
) -> str:
    """Return why the batches of a run keep it out of a stack; empty if they do not.

    All runs of a stack have the same active tasks at every step, so no batch may lack the labels of
    a task. That is known of all batches of the run before it begins.

    Args:
        batches: The batches of the run.
        epochs: Number of epochs of the run.
        tasks: The tasks.
    """
    if isinstance(batches, BatchGroups):
        return "a step of it takes several batches"
    if isinstance(batches, LoadedBatches):
        return "its data are read while it trains"
    names = [tasks[index].name for index in batches.unlabelled_tasks(epochs)]
    if not names:
        return ""
    return f"some batch of it holds no label of {' and '.join(map(repr, names))}"


@torch.no_grad()
def is_pure(weighting: Weighting) -> bool:
    """Return whether a weighting is a function of the losses and of its own parameters alone.

    It is tried out on a copy, with several losses: it must answer equal losses equally, and leave
    its own state and the random generators as they are.

    Args:
        weighting: The weighting of a class that does not say so itself.

    Example:
        >>> from mtl_runner.weighting import Fixed, Random
        >>> tasks = [Task("depth"), Task("normals")]
        >>> is_pure(Fixed(tasks)), is_pure(Random(tasks))
        (True, False)
    """
    learns = (
        *(ObservesNorms, ObservesGradients, ObservesTraces),
        *(ObservesLosses, KeepsLosses, RemembersLosses),
    )
    if isinstance(weighting, learns) or type(weighting).prepare is not Weighting.prepare:
        return False
    cpu = torch.device("cpu")
    random_state = seeding.random_state(cpu)
    try:
        weighting = copy.deepcopy(weighting).cpu()
        before = _contents([weighting, random_state])
        size = len(weighting.tasks)
        trials = [torch.linspace(1 + k, 2 + k, size) for k in range(3)]
        answers = [weighting(losses) for losses in (*trials, *trials)]
        after = _contents([weighting, seeding.random_state(cpu)])
        pairs = zip(answers[: len(trials)], answers[len(trials) :], strict=True)
        return before == after and all(torch.equal(first, second) for first, second in pairs)
    except Exception:
        # A user's class can raise anything; alone it gets the run's own sentence.
        return False
    finally:
        seeding.set_random_state(random_state, cpu)


def _contents(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return all that an object holds at any depth, in a form that can be compared."""
    if isinstance(value, Tensor):
        return value.dtype, value.tolist()
    if id(value) in above or isinstance(value, type | types.FunctionType | types.MethodType):
        return repr(value)
    above = (*above, id(value))
    if isinstance(value, list | tuple):
        return [_contents(item, above) for item in value]
    if isinstance(value, Mapping):
        return [(repr(key), _contents(item, above)) for key, item in value.items()]
    if hasattr(value, "__dict__"):
        return type(value), _contents(vars(value), above)
    return repr(value)


def _reason_in_optimizers(experiment: Experiment) -> str:
    """Return why an optimizer or learning-rate scheduler cannot be stacked; empty if all can."""
    learner = experiment.learner
    for optimizer in (*learner.update.optimizers, *learner.own_optimizers.optimizers):
        if type(optimizer) not in ELEMENTWISE:
            return f"the optimizer {type(optimizer).__name__} is not one of those that treat every number by itself"
    for scheduler in experiment.lr_schedulers:
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) or not type(
            scheduler
        ).__module__.startswith("torch.optim."):
            return f"the learning-rate scheduler {type(scheduler).__name__} can go another way for every run"
    return ""


def _reason_in_modules(model: nn.Module) -> str:
    """Return why a module of a model cannot be stacked; empty if all can."""
    for module in model.modules():
        if draws_at_random(module):
            return "the model has dropout"
        if isinstance(module, GaussianDraw):
            return "the model draws noise"
        if keeps_running_statistics(module):
            return "the model has batch normalisation, which keeps running statistics"
        if isinstance(module, nn.RNNBase):
            return "the model has a recurrent layer, which torch.func cannot stack"
    return ""


def experiment_key(experiment: Experiment) -> str:
    """Return a text that is equal for experiments that can be replicas of one stack.

    It tells apart what their configs do not (:func:`config_key`): tasks, shapes and attributes of
    what was built.
    """
    learner, data = experiment.learner, experiment.data
    # Only evaluations use these fields, and replicas may differ in them.
    evaluation_fields: dict[str, Any] = {
        "offset": 0.0,
        "scale": 1.0,
        "true_sigma": None,
        "trivial": (),
    }
    # A dataset's own loss term stays in the text: the stack would use that of the first replica for all.
    facts: list[Any] = []
    for task in data.tasks:
        loss_term = None if task.has_target else task.loss_term
        facts.append(replace(task, **evaluation_fields, loss_term=loss_term))
    for name, split in data.splits.items():
        inputs = InputTensors(in_memory(split).inputs).tensors
        facts += [
            (name, key, tensor.shape, tensor.dtype)
            for key, tensor in {**inputs, **split.targets}.items()
        ]
    for part in (learner.model, learner.likelihood, learner.weighting):
        facts += [(name, p.shape, p.dtype, p.requires_grad) for name, p in part.named_parameters()]
        facts += [(name, b.shape, b.dtype) for name, b in part.named_buffers()]
    facts += [_attributes(module) for module in learner.model.modules()]
    return repr(facts)


def _attributes(module: nn.Module) -> list[Any]:
    """Return class, plain attributes and tensors of a module, beside its parameters and buffers.

    A stack computes with those of the first replica, so they must be equal in all.
    """
    attributes = [
        (name, value)
        for name, value in vars(module).items()
        if not name.startswith("_") and _is_plain(value)
    ]
    tensors = [
        (name, value.tolist()) for name, value in vars(module).items() if isinstance(value, Tensor)
    ]
    return [type(module), attributes, tensors]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set):
        return all(_is_plain(item) for item in value)
    return isinstance(value, PLAIN)


def replica_bytes(experiment: Experiment, own_data: bool) -> int:
    """Return about how much memory one more replica takes, in bytes.

    It counts parameters, gradients, moments and two copies of them, the data, and the activations
    of a batch.

    Args:
        experiment: The experiment of a replica.
        own_data: Whether every replica has data of its own.
    """
    parameters = [
        p
        for part in (experiment.learner.model, experiment.learner.weighting)
        for p in part.parameters()
    ]
    weights = sum(p.numel() * p.element_size() for p in parameters)
    split = in_memory(experiment.data.splits["train"])
    tensors = [*InputTensors(split.inputs).tensors.values(), *split.targets.values()]
    data = sum(t.numel() * t.element_size() for t in tensors) if own_data else 0
    width = sum(p.shape[0] * p.element_size() for p in parameters if p.dim())
    return 8 * weights + 3 * data + 8 * width * max(experiment.settings.batch_size, 1)


def in_memory(split: AnySplit) -> Split:
    """Return a split of whole tensors: what :func:`reason_not_to_stack` has seen to."""
    assert isinstance(split, Split)
    return split


def _replica_options(target: Any) -> Sequence[str]:
    """Return the options in which replicas of a class may differ; none if it is unknown.

    Args:
        target: The name of the class, as in ``_target_``.
    """
    from hydra.utils import get_object

    try:
        return vars(get_object(str(target))).get("replica_options") or ()
    except Exception:
        # The user is told what is wrong with it when it is built.
        return ()


def _without_numbers(node: Any) -> Any:
    """Return a part of a config with its numbers replaced: one text for 0, one for others."""
    if isinstance(node, Mapping):
        return {name: _without_numbers(item) for name, item in node.items()}
    if isinstance(node, list | tuple):
        return [_without_numbers(item) for item in node]
    if isinstance(node, bool) or not isinstance(node, int | float):
        return node
    return "a number" if node else "0"
