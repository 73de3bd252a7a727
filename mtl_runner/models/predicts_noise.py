"""A model that predicts, beside its answers, how noisy they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mtl_runner.errors import ModelError
from mtl_runner.tasks.noise import initial
from mtl_runner.tasks.task import Task, log_variance_key

FARTHEST = 20.0  # of a predicted log-variance from the trivial predictor's: exp stays finite


def widened(task: Task) -> Task:
    """The task as a model sees it that has to predict the noise as well: with the further outputs."""
    return (
        replace(task, size=task.size + task.spec.noise_outputs(task.size))
        if task.has_likelihood
        else task
    )


class PredictsNoise(nn.Module):
    """Splits the outputs of a model that was made for :func:`widened` tasks: answers first, then the log-variances.

    Logits are divided by their predicted temperature here, so that they predict what the likelihood says.

    The answers start with the weights of the plain model, the log-variances at the trivial predictor's noise: a constant.

    Args:
        model: made for the widened tasks. plain: the same model made for the tasks themselves, whose weights the answers take
            over. tasks: the tasks themselves. trivial_losses: of the trivial predictor, per task.

    Shape: inputs -> ``{task: [N, size, ...], "task/log_variance": [N, size or 1, ...]}``. Raises ``ModelError`` for a model whose outputs
    do not follow the size of the tasks.
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
            task.name: widened(task).size - task.size for task in tasks if task.has_likelihood
        }
        self.numeric = {task.name for task in tasks if task.has_noise_scale}
        start = torch.tensor(initial(tasks, trivial_losses), dtype=torch.get_default_dtype())
        self.start: Tensor
        self.register_buffer("start", start)
        self.index = {task.name: i for i, task in enumerate(tasks)}
        _take_over(
            model,
            plain,
            [task.size for task in tasks if task.has_target],
            [widened(t).size for t in tasks if t.has_target],
        )

    def forward(self, inputs: object) -> dict[str, Tensor]:
        outputs = dict(self.model(inputs))
        for name, size in self.sizes.items():
            if name not in outputs:
                continue  # the check of the outputs words it
            both, wanted = outputs[name], size + self.noise_sizes[name]
            if both.shape[1:2] != (wanted,):
                raise ModelError(
                    f"likelihood=heteroscedastic needs {wanted} outputs for task {name!r} ({size} answers, {self.noise_sizes[name]} log-variances), "
                    f"but the model returned shape {tuple(both.shape)}; size its outputs by task.size."
                )
            answers, s = both.split([size, self.noise_sizes[name]], dim=1)
            log_variance = self.start[self.index[name]] + s.clamp(-FARTHEST, FARTHEST)
            outputs[name] = answers if name in self.numeric else answers * torch.exp(-log_variance)
            outputs[log_variance_key(name)] = log_variance
        return outputs


@torch.no_grad()
def _take_over(
    model: nn.Module, plain: nn.Module, sizes: Sequence[int], wide: Sequence[int]
) -> None:
    """The plain model's weights for everything that is no log-variance, and 0 for what is.

    A layer that is wider in one model than in the other is a last layer: a task's own, or, if its rows are those of all tasks one
    after another, the last layer of all.
    """
    given = plain.state_dict()
    for name, tensor in model.state_dict().items():
        source = given.get(name)
        if source is None or source.shape[1:] != tensor.shape[1:] or source.dim() != tensor.dim():
            continue
        if source.shape == tensor.shape:
            tensor.copy_(source)
        elif len(source) < len(tensor):
            tensor.zero_()
            together = (len(source), len(tensor)) == (sum(sizes), sum(wide))
            parts = source.split(list(sizes)) if together else (source,)
            starts = [sum(wide[:i]) for i in range(len(wide))] if together else [0]
            for start, part in zip(starts, parts, strict=True):
                tensor[start : start + len(part)] = part
