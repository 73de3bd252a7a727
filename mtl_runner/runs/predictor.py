"""Using a trained model: ``mtl_runner.load(run).predict(x)`` answers in target units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from mtl_runner import likelihood as likelihoods
from mtl_runner import models
from mtl_runner.config.instantiate import make
from mtl_runner.config.trust import checked_trees, named_classes
from mtl_runner.data.image_folder.reader import ImageReader
from mtl_runner.data.inputs import Inputs
from mtl_runner.data.preprocessing import features_of, image_reader_of
from mtl_runner.data.table.columns import Features
from mtl_runner.errors import DataError, RunDirectoryError
from mtl_runner.errors.messages import out_of_memory
from mtl_runner.experiment.build import make_likelihood
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.model import model_from_shape
from mtl_runner.likelihood import Likelihood
from mtl_runner.models.backbones.weights import without_first_weights
from mtl_runner.runs.records import not_kept, read_summary
from mtl_runner.tasks import kinds
from mtl_runner.tasks.task import Task
from mtl_runner.train import checkpoint
from mtl_runner.train.best_model import merge_likelihood_states, model_parts

if TYPE_CHECKING:
    import pandas as pd


IMAGES_AT_ONCE = 64  # read and answered together
# The likelihood of runs that were recorded before likelihoods were.
STANDARD = {"_target_": "mtl_runner.likelihood.Standard"}
# By the status of a run, how it went before it had a best model.
ENDS_WITHOUT_MODEL = {"failed": "failed", "interrupted": "was stopped", "running": "is running"}
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
        image_reader: How image files become the model's inputs; None where it takes no images.
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
        self,
        model: nn.Module,
        tasks: list[Task],
        features: Features | None,
        likelihood: Likelihood,
        image_reader: ImageReader | None = None,
    ) -> None:
        self.model, self.likelihood = model.eval(), likelihood
        self.tasks, self.features = tasks, features
        self.image_reader = image_reader

    @torch.no_grad()
    def outputs(self, x: pd.DataFrame | Inputs | Sequence[Any]) -> dict[str, Tensor]:
        """Return the raw outputs of every task, e.g. to take probabilities from.

        Args:
            x: A DataFrame with the training table's features, the tensors the model takes, or a
                list of image files (or of images of Pillow).

        Returns:
            ``{task: tensor [N, size]}``: training units for a regression; logits, divided by the
            learned temperature, for classes and labels.

        Raises:
            DataError: For a missing column, or a table for a model that was not trained on one.
        """
        forward = ForwardPass(self.model, self.likelihood)
        parts = [
            self.likelihood.tempered_outputs(forward.outputs(inputs)) for inputs in self._inputs(x)
        ]
        return {
            task.name: parts[0][task.name]
            if len(parts) == 1
            else torch.cat([part[task.name] for part in parts])
            for task in self.tasks
        }

    def predict(self, x: pd.DataFrame | Inputs | Sequence[Any]) -> Any:
        """Return the answers of every task in target units.

        Args:
            x: A DataFrame with the training table's features, the tensors the model takes, or a
                list of image files (or of images of Pillow).

        Returns:
            For a DataFrame one with the same index: numbers, class names, and for a multilabel
            task a column of 0 and 1 per label; for image files one with their names as its index.
            For tensors, and for images if a task has an answer per pixel, ``{task: tensor}``:
            numbers ``[N, size]``, class indices ``[N]``, or 0 and 1 ``[N, labels]``, with height
            and width behind.

        Raises:
            DataError: For a missing column, or a table for a model that was not trained on one.
        """
        answers = {
            task.name: task.answer(output)
            for task, output in zip(self.tasks, self.outputs(x).values(), strict=True)
        }
        if isinstance(x, torch.Tensor | dict) or any(task.places for task in self.tasks):
            return answers
        import pandas as pd

        columns: dict[str, Any] = {}
        for task in self.tasks:
            columns |= task.spec.columns(answers[task.name], task)
        if isinstance(x, pd.DataFrame):
            return pd.DataFrame(columns, index=x.index)
        are_files = all(isinstance(entry, str | Path) for entry in x)
        return pd.DataFrame(columns, index=[str(entry) for entry in x] if are_files else None)

    def _inputs(self, x: pd.DataFrame | Inputs | Sequence[Any]) -> Iterator[Inputs]:
        """Yield the inputs of the model; images a few at a time."""
        if isinstance(x, torch.Tensor | dict):
            yield x
            return
        device = next(self.model.parameters()).device
        if self.image_reader is not None:
            if not isinstance(x, list | tuple) or not x:
                raise DataError(
                    f"predict takes a list of image files, e.g. ['new.jpg'], or tensors; found {'an empty list' if isinstance(x, list | tuple) else f'a {type(x).__name__}'}."
                )
            for start in range(0, len(x), IMAGES_AT_ONCE):
                images = self.image_reader.read_all(x[start : start + IMAGES_AT_ONCE])
                yield images.to(device)
            return
        if self.features is None:
            raise DataError(
                "This model was not trained on a table; give predict the tensors that the model takes."
            )
        if not hasattr(x, "columns"):
            raise DataError(f"predict takes a DataFrame or tensors; found a {type(x).__name__}.")
        yield torch.as_tensor(
            self.features.transform(cast("pd.DataFrame", x)),
            dtype=torch.get_default_dtype(),
            device=device,
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
        RunDirectoryError: If the directory holds no finished evaluation or was not to keep it
            (``record.checkpoints``), or its ``best.pt`` names code that is neither mtl-runner's nor
            trusted.
        ConfigError: If trusted code cannot be imported, or refuses its options.

    Example:
        >>> predictor = load("outputs/my_run")  # doctest: +SKIP
        >>> predictor.predict(table)  # doctest: +SKIP
    """
    file = Path(run) / "best.pt"
    if not file.exists():
        reason = not_kept(Path(run), [file.name])
        if reason is not None:
            raise RunDirectoryError(reason)
        summary = read_summary(Path(run))
        if summary.get("status") in ENDS_WITHOUT_MODEL:
            end = ENDS_WITHOUT_MODEL[summary["status"]]
            why = str(summary.get("reason") or "no evaluation yet").rstrip(".")
            raise RunDirectoryError(f"{str(run)!r} {end} and has no best.pt ({why}).")
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
    features = features_of(saved["preprocessing"])
    with without_first_weights():
        model = model_from_shape(
            trees["model"],
            tasks,
            shape,
            share=saved["share"],
            predicts_noise=likelihood.predicts_noise,
            features=features,
        )
    parts = model_parts(model)
    for name, weights in saved["weights"].items():
        parts[name].load_state_dict(weights)
    likelihood.load_state_dict(merge_likelihood_states(likelihood, saved.get("noise", {})))
    return Predictor(
        model.to(device),
        tasks,
        features,
        likelihood.to(device),
        image_reader_of(saved["preprocessing"]),
    )


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
