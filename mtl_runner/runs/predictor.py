"""Use the result: ``mtl_runner.load(run).predict(x)`` answers in target units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mtl_runner.config.instantiate import make
from mtl_runner.data.inputs import Inputs
from mtl_runner.data.table.columns import Features
from mtl_runner.errors import DataError
from mtl_runner.experiment.build import make_likelihood, model_from_shape
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.task import Task
from mtl_runner.train import checkpoint
from mtl_runner.train.best import model_parts, noise_of_parts

if TYPE_CHECKING:
    import pandas as pd


STANDARD = {"_target_": "mtl_runner.likelihood.Standard"}  # of runs that did not record theirs


class Predictor:
    """A trained model with its tasks and preprocessing.

    Attributes:
        model: the ``nn.Module`` with the weights of the best validation epoch, in eval mode.
        likelihood: whose temperature, if it learned one, divides the logits. tasks: the tasks it answers for. features: the fitted columns of a table, or None.
    """

    def __init__(
        self, model: nn.Module, tasks: list[Task], features: Features | None, likelihood: Likelihood
    ) -> None:
        self.model, self.likelihood = model.eval(), likelihood
        self.tasks = tasks
        self.features = features

    @torch.no_grad()
    def outputs(self, x: pd.DataFrame | Inputs) -> dict[str, Tensor]:
        """Raw outputs per task ``[N, size]``: training units for regression, logits for classes and labels (over the learned temperature)."""
        answers = self.likelihood.answers(
            ForwardPass(self.model, self.likelihood).outputs(self._inputs(x))
        )
        return {task.name: answers[task.name] for task in self.tasks}

    def predict(self, x: pd.DataFrame | Inputs) -> Any:
        """Answers in target units.

        A DataFrame (with the training table's columns) gives a DataFrame: numbers, class names, and for multilabel one 0/1
        column per label. Tensors give ``{task: tensor}``: ``[N, size]`` numbers, ``[N]`` class indices, ``[N, labels]`` 0/1.
        Raises ``DataError`` for a missing column or a table given to a model that was not trained on one.
        """
        answers = {
            task.name: task.answer(output)
            for task, output in zip(self.tasks, self.outputs(x).values(), strict=True)
        }
        if isinstance(x, torch.Tensor | dict):
            return answers
        import pandas as pd

        columns: dict[str, Any] = {}
        for task in self.tasks:
            columns |= task.spec.columns(answers[task.name], task)
        return pd.DataFrame(columns, index=x.index)

    def _inputs(self, x: pd.DataFrame | Inputs) -> Inputs:
        if isinstance(x, torch.Tensor | dict):
            return x
        if self.features is None:
            raise DataError(
                "This model was not trained on a table; give predict the tensors that the model takes."
            )
        if not hasattr(x, "columns"):
            raise DataError(f"predict takes a DataFrame or tensors; found a {type(x).__name__}.")
        device = next(self.model.parameters()).device
        return torch.as_tensor(
            self.features.transform(x), dtype=torch.get_default_dtype(), device=device
        )


def load(run: str | Path, device: str = "cpu") -> Predictor:
    """The trained model of a run directory, at its best validation epoch.

    Raises ``RunDirectoryError`` if the directory holds no finished evaluation.
    """
    saved = checkpoint.load(Path(run) / "best.pt", device)
    tasks = [task_from(fields) for fields in saved["tasks"]]
    shape = saved["input_shape"]
    shape = {k: tuple(v) for k, v in shape.items()} if isinstance(shape, dict) else tuple(shape)
    likelihood = make_likelihood(saved.get("likelihood", STANDARD), tasks)
    model = model_from_shape(
        saved["model"], tasks, shape, share=saved["share"], predicts_noise=likelihood.predicts_noise
    )
    parts = model_parts(model)
    for name, weights in saved["weights"].items():
        parts[name].load_state_dict(weights)
    likelihood.load_state_dict(noise_of_parts(likelihood, saved.get("noise", {})))
    features = Features.from_state(saved["preprocessing"]) if saved["preprocessing"] else None
    return Predictor(model.to(device), tasks, features, likelihood.to(device))


def task_from(saved: Mapping[str, Any]) -> Task:
    """A task from what :meth:`~mtl_runner.tasks.task.Task.plain` gave."""
    fields: Any = {
        key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()
    }
    fields.pop("measures", None)  # of runs recorded before metrics had this name
    if isinstance(fields["kind"], dict):
        fields["kind"] = make(fields["kind"], f"the kind of task {fields['name']!r}")
    return Task(**fields)
