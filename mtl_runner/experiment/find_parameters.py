"""Which parameters belong to which tasks: one batch goes through the model, and the autograd graph of each loss tells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ModelError
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.gradients.parameters import Parameters, last_shared_weight, leaves_of
from mtl_runner.likelihood import Likelihood
from mtl_runner.models.unshared import Unshared
from mtl_runner.tasks.task import Task


def find_parameters(model: nn.Module, likelihood: Likelihood, batch: Split) -> Parameters:
    """Run one batch (in eval mode, random state restored) and see which parameters each task's loss reaches.

    Raises ``ModelError`` for outputs of the wrong form, a parameter that no loss reaches, or a trained tensor that the model
    hides from ``parameters()`` (in a plain dict or list).
    """
    training = model.training
    model.eval()
    with torch.random.fork_rng(devices=_cuda_devices(model)), torch.enable_grad():
        outputs = ForwardPass(model, likelihood).outputs(batch.inputs)
        check_outputs(outputs, batch, likelihood.tasks)
        losses = likelihood.losses(outputs, batch.targets)
        for task, loss in zip(likelihood.tasks, losses, strict=True):
            if not isinstance(loss, Tensor) or loss.dim():
                what = (
                    f"a tensor of shape {tuple(loss.shape)}"
                    if isinstance(loss, Tensor)
                    else f"a {type(loss).__name__}"
                )
                raise ModelError(
                    f"The loss of task {task.name!r} is {what}; it must be a scalar tensor, e.g. a .mean()."
                )
        reached = [leaves_of(loss) for loss in losses]
    model.train(training)
    _check_hidden(model, likelihood, reached)
    if isinstance(model, Unshared):  # the heads a copy does not use are no mistake
        everything = set().union(*reached)
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and parameter in everything)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    owners = [frozenset(t for t, leaves in enumerate(reached) if p in leaves) for _, p in named]
    for (name, _), owner in zip(named, owners, strict=True):
        if not owner:
            raise ModelError(
                f"No task's loss reaches the model's parameter {name!r}; use it in an output, or freeze it with requires_grad_(False)."
            )
    if not named:
        raise ModelError(
            "The model has no trainable parameter; at least one must require a gradient."
        )
    tensors = [p for _, p in named]
    return Parameters(tensors, owners, last_shared_weight(tensors, owners, reached))


def check_outputs(outputs: object, batch: Split, tasks: Sequence[Task]) -> None:
    """Raise ``ModelError`` unless the outputs are ``{task: tensor}`` of the shapes the tasks need."""
    if not isinstance(outputs, dict):
        raise ModelError(
            f"The model returned a {type(outputs).__name__}; its forward must return {{task: tensor}}."
        )
    for task in tasks:
        if not task.has_target:
            continue
        if task.name not in outputs:
            raise ModelError(
                f"The model returned no output for task {task.name!r} (it returned {', '.join(map(str, outputs))})."
            )
        found, target = tuple(outputs[task.name].shape), tuple(batch.targets[task.name].shape)
        wanted = task.spec.output_shape(target, task)
        if found != wanted and task.loss_term is None:
            raise ModelError(
                f"Task {task.name!r}: the model's output has shape {found}, but its target of shape {target} needs {wanted}."
            )


def _check_hidden(
    model: nn.Module, likelihood: Likelihood, reached: list[dict[Tensor, int]]
) -> None:
    known = {*model.parameters(), *likelihood.parameters()}
    for task, leaves in zip(likelihood.tasks, reached, strict=True):
        hidden = [leaf for leaf in leaves if leaf not in known]
        if hidden:
            leaf = max(hidden, key=lambda tensor: tensor.dim())  # a weight says more than its bias
            raise ModelError(
                f"Task {task.name!r} uses a trainable tensor of shape {tuple(leaf.shape)} that is not among the model's parameters; "
                "keep it in an nn.Module attribute, nn.ModuleDict or nn.ModuleList, not in a plain dict or list."
            )


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return [d for d in {p.device for p in model.parameters()} if d.type == "cuda"]
