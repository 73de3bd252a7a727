"""Which parameters belong to which tasks, read off the autograd graph, never from a naming scheme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ModelError
from mtl_runner.likelihood import Likelihood
from mtl_runner.models.unshared import Unshared
from mtl_runner.tasks.task import Task


@dataclass(frozen=True)
class Parameters:
    """The model's trainable parameters and, for each, the indices of the tasks whose loss reaches it."""

    tensors: list[nn.Parameter]
    owners: list[frozenset[int]]
    last_shared: nn.Parameter | None = None  # of the weights (two or more dimensions) that most tasks share, the one used last

    @classmethod
    def from_losses(cls, model: nn.Module, losses: Sequence[Tensor]) -> Parameters:
        """Read off the graphs of losses that are about to be trained: for updates in a loop of your own."""
        if isinstance(losses, Tensor):
            raise ModelError(
                "Give the losses as a list of scalars, one per task: every element of a stacked tensor reaches every parameter."
            )
        reached = [_leaves(loss) for loss in losses]
        tensors = [p for p in model.parameters() if p.requires_grad and any(p in leaves for leaves in reached)]
        owners = [frozenset(t for t, leaves in enumerate(reached) if p in leaves) for p in tensors]
        return cls(tensors, owners, _last_shared(tensors, owners, reached))

    def of(self, tasks: frozenset[int]) -> list[nn.Parameter]:
        """The parameters that any of these tasks reaches, in the model's order."""
        return [p for p, owner in zip(self.tensors, self.owners, strict=True) if owner & tasks]

    def idle(self, active: frozenset[int]) -> list[nn.Parameter]:
        """The parameters that none of the active tasks reaches."""
        return [p for p, owner in zip(self.tensors, self.owners, strict=True) if not owner & active]

    @property
    def shared(self) -> list[nn.Parameter]:
        """The parameters reached by two or more tasks."""
        return [p for p, owner in zip(self.tensors, self.owners, strict=True) if len(owner) > 1]

    def norms(self, losses: Sequence[Tensor], tasks: Sequence[int]) -> Tensor:
        """The norm of each loss's gradient at ``last_shared``, ``[T]``, 0 for other tasks. The graph is kept."""
        norms = losses[0].detach().new_zeros(len(losses))
        if self.last_shared is None:
            return norms
        for t in tasks:
            (gradient,) = torch.autograd.grad(losses[t], [self.last_shared], retain_graph=True, allow_unused=True)
            if gradient is not None:
                norms[t] = gradient.norm()
        return norms


def find_parameters(model: nn.Module, likelihood: Likelihood, batch: Split) -> Parameters:
    """Run one batch (in eval mode, random state restored) and see which parameters each task's loss reaches.

    Raises ``ModelError`` for outputs of the wrong form, a parameter that no loss reaches, or a trained tensor that the model
    hides from ``parameters()`` (in a plain dict or list).
    """
    training = model.training
    model.eval()
    with torch.random.fork_rng(devices=_cuda_devices(model)), torch.enable_grad():
        outputs = model(batch.inputs)
        check_outputs(outputs, batch, likelihood.tasks)
        losses = likelihood.losses(outputs, batch.targets)
        for task, loss in zip(likelihood.tasks, losses, strict=True):
            if not isinstance(loss, Tensor) or loss.dim():
                what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
                raise ModelError(f"The loss of task {task.name!r} is {what}; it must be a scalar tensor, e.g. a .mean().")
        reached = [_leaves(loss) for loss in losses]
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
        raise ModelError("The model has no trainable parameter; at least one must require a gradient.")
    tensors = [p for _, p in named]
    return Parameters(tensors, owners, _last_shared(tensors, owners, reached))


def check_outputs(outputs: object, batch: Split, tasks: Sequence[Task]) -> None:
    """Raise ``ModelError`` unless the outputs are ``{task: tensor}`` of the shapes the tasks need."""
    if not isinstance(outputs, dict):
        raise ModelError(f"The model returned a {type(outputs).__name__}; its forward must return {{task: tensor}}.")
    for task in tasks:
        if not task.has_target:
            continue
        if task.name not in outputs:
            raise ModelError(
                f"The model returned no output for task {task.name!r} (it returned {', '.join(map(str, outputs))})."
            )
        found, target = tuple(outputs[task.name].shape), tuple(batch.targets[task.name].shape)
        wanted = (target[0], task.size, *target[1:]) if task.kind == "classification" else target
        if found != wanted and task.loss_term is None:
            raise ModelError(
                f"Task {task.name!r}: the model's output has shape {found}, but its target of shape {target} needs {wanted}."
            )


def _leaves(loss: Tensor) -> dict[Tensor, int]:
    """The leaf tensors that a backward pass from the loss would reach, and when the forward pass last used each."""
    found: dict[Tensor, int] = {}
    seen = set()
    stack = [loss.grad_fn] if loss.grad_fn is not None else []
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for following, _ in node.next_functions:
            if following is None:
                continue
            if hasattr(following, "variable"):
                found[following.variable] = max(found.get(following.variable, -1), node._sequence_nr())
            stack.append(following)
    return found


def _last_shared(
    tensors: Sequence[nn.Parameter], owners: Sequence[frozenset[int]], reached: Sequence[dict[Tensor, int]]
) -> nn.Parameter | None:
    most = max((len(owner) for owner in owners), default=0)  # not a layer of two tasks where another one serves all
    weights = [p for p, owner in zip(tensors, owners, strict=True) if len(owner) == most > 1 and p.dim() > 1]
    return max(weights, key=lambda p: max(leaves.get(p, -1) for leaves in reached), default=None)


def _check_hidden(model: nn.Module, likelihood: Likelihood, reached: list[dict[Tensor, int]]) -> None:
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
