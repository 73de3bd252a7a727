"""``trainer.monitor``: the one number that judges a run."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.tasks.task import Task
from mtl_runner.train.evaluation import Evaluation


@dataclass(frozen=True)
class Monitor:
    """The number that judges a run, turned so that less is better.

    Attributes:
        task: Name of the task whose column it is; None for the mean over all tasks.
        column: ``relative_loss``, ``loss`` or a metric.
        higher_is_better: Whether a higher number in the column is better.

    Example:
        >>> tasks = [Task("label", "classification", size=3)]
        >>> evaluation = Evaluation({"label": {"loss": 0.5, "accuracy": 0.9}})
        >>> Monitor.parse("label.accuracy", tasks).value(evaluation)
        -0.9
        >>> Monitor.parse("label.accuracy", tasks).text(-0.9)
        'label.accuracy 0.9'
    """

    task: str | None
    column: str
    higher_is_better: bool = False

    @classmethod
    def parse(cls, text: str, tasks: Sequence[Task]) -> Monitor:
        """Return the monitor that a config names.

        Args:
            text: ``"relative_loss"``, or ``"<task>.<metric>"``.
            tasks: The tasks.

        Raises:
            ConfigError: If there is no such column, or its metric has no direction.
        """
        if text == "relative_loss":
            return cls(None, text)
        for task in tasks:
            column = text.removeprefix(f"{task.name}.")
            if column != text and column in task.directions:
                direction = task.directions[column]
                if direction is None:
                    raise ConfigError(
                        f"trainer.monitor={text!r}: nobody says whether a higher {column} is better; set the attribute "
                        f"`higher_is_better` of the callable that measures it to True or False."
                    )
                return cls(task.name, column, direction)
        raise ConfigError(f"trainer.monitor={text!r} is unknown; {_nearest(text, tasks)}.")

    @property
    def name(self) -> str:
        """The monitor as a config names it."""
        return f"{self.task}.{self.column}" if self.task else self.column

    def as_recorded(self, value: float) -> float:
        """Return a value with the sign of its metric, as a person reads it.

        Args:
            value: The number that :meth:`value` returned.
        """
        return -value if self.higher_is_better else value

    def text(self, value: float) -> str:
        """Return the name and a value as a person reads them.

        Args:
            value: The number that :meth:`value` returned.
        """
        return f"{self.name} {self.as_recorded(value):.4g}"

    def value(self, evaluation: Evaluation, task: str | None = None) -> float:
        """Return the number of an evaluation; less is better, and infinity stands for NaN.

        Args:
            evaluation: The evaluation of the validation split.
            task: Name of the task whose copy of the model is judged, where tasks share nothing. A
                monitor of another task says nothing of this copy, which is then judged by its
                relative loss.
        """
        if self.task is None:
            row = evaluation.values[task] if task else None
            number = (
                evaluation.relative_loss if row is None else row.get("relative_loss", row["loss"])
            )
        elif task and task != self.task:
            return Monitor(None, "relative_loss").value(evaluation, task)
        else:
            number = evaluation.values[self.task][self.column]
        number = -number if self.higher_is_better else number
        return math.inf if math.isnan(number) else number


def _nearest(text: str, tasks: Sequence[Task]) -> str:
    """Return the end of the sentence about an unknown monitor: what may have been meant."""
    columns = {
        task.name: [
            column for column in ("loss", *task.metric_names) if task.directions[column] is not None
        ]
        for task in tasks
    }
    names = ["relative_loss", *(f"{name}.{column}" for name in columns for column in columns[name])]
    for task in tasks:
        column = text.removeprefix(f"{task.name}.")
        if column == text:
            continue
        if task.has_target and column in [metric.name for metric in task.spec.more_metrics]:
            recorded = ", ".join(task.metric_names)
            return f"it is recorded only with data.metrics.{task.name}='[{recorded}, {column}]'"
        near = difflib.get_close_matches(column, columns[task.name], n=1)
        hint = f"did you mean {f'{task.name}.{near[0]}'!r}? " if near else ""
        return f"{hint}allowed: {', '.join(sorted(names))}"
    of_a_task = [name for name in names if name.endswith(f".{text}")]
    if of_a_task:
        return f"write {' or '.join(of_a_task)}"
    return suggest(text, names)
