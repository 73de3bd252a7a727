"""predictions.csv: what the final model answers, beside the targets and the noise that it predicts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_runner.experiment.forward import split_outputs
from mtl_runner.files import write_atomic
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.task import Task
from mtl_runner.train.trainer import Trainer

Columns = dict[str, list[float] | list[int] | list[str]]


def write_predictions(trainer: Trainer) -> None:
    """Write ``predictions.csv`` for validation and test: one row per row of the split, in its order.

    Columns: ``split, row`` and for each task ``<task>`` (a number in the target's units, a class index, or a label's 0/1), ``<task>.target``
    (empty where missing), and ``<task>.sigma`` where a noise scale is learned or predicted that means one; tasks of several outputs have ``<task>.0``, ``<task>.1``, ...
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for split in ("val", "test"):
        columns = _columns(trainer, split)
        if split == "val":
            writer.writerow(["split", "row", *columns])
        writer.writerows(
            [split, row, *cells] for row, cells in enumerate(zip(*columns.values(), strict=True))
        )
    write_atomic(trainer.directory / "predictions.csv", text.getvalue().encode())


def _columns(trainer: Trainer, name: str) -> Columns:
    split = trainer.experiment.data.splits[name]
    likelihood = trainer.learner.likelihood
    outputs = split_outputs(trainer.learner.forward_pass, split, trainer.evaluation_rows(name))
    columns: Columns = {}
    meant = trainer.learner.likelihood.has_noise, trainer.sigma_estimates_noise()
    for task, learned, estimates in zip(trainer.tasks, trainer.sigmas(), meant[1], strict=True):
        sigma = learned if meant[0] or estimates else None
        if not task.has_target:
            continue
        answer, target = task.answer(outputs[task.name]), split.targets[task.name]
        target = task.in_units(target)
        columns |= _named(task, "", answer) | _named(task, ".target", target)
        columns |= _named(task, ".sigma", _sigma(task, likelihood, outputs, sigma, len(split)))
    return columns


def _sigma(
    task: Task,
    likelihood: Likelihood,
    outputs: Mapping[str, Tensor],
    sigma: float | None,
    rows: int,
) -> Tensor | None:
    predicted = likelihood.predicted_sigma(task, outputs)
    if predicted is not None:
        return predicted
    return None if sigma is None else torch.full((rows, 1), sigma)


def _named(task: Task, suffix: str, values: Tensor | None) -> Columns:
    """Columns of a tensor ``[N]`` or ``[N, ...]``; unknown values as empty cells."""
    if values is None:
        return {}
    flat = values.cpu().reshape(len(values), -1)
    known = task.known(flat) if suffix == ".target" else torch.ones_like(flat, dtype=torch.bool)
    cells = [
        [value if there else "" for value, there in zip(*pair, strict=True)]
        for pair in zip(flat.T.tolist(), known.T.tolist(), strict=True)
    ]
    names = [task.name] if len(cells) == 1 else [f"{task.name}.{i}" for i in range(len(cells))]
    return {f"{name}{suffix}": column for name, column in zip(names, cells, strict=True)}
