"""Find out which parameters belong to which tasks, by one batch through the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import InputTensors
from mtl_runner.errors import ModelError
from mtl_runner.errors.messages import place_of
from mtl_runner.experiment.forward import ForwardPass, Outputs
from mtl_runner.gradients.parameters import Parameters, last_shared_weights, leaves_of
from mtl_runner.gradients.representation import Returned, find_cut
from mtl_runner.likelihood import Likelihood
from mtl_runner.models.unshared import Unshared
from mtl_runner.tasks.task import Task


def find_parameters(model: nn.Module, likelihood: Likelihood, batch: Split) -> Parameters:
    """Run one batch and read off the graphs which parameters each task's loss reaches.

    The model runs in eval mode, and the random state is restored.

    Args:
        model: From inputs to ``{task: output}``.
        likelihood: From outputs and targets to losses.
        batch: A few rows of the training split, with the points of loss terms.

    Raises:
        ModelError: For outputs of the wrong form, a parameter that no loss reaches, or a trained
            tensor that the model hides from ``parameters()`` (in a plain dict or list).

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> from mtl_runner.models import MLP
        >>> tasks = [Task("a", size=1), Task("b", size=1)]
        >>> model = MLP(tasks, (3,), hidden=(4,))
        >>> batch = Split(torch.zeros(2, 3), {"a": torch.zeros(2, 1), "b": torch.zeros(2, 1)})
        >>> parameters = find_parameters(model, Standard(tasks), batch)
        >>> [sorted(owners) for owners in parameters.owners]
        [[0, 1], [0, 1], [0], [0], [1], [1]]
    """
    training = model.training
    model.eval()
    with torch.random.fork_rng(devices=_cuda_devices(model)), torch.enable_grad():
        forward = ForwardPass(model, likelihood)
        returned = Returned(list(model.modules()))
        try:
            outputs = _outputs(forward, batch)
        finally:
            modules = returned.by_place()
            returned.remove()
        check_outputs(outputs, batch, likelihood.tasks)
        losses = likelihood.losses({**outputs, **forward.term_losses(batch)}, batch.targets)
        for task, loss in zip(likelihood.tasks, losses, strict=True):
            if not isinstance(loss, Tensor) or loss.dim():
                description = (
                    f"a tensor of shape {tuple(loss.shape)}"
                    if isinstance(loss, Tensor)
                    else f"a {type(loss).__name__}"
                )
                raise ModelError(
                    f"The loss of task {task.name!r} is {description}; it must be a scalar tensor, e.g. a .mean()."
                )
            if not loss.requires_grad:
                raise ModelError(
                    f"The loss of task {task.name!r} depends on no trainable parameter, so there is nothing to train for it; does the model or the loss detach its output?"
                )
        leaves = [leaves_of(loss) for loss in losses]
    model.train(training)
    _check_hidden(model, likelihood, leaves)
    if isinstance(model, Unshared):  # the heads that a copy does not use are no mistake
        all_leaves = set().union(*leaves)
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and parameter in all_leaves)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    owners = [
        frozenset(t for t, task_leaves in enumerate(leaves) if p in task_leaves) for _, p in named
    ]
    for (name, _), tasks in zip(named, owners, strict=True):
        if not tasks:
            if any(map(_hides_parameters, losses)):
                raise ModelError(
                    f"The model's parameter {name!r} is not in the graph of any loss: torch.utils.checkpoint with use_reentrant=True hides what it runs; give it use_reentrant=False."
                )
            raise ModelError(
                f"No task's loss reaches the model's parameter {name!r}; use it in an output, or freeze it with requires_grad_(False)."
            )
    if not named:
        raise ModelError(
            "The model has no trainable parameter; at least one must require a gradient."
        )
    tensors = [p for _, p in named]
    of_likelihood: dict[Tensor, frozenset[int]] = {
        p: frozenset(t for t, task_leaves in enumerate(leaves) if p in task_leaves)
        for p in likelihood.parameters()
        if p.requires_grad
    }
    # The graph of a derivative ends where the model begins, so terms are taken for its outputs.
    everything = torch.stack([output.sum() for output in outputs.values()]).sum()
    ends = [
        everything if task.sees_model else loss
        for task, loss in zip(likelihood.tasks, losses, strict=True)
    ]
    return Parameters(
        tensors,
        owners,
        last_shared_weights(tensors, owners, ends),
        of_likelihood,
        cut=find_cut(
            ends,
            {p: name for (name, p), tasks in zip(named, owners, strict=True) if len(tasks) > 1},
            [task.name for task in likelihood.tasks],
            modules,
        ),
        names=[name for name, _ in named],
    )


def _hides_parameters(loss: Tensor) -> bool:
    """Return whether a part of a graph is made only in the backward pass (reentrant checkpoint)."""
    seen, stack = set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if node.name() == "CheckpointFunctionBackward":
                return True
            stack += [next_node for next_node, _ in node.next_functions]
    return False


def _outputs(forward: ForwardPass, batch: Split) -> Outputs:
    """Return what the model makes of a batch; say so if it cannot take inputs of that type."""
    try:
        return forward.outputs(batch.inputs)
    except RuntimeError as error:
        inputs = InputTensors(batch.inputs).tensors.values()
        if any(tensor.dim() == 1 for tensor in inputs) and "shape" in str(error):
            raise ModelError(
                f"The model cannot take inputs of one number per sample without a dimension of their own ({str(error).splitlines()[0]}); give the dataset's inputs as [N, 1], e.g. x.unsqueeze(1)."
            ) from error
        types = {str(t.dtype).removeprefix("torch.") for t in inputs if not t.is_floating_point()}
        if types and "dtype" in str(error):
            raise ModelError(
                f"The model cannot take inputs of {', '.join(sorted(types))} ({str(error).splitlines()[0]}); give the dataset's inputs as floats, e.g. x.float()."
            ) from error
        if "shape" in str(error) or "size" in str(error):
            shapes = " and ".join(str(list(tensor.shape[1:])) for tensor in inputs)
            raise ModelError(
                f"The model fails on inputs of shape {shapes} per sample: {str(error).splitlines()[0]} (raised in {place_of(error)}); its layers must fit the inputs and each other."
            ) from error
        raise


def check_outputs(outputs: object, batch: Split, tasks: Sequence[Task]) -> None:
    """Check that the outputs are ``{task: tensor}`` of the shapes that the tasks need.

    Args:
        outputs: What the model returned.
        batch: The batch that it was given.
        tasks: The tasks; those without a target need no output.

    Raises:
        ModelError: If they are not, with the shape that was found and the one that is needed.
    """
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
        output = outputs[task.name]
        if not isinstance(output, Tensor) or not output.is_floating_point():
            description = (
                f"a tensor of {str(output.dtype).removeprefix('torch.')}"
                if isinstance(output, Tensor)
                else f"a {type(output).__name__}"
            )
            raise ModelError(
                f"Task {task.name!r}: the model's output is {description}; it must be a tensor of floating-point numbers."
            )
        shape, target = tuple(outputs[task.name].shape), tuple(batch.targets[task.name].shape)
        needed = task.spec.output_shape(target, task)
        if shape != needed and task.loss_term is None:
            raise ModelError(
                f"Task {task.name!r}: the model's output has shape {shape}, but its target of shape {target} needs {needed}."
            )


def _check_hidden(
    model: nn.Module, likelihood: Likelihood, leaves: list[dict[Tensor, int]]
) -> None:
    known = {*model.parameters(), *likelihood.parameters()}
    for task, task_leaves in zip(likelihood.tasks, leaves, strict=True):
        hidden = [leaf for leaf in task_leaves if leaf not in known]
        if hidden:
            leaf = max(hidden, key=lambda tensor: tensor.dim())  # a weight says more than its bias
            raise ModelError(
                f"Task {task.name!r} uses a trainable tensor of shape {tuple(leaf.shape)} that is not among the model's parameters; "
                "keep it in an nn.Module attribute, nn.ModuleDict or nn.ModuleList, not in a plain dict or list."
            )


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return [d for d in {p.device for p in model.parameters()} if d.type == "cuda"]
