"""A model that predicts, beside its answers, how noisy they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mtl_runner.errors import ModelError
from mtl_runner.tasks.noise import initial_log_variances
from mtl_runner.tasks.task import Task, log_variance_key

# How far a predicted log-variance may lie from the trivial predictor's, so that exp stays finite.
FARTHEST = 20.0


def with_noise_outputs(task: Task) -> Task:
    """Return the task with as many outputs more as it takes to predict its noise.

    A model made for such tasks predicts answers first, then log-variances.

    Example:
        >>> from mtl_runner import Task
        >>> from mtl_runner.models.predicts_noise import with_noise_outputs
        >>> with_noise_outputs(Task("depth", "regression", size=2)).size
        4
    """
    return (
        replace(task, size=task.size + task.spec.noise_outputs(task.size))
        if task.has_likelihood
        else task
    )


class PredictsNoise(nn.Module):
    """Splits the outputs of a model made for :func:`with_noise_outputs` tasks.

    The answers come first, then the log-variances. Logits are divided by their predicted
    temperature here, so that they predict what the likelihood says. The answers start with the
    weights of the plain model, the log-variances at the trivial predictor's noise, a constant.

    Args:
        model: The model, made for the tasks with their noise outputs.
        plain: The same model made for the tasks themselves; the answers take over its weights.
        tasks: The tasks themselves.
        trivial_losses: Loss of the trivial predictor, one per task, or None where there is none.

    Shape:
        Inputs of the model, outputs ``{task: [N, size, ...]}`` and
        ``{"task/log_variance": [N, size or 1, ...]}``.

    Raises:
        ModelError: In the forward pass, if the model's outputs do not follow the size of the tasks.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import MLP, PredictsNoise
        >>> tasks = [Task("depth", "regression", size=1)]
        >>> wide, plain = MLP([with_noise_outputs(t) for t in tasks], (3,)), MLP(tasks, (3,))
        >>> outputs = PredictsNoise(wide, plain, tasks, trivial_losses=[1.0])(torch.zeros(4, 3))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'depth': (4, 1), 'depth/log_variance': (4, 1)}
    """

    def __init__(
        self,
        model: nn.Module,
        plain: nn.Module,
        tasks: Sequence[Task],
        trivial_losses: Sequence[float | None] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.sizes = {task.name: task.size for task in tasks if task.has_likelihood}
        self.noise_sizes = {
            task.name: with_noise_outputs(task).size - task.size
            for task in tasks
            if task.has_likelihood
        }
        self.numeric = {task.name for task in tasks if task.has_noise_scale}
        self.start: Tensor
        start = initial_log_variances(tasks, trivial_losses)
        self.register_buffer("start", torch.tensor(start, dtype=torch.get_default_dtype()))
        self.index = {task.name: i for i, task in enumerate(tasks)}
        _copy_weights(
            model,
            plain,
            wide_sizes=[with_noise_outputs(task).size for task in tasks if task.has_target],
            plain_sizes=[task.size for task in tasks if task.has_target],
        )

    def forward(self, inputs: object) -> dict[str, Tensor]:
        """Return the answers and the log-variances of each task that has a likelihood."""
        outputs = dict(self.model(inputs))
        for name, size in self.sizes.items():
            if name not in outputs:
                continue  # the check of the outputs says so
            noise_size = self.noise_sizes[name]
            if outputs[name].shape[1:2] != (size + noise_size,):
                raise ModelError(
                    f"likelihood=heteroscedastic needs {size + noise_size} outputs for task {name!r} ({size} answers, {noise_size} log-variances), "
                    f"but the model returned shape {tuple(outputs[name].shape)}; size its outputs by task.size."
                )
            answers, offset = outputs[name].split([size, noise_size], dim=1)
            log_variance = self.start[self.index[name]] + offset.clamp(-FARTHEST, FARTHEST)
            outputs[name] = answers if name in self.numeric else answers * torch.exp(-log_variance)
            outputs[log_variance_key(name)] = log_variance
        return outputs


@torch.no_grad()
def _copy_weights(
    model: nn.Module, plain: nn.Module, wide_sizes: Sequence[int], plain_sizes: Sequence[int]
) -> None:
    """Copy the plain model's weights to the answers of the wide one, and 0 to its log-variances.

    A layer that is wider in one model than in the other is a last layer: that of one task, or, if
    its rows are those of all tasks one after another, the last layer of all.
    """
    plain_state = plain.state_dict()
    for name, tensor in model.state_dict().items():
        source = plain_state.get(name)
        if source is None or source.shape[1:] != tensor.shape[1:] or source.dim() != tensor.dim():
            continue
        if source.shape == tensor.shape:
            tensor.copy_(source)
        elif len(source) < len(tensor):
            tensor.zero_()
            of_all_tasks = (len(source), len(tensor)) == (sum(plain_sizes), sum(wide_sizes))
            parts = source.split(list(plain_sizes)) if of_all_tasks else (source,)
            starts = [sum(wide_sizes[:i]) for i in range(len(wide_sizes))] if of_all_tasks else [0]
            for start, part in zip(starts, parts, strict=True):
                tensor[start : start + len(part)] = part
