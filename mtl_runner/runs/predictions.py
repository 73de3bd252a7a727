"""predictions.csv: the judged model's answers, beside the targets and the noise it predicts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import DataError
from mtl_runner.experiment.forward import split_outputs_and_targets
from mtl_runner.files import write_atomic
from mtl_runner.runs.answers import SIGMA, Columns, sigma_tensor, suffixed
from mtl_runner.tasks.task import Task
from mtl_runner.train.trainer import Trainer


def write_predictions(trainer: Trainer) -> None:
    """Write ``predictions.csv`` for validation and test: a line per row of the split, in its order.

    Its columns are ``split``, what identifies the row (``row`` in the table, ``file``, columns such
    as ``customer_id``; or else ``row`` in the split), and for each task

    - ``<task>``: a number in the target's units, the name of a class, or 0 or 1 for a label;
    - ``<task>.target``: the target, empty where it is missing;
    - ``<task>.sigma``: the noise scale, where one is predicted, or learned as a noise scale.

    Tasks with several outputs have ``<task>.0``, or ``<task>.<label>``, ... instead.

    Args:
        trainer: A trained run; the file goes into its directory.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for split in ("val", "test"):
        columns = _row_ids(trainer, split) | _columns(trainer, split)
        if split == "val":
            writer.writerow(["split", *columns])
        writer.writerows([split, *cells] for cells in zip(*columns.values(), strict=True))
    if trainer.writes:
        write_atomic(trainer.directory / "predictions.csv", text.getvalue().encode())


def _row_ids(trainer: Trainer, name: str) -> Columns:
    """Return the columns that identify the rows of a split."""
    data = trainer.experiment.data
    rows = len(data.splits[name])
    if data.row_ids is None:
        return {"row": range(rows)}
    columns = {column: list(values) for column, values in data.row_ids(name).items()}
    for column, values in columns.items():
        if len(values) < rows:
            raise DataError(
                f"The dataset's row_ids({name!r}) gives {len(values)} values of {column!r} for {rows} rows; give one per row."
            )
    # A debug run keeps the first rows alone.
    return {column: values[:rows] for column, values in columns.items()}


def _columns(trainer: Trainer, name: str) -> Columns:
    """Return the columns of all tasks for one split, by their names."""
    split = trainer.experiment.data.splits[name]
    likelihood = trainer.learner.likelihood
    rows = trainer.evaluation_rows(name)
    outputs, targets = split_outputs_and_targets(trainer.forward_pass, split, rows)
    columns: Columns = {}
    at_best = trainer.best.noise_scales if trainer.judges_best else {}
    estimates_noise = trainer.sigma_estimates_noise()
    for task, learned, is_noise in zip(
        trainer.tasks, trainer.sigmas(), estimates_noise, strict=True
    ):
        if not task.has_target:
            continue
        noise = at_best.get(task.name, learned) if likelihood.has_noise or is_noise else None
        answers = _cells(task, task.answer(outputs[task.name]))
        columns |= answers | _target_cells(task, targets[task.name])
        sigma = sigma_tensor(task, outputs, likelihood, noise)
        if sigma is not None:
            columns |= suffixed(task, list(answers), SIGMA, sigma)
    return {name: _plain(values) for name, values in columns.items()}


def _cells(task: Task, answer: Tensor) -> Columns:
    """Return the columns of an answer; those of a task with places hold numbers."""
    if not task.places:
        columns: Columns = task.spec.columns(answer, task)
        return columns
    flat = answer.cpu().reshape(len(answer), -1)
    return {f"{task.name}.{i}": column for i, column in enumerate(flat.T.tolist())}


def _target_cells(task: Task, target: Tensor) -> Columns:
    """Return the columns of a target; unknown values are empty cells."""
    known = task.known(target)
    values = task.in_units(target)
    # A missing class has no name; whatever stands in its place is left out again.
    columns = _cells(task, torch.where(known, values, torch.zeros_like(values)))
    masks = known.cpu().reshape(len(known), -1).T.tolist()
    return {
        f"{name}.target": [cell if is_known else "" for cell, is_known in cells]
        for (name, column), mask in zip(columns.items(), masks, strict=True)
        for cells in [zip(column, mask, strict=True)]
    }


def _plain(values: Any) -> Sequence[Any]:
    """Return a column as a list of plain values."""
    plain: Sequence[Any] = values.tolist() if hasattr(values, "tolist") else values
    return plain
