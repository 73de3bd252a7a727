"""Using a trained model: ``mtl_runner.load(run).predict(x)`` answers in target units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mtl_runner import likelihood as likelihoods
from mtl_runner import models
from mtl_runner.config.instantiate import make
from mtl_runner.config.trust import checked_trees, named_classes
from mtl_runner.data.inputs import Inputs
from mtl_runner.data.table.columns import Features
from mtl_runner.errors import DataError, RunDirectoryError
from mtl_runner.errors.messages import out_of_memory
from mtl_runner.experiment.build import make_likelihood, model_from_shape
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks import kinds
from mtl_runner.tasks.task import Task
from mtl_runner.train import checkpoint
from mtl_runner.train.best_model import merge_likelihood_states, model_parts

if TYPE_CHECKING:
    import pandas as pd


# The likelihood of runs that were recorded before likelihoods were.
STANDARD = {"_target_": "mtl_runner.likelihood.Standard"}
# The classes that a best.pt may name without being trusted: they only make layers of tensors.
SAFE_CLASSES = (
    named_classes(models, nn.Module)
    | named_classes(likelihoods, Likelihood)
    | named_classes(kinds, kinds.Kind)
    | named_classes(nn, nn.Module)
)


class Predictor:
    """A trained model with its tasks and preprocessing.

    Attributes:
        model: The ``nn.Module`` with the weights of the best validation epoch, in eval mode.
        tasks: The tasks it answers for.
        features: The preprocessing of a table, fitted on its training rows; None for tensors.
        likelihood: The likelihood, whose temperature, if it learned one, divides the logits.

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> from mtl_runner.models import MLP
        >>> tasks = [Task("height", size=1), Task("species", "classification", size=3)]
        >>> predictor = Predictor(MLP(tasks, (4,), [8]), tasks, None, Standard(tasks))
        >>> answers = predictor.predict(torch.zeros(5, 4))
        >>> {name: tuple(answer.shape) for name, answer in answers.items()}
        {'height': (5, 1), 'species': (5,)}
    """

    def __init__(
        self, model: nn.Module, tasks: list[Task], features: Features | None, likelihood: Likelihood
    ) -> None:
        self.model, self.likelihood = model.eval(), likelihood
        self.tasks, self.features = tasks, features

    @torch.no_grad()
    def outputs(self, x: pd.DataFrame | Inputs) -> dict[str, Tensor]:
        """Return the raw outputs of every task, e.g. to take probabilities from.

        Args:
            x: A DataFrame with the training table's features, or the tensors the model takes.

        Returns:
            ``{task: tensor [N, size]}``: training units for a regression; logits, divided by the
            learned temperature, for classes and labels.

        Raises:
            DataError: For a missing column, or a table for a model that was not trained on one.
        """
        answers = self.likelihood.tempered_outputs(
            ForwardPass(self.model, self.likelihood).outputs(self._inputs(x))
        )
        return {task.name: answers[task.name] for task in self.tasks}

    def predict(self, x: pd.DataFrame | Inputs) -> Any:
        """Return the answers of every task in target units.

        Args:
            x: A DataFrame with the training table's features, or the tensors the model takes.

        Returns:
            For a DataFrame one with the same index: numbers, class names, and for a multilabel
            task a column of 0 and 1 per label. For tensors ``{task: tensor}``: numbers
            ``[N, size]``, class indices ``[N]``, or 0 and 1 ``[N, labels]``.

        Raises:
            DataError: For a missing column, or a table for a model that was not trained on one.
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


def load(run: str | Path, device: str = "cpu", trust: Sequence[str] = ()) -> Predictor:
    """Load the trained model of a run, at its best validation epoch.

    Only ``best.pt`` is read, and it cannot run code: its model, likelihood and kinds of tasks must
    be classes of mtl-runner or layers of ``torch.nn``, unless you trust others. Nothing is
    downloaded, and no other file or folder that the run names is opened.

    Args:
        run: The run directory, as ``mtl-run`` printed it.
        device: Where the model should lie, e.g. ``"cuda"``.
        trust: Packages, modules, or single classes and functions whose code the file may run: those
            of your own model, e.g. ``["my_package"]``. They are imported as Python finds them.

    Returns:
        The model with its tasks and preprocessing.

    Raises:
        RunDirectoryError: If the directory holds no finished evaluation, or its ``best.pt`` names
            code that is neither mtl-runner's nor trusted.
        ConfigError: If trusted code cannot be imported, or refuses its options.

    Example:
        >>> predictor = load("outputs/my_run")  # doctest: +SKIP
        >>> predictor.predict(table)  # doctest: +SKIP
    """
    file = Path(run) / "best.pt"
    saved = checkpoint.load(file, device)
    try:
        return _rebuilt(saved, device, trust, file)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
        raise RunDirectoryError(
            f"The model in {str(file)!r} cannot be rebuilt ({reason}); is it the best.pt of this run, and is the code of its model as it was?"
        ) from error


def _rebuilt(saved: dict[str, Any], device: str, trust: Sequence[str], file: Path) -> Predictor:
    """Return the predictor of a ``best.pt``, after its config was found to name safe code only."""
    kind_keys = [f"tasks.{i}.kind" for i in range(len(saved["tasks"]))]
    trees = {
        "model": saved["model"],
        "likelihood": saved.get("likelihood", STANDARD),
        **{key: task["kind"] for key, task in zip(kind_keys, saved["tasks"], strict=True)},
    }
    trees = checked_trees(trees, SAFE_CLASSES, trust, file)
    tasks = [
        task_from_plain({**task, "kind": trees[key]})
        for key, task in zip(kind_keys, saved["tasks"], strict=True)
    ]
    shape = saved["input_shape"]
    shape = {k: tuple(v) for k, v in shape.items()} if isinstance(shape, dict) else tuple(shape)
    likelihood = make_likelihood(trees["likelihood"], tasks)
    model = model_from_shape(
        trees["model"], tasks, shape, share=saved["share"], predicts_noise=likelihood.predicts_noise
    )
    parts = model_parts(model)
    for name, weights in saved["weights"].items():
        parts[name].load_state_dict(weights)
    likelihood.load_state_dict(merge_likelihood_states(likelihood, saved.get("noise", {})))
    features = Features.from_state(saved["preprocessing"]) if saved["preprocessing"] else None
    return Predictor(model.to(device), tasks, features, likelihood.to(device))


def task_from_plain(saved: Mapping[str, Any]) -> Task:
    """Return the task that :meth:`~mtl_runner.tasks.task.Task.plain` described.

    Args:
        saved: The arguments of the task as plain values.

    Example:
        >>> task_from_plain(Task("depth", scale=2.0).plain()).scale
        2.0
    """
    fields: Any = {
        key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()
    }
    # Early runs recorded their metrics under this name.
    fields.pop("measures", None)
    if isinstance(fields["kind"], dict):
        fields["kind"] = make(fields["kind"], f"the kind of task {fields['name']!r}")
    return Task(**fields)
