"""predictions.csv: the judged model's answers, beside the targets and the noise it predicts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_runner.experiment.forward import split_outputs_and_targets
from mtl_runner.files import write_atomic
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.task import Task
from mtl_runner.train.trainer import Trainer

Columns = dict[str, list[float] | list[int] | list[str]]


def write_predictions(trainer: Trainer) -> None:
    """Write ``predictions.csv`` for validation and test: a line per row of the split, in its order.

    Its columns are ``split``, ``row`` and for each task

    - ``<task>``: a number in the target's units, a class index, or 0 or 1 for a label;
    - ``<task>.target``: the target, empty where it is missing;
    - ``<task>.sigma``: the noise scale, where one is predicted, or learned as a noise scale.

    Tasks with several outputs have ``<task>.0``, ``<task>.1``, ... instead.

    Args:
        trainer: A trained run; the file goes into its directory.
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
    if trainer.writes:
        write_atomic(trainer.directory / "predictions.csv", text.getvalue().encode())


def _columns(trainer: Trainer, name: str) -> Columns:
    """Return the columns of all tasks for one split, by their names."""
    split = trainer.experiment.data.splits[name]
    likelihood = trainer.learner.likelihood
    rows = trainer.evaluation_rows(name)
    outputs, targets = split_outputs_and_targets(trainer.forward_pass, split, rows)
    columns: Columns = {}
    estimates_noise = trainer.sigma_estimates_noise()
    for task, learned, is_noise in zip(
        trainer.tasks, trainer.sigmas(), estimates_noise, strict=True
    ):
        sigma = learned if likelihood.has_noise or is_noise else None
        if not task.has_target:
            continue
        answer = task.answer(outputs[task.name])
        target = task.in_units(targets[task.name])
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
    """Return the predicted noise scale of every row, or else the learned one, ``[N, ...]``."""
    predicted = likelihood.predicted_sigma(task, outputs)
    if predicted is not None:
        return predicted
    return None if sigma is None else torch.full((rows, 1), sigma)


def _named(task: Task, suffix: str, values: Tensor | None) -> Columns:
    """Return the columns of a tensor ``[N]`` or ``[N, ...]``; unknown values are empty cells."""
    if values is None:
        return {}
    flat = values.cpu().reshape(len(values), -1)
    known = task.known(flat) if suffix == ".target" else torch.ones_like(flat, dtype=torch.bool)
    cells = [
        [value if is_known else "" for value, is_known in zip(*column, strict=True)]
        for column in zip(flat.T.tolist(), known.T.tolist(), strict=True)
    ]
    names = [task.name] if len(cells) == 1 else [f"{task.name}.{i}" for i in range(len(cells))]
    return {f"{name}{suffix}": column for name, column in zip(names, cells, strict=True)}
