"""An evaluation of somebody's own loop: measured from outputs and targets, or given as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mtl_runner.data.prepare import with_trivial
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.experiment.dataset import CONSTANT
from mtl_runner.likelihood import Standard
from mtl_runner.runs.recorded_steps import TaskNumbers, vector
from mtl_runner.tasks.task import Task
from mtl_runner.train.evaluation import (
    Evaluation,
    Evaluator,
    MeasuredBatches,
    Measurements,
    make_evaluation,
)


class RecordedEvaluation:
    """Collects what is logged of one evaluation on one split.

    Args:
        tasks: The tasks.

    Example:
        >>> recorded = RecordedEvaluation([Task("depth", metrics=("mae",), trivial=(0.0,))])
        >>> outputs, targets = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0])
        >>> recorded.add(None, None, {"depth": outputs}, {"depth": targets})
        >>> recorded.evaluation().values
        {'depth': {'loss': 1.0, 'mae': 1.0, 'relative_loss': 0.1}}
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = list(tasks)
        self.measured: MeasuredBatches | None = None
        self.trivial: MeasuredBatches | None = None
        self.values: dict[str, dict[str, float]] = {}

    @staticmethod
    def with_trivial(task: Task, targets: Mapping[str, Tensor]) -> Task:
        """Return a task with its trivial predictor.

        Args:
            task: The task.
            targets: The training targets of all tasks, in training units.

        Raises:
            ConfigError: If the task's are not among them.
            DataError: If they do not fit the kind of the task.
        """
        if not task.has_target:
            return task
        target = _clean(task, targets, "in targets")
        size = task.spec.size({"train": target}, task)
        return with_trivial(replace(task, size=size, places=task.spec.places(target)), target)

    def add(
        self,
        losses: TaskNumbers | None,
        metrics: Mapping[str, Mapping[str, Any]] | None,
        outputs: Mapping[str, Tensor] | None,
        targets: Mapping[str, Tensor] | None,
    ) -> None:
        """Take the outputs and targets of a batch, or the numbers of the evaluation.

        Args:
            losses: The losses.
            metrics: The metrics by task.
            outputs: The outputs of a batch by task.
            targets: Its targets by task.

        Raises:
            ConfigError: If neither is complete, or a metric is unknown.
            DataError: If a target does not fit the kind of its task.
        """
        if outputs is not None and targets is not None:
            self._measure(outputs, targets)
        elif losses is not None:
            names = [task.name for task in self.tasks]
            for name, loss in zip(names, vector(losses, names, "loss").tolist(), strict=True):
                self.values.setdefault(name, {})["loss"] = loss
        elif metrics is None:
            raise ConfigError(
                "An evaluation needs outputs=... and targets=..., or losses=... and perhaps metrics=..., each by the names of the tasks."
            )
        known = {task.name: (*task.metric_names, "relative_loss") for task in self.tasks}
        for name, row in (metrics or {}).items():
            if name not in known:
                raise ConfigError(f"There is no task {name!r}; {suggest(str(name), known)}.")
            for metric, value in row.items():
                if metric not in known[name]:
                    raise ConfigError(
                        f"Task {name!r} has no metric {metric!r}; {suggest(metric, known[name])}."
                    )
                self.values.setdefault(name, {})[metric] = float(value)

    @torch.no_grad()
    def _measure(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        """Measure a batch, and the trivial predictor on it."""
        clean: dict[str, Tensor] = {}
        answers: dict[str, Tensor] = {}
        for task in self.tasks:
            if task.has_target:
                if task.name not in outputs:
                    raise ConfigError(
                        f"Task {task.name!r} has no output; {suggest(task.name, outputs)}."
                    )
                output = outputs[task.name].detach()
                # Like our own models' outputs: [N] against [N, 1] would broadcast.
                answers[task.name] = output.unsqueeze(1) if output.dim() == 1 else output
                clean[task.name] = _clean(task, targets, "in the evaluation")
        if self.measured is None:
            self.measured = MeasuredBatches(Evaluator(self.tasks, Standard(self.tasks)))
            with_one = [task for task in self.tasks if task.trivial and task.loss_term is None]
            self.trivial = MeasuredBatches(
                Evaluator(
                    [replace(t, metrics=tuple(t.all_metrics[:1])) for t in with_one],
                    Standard(with_one),
                )
            )
        self.measured.add({**outputs, **answers}, {**targets, **clean})
        assert self.trivial is not None
        constant = {
            task.name: task.trivial_output(clean[task.name])
            for task in self.trivial.evaluator.tasks
        }
        if constant:
            self.trivial.add(constant, clean)

    def evaluation(self) -> Evaluation:
        """Return the evaluation.

        Raises:
            ConfigError: If a task has no loss, or its main metric is missing.
        """
        values = {task.name: dict(self.values.get(task.name, {})) for task in self.tasks}
        if self.measured is not None and self.trivial is not None:
            losses: Measurements = self.trivial.compute() if self.trivial.sums else {}
            constants = [
                float(losses.get((task.name, "loss"), torch.tensor(0.0))) for task in self.tasks
            ]
            measured = self.measured.compute()
            evaluation = make_evaluation(
                list(measured),
                [float(value) for value in measured.values()],
                [loss if loss > CONSTANT else None for loss in constants],
            )
            values = {name: {**row, **values[name]} for name, row in evaluation.values.items()}
        for task in self.tasks:
            # Comparisons rest on both.
            for column, option in (("loss", "losses"), (task.main_metric, "metrics")):
                if column not in values[task.name]:
                    raise ConfigError(
                        f"The evaluation has no {column} of task {task.name!r}; log {option}=..., or outputs=... and targets=...."
                    )
        return Evaluation(values)


def _clean(task: Task, targets: Mapping[str, Tensor], place: str) -> Tensor:
    """Return the target of a task in the form that its kind relies on.

    Raises:
        ConfigError: If there is none.
        DataError: If a value cannot be a label.
    """
    if task.name not in targets:
        raise ConfigError(f"Task {task.name!r} has no target; {suggest(task.name, targets)}.")
    try:
        return task.spec.clean(targets[task.name].detach(), None, place)
    except DataError as error:
        raise DataError(f"Task {task.name!r} {error}.") from None
