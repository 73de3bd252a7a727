"""How far the tasks' gradients of a trained model interfere, on some rows of validation."""

from __future__ import annotations

import itertools
import logging
import math

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.errors.messages import run_message
from mtl_runner.experiment.forward import RandomState
from mtl_runner.experiment.term_points import points_for_evaluation
from mtl_runner.gradients import door
from mtl_runner.gradients.door import Lane
from mtl_runner.gradients.layout import as_row
from mtl_runner.gradients.parameters import trained_now
from mtl_runner.train.trainer import Trainer

log = logging.getLogger("mtl_runner")

NAMES = ("cosine", "cosine_orthogonal", "norm_ratio", "condition")
BATCHES = 8  # of data.batch_size rows each


def measure_interference(trainer: Trainer) -> dict[str, float]:
    """Return how far the tasks' gradients of the judged model interfere.

    They are the gradients of the unweighted losses with respect to the parameters that all tasks
    share, on the first ``BATCHES`` batches of validation, in evaluation mode. Neither parameters
    nor random states change.

    Args:
        trainer: A trained run.

    Returns:
        The numbers of :func:`interference` and ``rows``, the number of rows that were looked at.
        Empty without two tasks and a parameter that they share, and with a model that is shared out
        among processes. Where the gradients cannot be taken, a warning says why.
    """
    experiment, tasks = trainer.experiment, trainer.tasks
    if len(tasks) < 2 or experiment.parameters.shards is not None:
        return {}
    everybody = frozenset(range(len(tasks)))
    owners = experiment.parameters.all_owners
    shared = [p for p in trained_now(experiment.parameters.shared) if owners[p] == everybody]
    if not shared:
        return {}
    try:
        with trainer.judged(), RandomState(experiment.device).again():
            gradients, rows = _gradients(trainer, shared)
        return {**interference(gradients), "rows": rows}
    except Exception as error:
        log.warning("The run is complete, but not its record.interference: %s", run_message(error))
        return {}


def interference(gradients: Tensor) -> dict[str, float]:
    r"""Return how far some gradients interfere.

    Args:
        gradients: One per task, ``[T, P]``. Those of norm 0 have no direction and are left out.

    Returns:
        ``cosine``: the mean cosine of a gradient to the mean of all; 1 where all agree.
        ``cosine_orthogonal``: what that would be for orthogonal gradients of the same norms,
        :math:`\sum_t n_t / (T \sqrt{\sum_t n_t^2})`; where they conflict it is less.
        ``norm_ratio``: the largest norm over the smallest. ``condition``: the condition number of
        the Gramian of the gradients at norm 1; 1 where they are orthogonal, infinite where it is
        beyond the rounding of float32. All are NaN with fewer than two gradients.

    Example:
        >>> values = interference(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        >>> {name: round(value, 3) for name, value in values.items()}
        {'cosine': 0.671, 'cosine_orthogonal': 0.671, 'norm_ratio': 2.0, 'condition': 1.0}
    """
    gradients = gradients.double()
    norms = gradients.norm(dim=1)
    gradients, norms = gradients[norms > 0], norms[norms > 0]
    if len(gradients) < 2:
        return dict.fromkeys(NAMES, math.nan)
    directions = gradients / norms[:, None]
    mean = gradients.mean(0)
    cosine = (directions @ mean / mean.norm()).mean()
    eigenvalues = torch.linalg.eigvalsh(directions @ directions.T)
    least, most = float(eigenvalues[0]), float(eigenvalues[-1])
    is_singular = least <= most * len(directions) * torch.finfo(torch.float32).eps ** 2
    numbers = (
        float(cosine),
        float(norms.mean() / norms.norm()),
        float(norms.max() / norms.min()),
        math.inf if is_singular else most / least,
    )
    return dict(zip(NAMES, numbers, strict=True))


def _gradients(trainer: Trainer, shared: list[torch.nn.Parameter]) -> tuple[Tensor, int]:
    """Return the gradient of every task's loss on the rows, ``[T, P]``, and their number."""
    tasks, forward = trainer.tasks, trainer.forward_pass
    split = trainer.experiment.data.splits["val"]
    points = points_for_evaluation(forward.model_terms, forward.device)
    lanes = [Lane((t,), shared) for t in range(len(tasks))]
    sums, weights = torch.zeros(2, len(tasks), device=forward.device).unbind()
    sums, rows = sums[:, None], 0
    with forward.evaluating(), torch.enable_grad():
        for batch in itertools.islice(split.batches(trainer.settings.batch_size), BATCHES):
            # A batch counts by its labels, so that the sum is the gradient of the rows' mean loss.
            counts = torch.stack(
                [
                    task.loss_denominator(batch.targets[task.name]).cpu()
                    if task.has_target
                    else torch.tensor(float(len(batch)), dtype=torch.float64)
                    for task in tasks
                ]
            ).to(forward.device, torch.float32)
            losses = forward.of_rows(Split(batch.inputs, batch.targets, points=points)).losses
            taken = list(door.of(losses, lanes, keep=True))
            jacobian = torch.stack([as_row(gradients, shared).float() for gradients in taken])
            labelled = torch.where(counts[:, None] > 0, counts[:, None] * jacobian, 0.0)
            sums, weights, rows = sums + labelled, weights + counts, rows + len(batch)
    return sums / torch.where(weights > 0, weights, 1.0)[:, None], rows
