"""The exact likelihood with a noise scale that the model predicts for every sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_runner.errors import ConfigError, ModelError
from mtl_runner.likelihood.base import Likelihood, Tensors
from mtl_runner.likelihood.homoscedastic import GAUSSIAN, LAPLACE, has_likelihood, initial
from mtl_runner.noise import is_numeric
from mtl_runner.task import MISSING_CLASS, Task, class_weight_tensor

FARTHEST = 20.0  # of a predicted log-variance from the trivial predictor's: exp stays finite


def scale_key(name: str) -> str:
    """Under which name a model's outputs hold the log-variances of a task."""
    return f"{name}/log_variance"


class Heteroscedastic(Likelihood):
    r"""Exact negative log-likelihood with a predicted noise scale (Kendall & Gal, NeurIPS 2017, eq. 8; per voxel: Bragman et al., MICCAI 2018).

    The model gets one further output per regression output (:math:`s(x) = \log\sigma^2(x)`, or :math:`\log b(x)` for L1), and one per sample for
    classification and multilabel, whose logits it divides by :math:`\sigma^2(x)`; see :class:`PredictsNoise`. The likelihoods are those of
    :class:`~mtl_runner.likelihood.Homoscedastic`, which this one equals where :math:`s(x)` is constant.

    Args:
        tasks: the tasks.
        beta: multiply each sample's negative log-likelihood by :math:`\mathrm{sg}[e^{\beta s(x)}]` (Seitzer et al., ICLR 2022, who
            recommend 0.5): at 0 hard samples are explained away as noise and never fitted, at 1 the mean is trained as by the
            standard loss. The logged ``nll`` is without it.
        reduce: ``sum`` or ``mean`` over a target's outputs.

    Raises ``ConfigError`` for an unknown ``reduce`` or a ``beta`` outside [0, 1].
    """

    has_noise = True
    predicts_noise = True

    def __init__(self, tasks: Sequence[Task], beta: float = 0.0, reduce: str = "sum") -> None:
        super().__init__(tasks)
        if reduce not in ("sum", "mean"):
            raise ConfigError(f"likelihood.reduce={reduce!r} is unknown; allowed: sum, mean.")
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta <= 1:
            raise ConfigError(f"likelihood.beta must lie in [0, 1]; found {beta!r}.")
        self.beta, self.reduce = float(beta), reduce

    def losses(self, outputs: Tensors, targets: Tensors) -> list[Tensor]:
        return [self._loss(task, outputs, targets, self.beta) for task in self.tasks]

    @torch.no_grad()
    def negative_log_likelihoods(self, outputs: Tensors, targets: Tensors) -> Tensor:
        return torch.stack([self._loss(task, outputs, targets, 0.0) for task in self.tasks])

    def _loss(self, task: Task, outputs: Tensors, targets: Tensors, beta: float) -> Tensor:
        if not has_likelihood(task):
            return task.loss(outputs, targets)
        output, s, target = outputs[task.name], outputs[scale_key(task.name)], targets[task.name]
        known = task.spec.known(target)
        errors = _entry_errors(task, output, s, target, known)
        if beta:
            factor = torch.exp(beta * s.detach())
            errors = errors * (factor.squeeze(1) if task.kind == "classification" else factor)
        mass = _mass(task, target, known, errors)
        total = torch.where(known, errors, 0.0).sum() if task.missing else errors.sum()
        if self.reduce == "mean":
            return total / mass
        rows = task.labelled(target).sum().clamp(min=1) if task.missing else len(target)
        entries = known.sum().clamp(min=1) if task.missing else target.numel()
        return total / mass * (entries / rows)

    def predicted_sigma(self, task: Task, outputs: Tensors) -> Tensor | None:
        """Standard deviation (Gaussian), scale b (Laplace) in the target's units, or the root of the temperature."""
        if not has_likelihood(task):
            return None
        s = outputs[scale_key(task.name)]
        unit = task.scale if task.kind.startswith("regression") else 1.0
        return unit * torch.exp(s if task.kind == "regression_l1" else s / 2)


def _entry_errors(task: Task, output: Tensor, s: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """The negative log-likelihood of every entry of the target; anything, but finite, where it is not known."""
    if task.kind == "classification":
        weights = class_weight_tensor(task, output)
        return F.cross_entropy(output, target, weights, reduction="none", ignore_index=MISSING_CLASS)
    # Replaced before the error is taken: NaN times a zero gradient would still be NaN.
    target = torch.where(known, target, output.detach()) if task.missing else target
    if task.kind == "regression":
        return 0.5 * torch.exp(-s) * (output - target).square() + 0.5 * s + GAUSSIAN
    if task.kind == "regression_l1":
        return torch.exp(-s) * (output - target).abs() + s + LAPLACE
    return F.binary_cross_entropy_with_logits(output, target, reduction="none")


def _mass(task: Task, target: Tensor, known: Tensor, errors: Tensor) -> Tensor | int:
    """What the mean over the entries divides by: their number, or the sum of their class weights."""
    weights = class_weight_tensor(task, errors)
    if weights is not None:
        mass = torch.where(known, weights[target.clamp(min=0)], 0.0).sum()
        return torch.where(mass > 0, mass, 1.0)
    return known.sum().clamp(min=1) if task.missing else errors.numel()


def widened(task: Task) -> Task:
    """The task as a model sees it that has to predict the noise as well: with the further outputs."""
    if not has_likelihood(task):
        return task
    return replace(task, size=2 * task.size if task.kind.startswith("regression") else task.size + 1)


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
        self, model: nn.Module, plain: nn.Module, tasks: Sequence[Task], trivial_losses: Sequence[float | None] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.sizes = {task.name: task.size for task in tasks if has_likelihood(task)}
        self.further = {task.name: widened(task).size - task.size for task in tasks if has_likelihood(task)}
        self.numeric = {task.name for task in tasks if is_numeric(task)}
        start = torch.tensor(initial(tasks, trivial_losses), dtype=torch.get_default_dtype())
        self.start: Tensor
        self.register_buffer("start", start)
        self.index = {task.name: i for i, task in enumerate(tasks)}
        _take_over(model, plain)

    def forward(self, inputs: object) -> dict[str, Tensor]:
        outputs = dict(self.model(inputs))
        for name, size in self.sizes.items():
            if name not in outputs:
                continue  # the check of the outputs words it
            both, wanted = outputs[name], size + self.further[name]
            if both.shape[1:2] != (wanted,):
                raise ModelError(
                    f"likelihood=heteroscedastic needs {wanted} outputs for task {name!r} ({size} answers, {self.further[name]} log-variances), "
                    f"but the model returned shape {tuple(both.shape)}; size its outputs by task.size."
                )
            answers, s = both.split([size, self.further[name]], dim=1)
            log_variance = self.start[self.index[name]] + s.clamp(-FARTHEST, FARTHEST)
            outputs[name] = answers if name in self.numeric else answers * torch.exp(-log_variance)
            outputs[scale_key(name)] = log_variance
        return outputs


@torch.no_grad()
def _take_over(model: nn.Module, plain: nn.Module) -> None:
    """The plain model's weights for everything that is no log-variance, and 0 for what is."""
    given = plain.state_dict()
    for name, tensor in model.state_dict().items():
        source = given.get(name)
        if source is None or source.shape[1:] != tensor.shape[1:] or source.dim() != tensor.dim():
            continue
        if source.shape == tensor.shape:
            tensor.copy_(source)
        elif len(source) < len(tensor):
            tensor.zero_()
            tensor[: len(source)] = source
