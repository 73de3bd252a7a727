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
from mtl_runner.data.inputs import Inputs, Shape
from mtl_runner.data.preprocessing import features_of, image_reader_of
from mtl_runner.data.table.columns import Features
from mtl_runner.errors import ConfigError, DataError, RunDirectoryError
from mtl_runner.errors.checks import is_number
from mtl_runner.errors.messages import out_of_memory
from mtl_runner.experiment.build import make_likelihood
from mtl_runner.experiment.forward import ForwardPass, joined
from mtl_runner.experiment.model import model_from_shape
from mtl_runner.likelihood import Likelihood
from mtl_runner.models.backbones.weights import without_first_weights
from mtl_runner.runs.answers import (
    NAMED,
    answer_columns,
    answer_tensors,
    describe_answer,
    shape_text,
)
from mtl_runner.runs.records import SWEEP_RECORDS, not_kept, own_loop, read_summary
from mtl_runner.tasks import kinds
from mtl_runner.tasks.protocols import HasSigmas
from mtl_runner.tasks.task import Task
from mtl_runner.train import checkpoint
from mtl_runner.train.best_model import merge_likelihood_states, model_parts

if TYPE_CHECKING:
    import pandas as pd


IMAGES_AT_ONCE = 64  # read and answered together
ROWS_AT_ONCE = 2**16  # of a table
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
        preprocessing: The fitted preprocessing as plain values; None: there is none.
        features: The preprocessing of a table, fitted on its training rows; None for tensors.
        image_reader: How image files become the model's inputs; None where it takes no images.
        likelihood: The likelihood, whose temperature, if it learned one, divides the logits.
        noise_scales: The learned noise scales by task, in the target's units.
        input_shape: The shape of one row of the model's inputs; of each by name where there are
            several; None: it is not known.
        source: The run directory; empty: there is none.
        input_dtypes: The type of each input, as torch calls it, by its name (``""`` for the only
            one); float32 where it is not known.

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
        preprocessing: Mapping[str, Any] | None,
        likelihood: Likelihood,
        noise_scales: Mapping[str, float] | None = None,
        input_shape: Shape | None = None,
        source: str = "",
        input_dtypes: Mapping[str, str] | None = None,
    ) -> None:
        self.model, self.likelihood = model.eval(), likelihood
        self.tasks, self.preprocessing = tasks, preprocessing
        self.features: Features | None = features_of(preprocessing)
        self.image_reader: ImageReader | None = image_reader_of(preprocessing)
        self.noise_scales = dict(noise_scales or {})
        self.input_shape, self.source = input_shape, source
        self.input_dtypes = dict(input_dtypes or {})

    @torch.no_grad()
    def outputs(self, x: pd.DataFrame | Inputs | Sequence[Any]) -> dict[str, Tensor]:
        """Return the raw outputs of every task, e.g. for a loss of your own.

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
        parts = []
        for inputs in self._inputs(x):
            outputs = self.likelihood.tempered_outputs(forward.outputs(inputs))
            parts.append({task.name: outputs[task.name] for task in self.tasks})
        return joined(parts)

    def predict(
        self,
        x: pd.DataFrame | Inputs | Sequence[Any],
        probabilities: bool = False,
        interval: float | None = None,
    ) -> Any:
        """Return the answers of every task in target units.

        Args:
            x: A DataFrame with the training table's features, the tensors the model takes, or a
                list of image files (or of images of Pillow).
            probabilities: Whether to return the probability of every class and label, too:
                ``<task>.probability.<class>``, of tensors ``<task>.probability`` ``[N, classes]``.
            interval: The share of new targets that an interval is to hold, e.g. 0.95; it is
                returned as ``<task>.low`` and ``<task>.high`` beside ``<task>.sigma``, for numbers
                with a learned noise scale. It knows the noise of the targets, not the errors of
                the model.

        Returns:
            For a DataFrame one with the same index: numbers, class names, and for a multilabel
            task a column of 0 and 1 per label; for image files one with their names as its index.
            For tensors, and for images if a task has an answer per pixel, ``{task: tensor}``:
            numbers ``[N, size]``, class indices ``[N]``, or 0 and 1 ``[N, labels]``, with height
            and width behind.

        Raises:
            ConfigError: If ``interval`` is no share, or no task has a noise scale.
            DataError: For a missing column, or a table for a model that was not trained on one.
        """
        if not isinstance(x, torch.Tensor | dict) and not any(task.places for task in self.tasks):
            return self.predict_table(x, probabilities, interval)
        return self._answers(x, self.tasks, probabilities, interval)

    def predict_table(
        self,
        x: pd.DataFrame | Inputs | Sequence[Any],
        probabilities: bool = False,
        interval: float | None = None,
    ) -> pd.DataFrame:
        """Return the answers as a table, of tensors, too; without tasks that answer every pixel.

        Args:
            x: What :meth:`predict` takes.
            probabilities: Whether to return the probability of every class and label.
            interval: The share of new targets that an interval is to hold; None: no interval.

        Returns:
            The columns of :meth:`predict`, with the index of a DataFrame or the names of files.

        Raises:
            ConfigError: If ``interval`` is no share, or no task has a noise scale.
            DataError: For a missing column, or a table for a model that was not trained on one.
        """
        import pandas as pd

        tasks = [task for task in self.tasks if not task.places]
        answers = self._answers(x, tasks, probabilities, interval)
        columns: dict[str, Any] = {}
        for task in tasks:
            columns |= answer_columns(task, answers)
        if isinstance(x, pd.DataFrame):
            return pd.DataFrame(columns, index=x.index)
        are_files = isinstance(x, list | tuple) and all(isinstance(e, str | Path) for e in x)
        return pd.DataFrame(columns, index=[str(entry) for entry in x] if are_files else None)

    @torch.no_grad()
    def _answers(
        self, x: Any, tasks: Sequence[Task], probabilities: bool, interval: float | None
    ) -> dict[str, Tensor]:
        """Return the answers of some tasks, made a part of the rows at a time."""
        if interval is not None:
            self._check_interval(interval)
        forward = ForwardPass(self.model, self.likelihood)
        parts = []
        for inputs in self._inputs(x):
            outputs = forward.outputs(inputs)
            answers: dict[str, Tensor] = {}
            for task in tasks:
                answers |= answer_tensors(
                    task,
                    outputs,
                    self.likelihood,
                    self.noise_scales.get(task.name),
                    probabilities=probabilities,
                    interval=interval,
                )
            parts.append(answers)
        return joined(parts)

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        of = f" of {self.source}" if self.source else ""
        lines = [
            f"Predictor{of}: {type(self.model).__name__} with {parameters:,} parameters",
            f"inputs: {self.describe_inputs()}",
        ]
        for task in self.tasks:
            scale = self.noise_scales.get(task.name)
            noise = "" if scale is None else f", sigma {scale:.4g}"
            lines.append(f"{task.name}: {describe_answer(task)}{noise}")
        return "\n  ".join(lines)

    def describe_inputs(self) -> str:
        """Return in words what the model is asked with."""
        if self.features is not None:
            names = [column.name for column in self.features.columns]
            dots = ", ..." if len(names) > NAMED else ""
            return f"a table with {', '.join(names[:NAMED])}{dots}"
        if self.image_reader is not None:
            height, width = self.image_reader.size
            return f"image files, read as {height} x {width} pixels"
        return f"tensors {shape_text(self.input_shape)}"

    @property
    def identifiers(self) -> list[str]:
        """The columns of the training table that identified its rows."""
        names = (self.preprocessing or {}).get("identifiers", [])
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    @property
    def has_noise_scales(self) -> bool:
        """Whether the answers of any task come with a noise scale."""
        return any(map(self.has_noise_scale, self.tasks))

    def has_noise_scale(self, task: Task) -> bool:
        """Return whether the answers of a task come with a noise scale."""
        return task.has_noise_scale and (
            self.likelihood.predicts_noise or task.name in self.noise_scales
        )

    def _check_interval(self, interval: float) -> None:
        if not is_number(interval) or not 0 < interval < 1:
            raise ConfigError(
                f"interval must be a share between 0 and 1, e.g. 0.95; found {interval!r}."
            )
        if not self.has_noise_scales:
            raise ConfigError(
                "No task of this model has a noise scale, from which an interval could be made; train with likelihood=homoscedastic, likelihood=heteroscedastic or weighting=uncertainty on a regression."
            )

    def _inputs(self, x: pd.DataFrame | Inputs | Sequence[Any]) -> Iterator[Inputs]:
        """Yield the inputs of the model, a part of the images or rows at a time."""
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
        frame = cast("pd.DataFrame", x)
        for start in range(0, max(1, len(frame)), ROWS_AT_ONCE):
            yield torch.as_tensor(
                self.features.transform(frame.iloc[start : start + ROWS_AT_ONCE]),
                dtype=torch.get_default_dtype(),
                device=device,
            )


def load(run: str | Path, device: str = "cpu", trust: Sequence[str] = ()) -> Predictor:
    """Load the trained model of a run, at its best validation epoch.

    Only ``best.pt`` is read, and it cannot run code: its model, likelihood and kinds of tasks must
    be classes of mtl-runner or layers of ``torch.nn``, unless you trust others. Nothing is
    downloaded, and no other file or folder that the run names is opened, but the folder of a
    module that you trust and that Python finds nowhere else; a line says so.

    Args:
        run: The run directory, as ``mtl-run`` printed it.
        device: Where the model should lie, e.g. ``"cuda"``.
        trust: Packages, modules, or single classes and functions whose code the file may run: those
            of your own model, e.g. ``["my_package"]``. They are imported as Python finds them, or
            else from the folder where the run found them.

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
    if Path(run).is_file():
        raise RunDirectoryError(
            f"{str(run)!r} is a file; give the folder of the run: mtl_runner.load({str(Path(run).parent)!r})."
        )
    file = Path(run) / "best.pt"
    if not file.exists():
        reason = own_loop(Path(run)) or not_kept(Path(run), [file.name]) or _no_run(Path(run))
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


def _no_run(directory: Path) -> str | None:
    """Return why a directory without best.pt is no run: it is a sweep, or not there; else None."""
    if not directory.is_dir():
        return (
            f"There is no folder {str(directory)!r}; give the run directory, as mtl-run printed it."
        )
    if not any((directory / name).exists() for name in SWEEP_RECORDS):
        return None
    # The runs of a study lie a folder deeper.
    for depth in (1, 2, 3):
        models = sorted(directory.glob("*/" * depth + "best.pt"))
        if models:
            return f"{str(directory)!r} is a sweep; give one of its runs, e.g. {str(models[0].parent)!r}."
    return f"{str(directory)!r} is a sweep, and none of its runs holds a best.pt."


def _rebuilt(saved: dict[str, Any], device: str, trust: Sequence[str], file: Path) -> Predictor:
    """Return the predictor of a ``best.pt``, after its config was found to name safe code only."""
    kind_keys = [f"tasks.{i}.kind" for i in range(len(saved["tasks"]))]
    trees = {
        "model": saved["model"],
        "likelihood": saved.get("likelihood", STANDARD),
        **{key: task["kind"] for key, task in zip(kind_keys, saved["tasks"], strict=True)},
    }
    code = saved.get("code")
    folders = code if isinstance(code, dict) else {}
    trees = checked_trees(trees, SAFE_CLASSES, trust, file, folders)
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
        saved["preprocessing"],
        likelihood.to(device),
        _noise_scales(tasks, likelihood, saved.get("noise_scales", {})),
        shape,
        str(file.parent),
        saved.get("input_dtypes"),
    )


def _noise_scales(
    tasks: Sequence[Task], likelihood: Likelihood, recorded: Mapping[str, float]
) -> dict[str, float]:
    """Return the noise scales by task: the likelihood's, or else those that a weighting learned."""
    if not isinstance(likelihood, HasSigmas):
        return {str(name): float(scale) for name, scale in recorded.items()}
    return {
        task.name: sigma
        for task, sigma in zip(tasks, likelihood.sigmas(), strict=True)
        if sigma is not None and task.has_noise_scale
    }


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
