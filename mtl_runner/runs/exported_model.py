"""A trained model in the formats of other programs, each checked against the model itself."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mtl_runner.config.extras import import_extra
from mtl_runner.data.inputs import Inputs
from mtl_runner.errors import DataError
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.runs.answers import PROBABILITY, answer_tensors
from mtl_runner.runs.predictor import Predictor
from mtl_runner.runs.safetensors_file import safetensors_bytes
from mtl_runner.tasks.task import Task

TOLERANCE = 1e-5  # of a training unit, and relative
INTERVAL = 0.95
# torch.export takes 0 and 1 rows for numbers that never change.
ROWS_TRACED, ROWS_CHECKED = 3, (1, 2, 5)


class AnswerGraph(nn.Module):
    """A model from its input tensors to its answers, with nothing of a run around it.

    Its outputs are those of ``mtl-predict``: numbers in the target's units, with ``<task>.sigma``,
    ``<task>.low`` and ``<task>.high`` where a noise scale was learned; of classes and labels
    ``<task>.probability``.

    Args:
        predictor: The trained model.

    Example:
        >>> from mtl_runner.likelihood import Standard
        >>> from mtl_runner.models import MLP
        >>> tasks = [Task("height", size=1), Task("species", "classification", size=3)]
        >>> model = MLP(tasks, (4,), [8])
        >>> graph = AnswerGraph(Predictor(model, tasks, None, Standard(tasks), input_shape=(4,)))
        >>> {name: tuple(answer.shape) for name, answer in graph(torch.zeros(5, 4)).items()}
        {'height': (5, 1), 'species.probability': (5, 3)}
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.forward_pass = ForwardPass(predictor.model, predictor.likelihood).eval()
        self.tasks, self.noise_scales = predictor.tasks, predictor.noise_scales
        shape = predictor.input_shape
        self.input_names = list(shape) if isinstance(shape, dict) else ["inputs"]
        self.takes_dict = isinstance(shape, dict)

    def forward(self, *tensors: Tensor) -> dict[str, Tensor]:
        """Return the answers by name.

        Args:
            tensors: The inputs, in the order of :attr:`input_names`.
        """
        inputs: Inputs = (
            dict(zip(self.input_names, tensors, strict=True)) if self.takes_dict else tensors[0]
        )
        outputs = self.forward_pass.outputs(inputs)
        answers: dict[str, Tensor] = {}
        for task in self.tasks:
            part = answer_tensors(
                task,
                outputs,
                self.forward_pass.likelihood,
                self.noise_scales.get(task.name),
                probabilities=True,
                interval=INTERVAL,
            )
            if f"{task.name}{PROBABILITY}" in part:
                # Whoever has the probabilities has the class.
                del part[task.name]
            answers |= part
        return answers

    def task_of(self, name: str) -> Task:
        """Return the task of an answer.

        Args:
            name: Name of an answer.
        """
        return next(t for t in self.tasks if name == t.name or name.startswith(f"{t.name}."))


def example_tensors(predictor: Predictor, rows: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Return inputs that a model takes: random numbers, one category of each column, whole ones.

    Args:
        predictor: The trained model.
        rows: Number of rows.
        seed: Seed of the numbers.

    Raises:
        DataError: If the shape of its inputs is not known.
    """
    shape, random = predictor.input_shape, torch.Generator().manual_seed(seed)
    if shape is None:
        raise DataError("The shape of the model's inputs is not known; load it from a run.")
    tensors = {}
    for name, sizes in (shape if isinstance(shape, dict) else {"": shape}).items():
        dtype = getattr(torch, str(predictor.input_dtypes.get(name)), torch.float32)
        size = (rows, *sizes)
        if not isinstance(dtype, torch.dtype) or dtype.is_floating_point:
            tensors[name] = torch.randn(size, generator=random)
        elif dtype == torch.uint8:
            tensors[name] = torch.randint(0, 256, size, generator=random, dtype=dtype)
        else:
            tensors[name] = torch.ones(size, dtype=dtype)
    if predictor.features is not None:
        for start, width in predictor.features.category_blocks().values():
            chosen = torch.randint(0, width, (rows,), generator=random)
            tensors[""][:, start : start + width] = nn.functional.one_hot(chosen, width)
    return tuple(tensors.values())


def largest_difference(
    graph: AnswerGraph, predictor: Predictor, answer: Callable[..., Mapping[str, Tensor]]
) -> float:
    """Return the largest difference between an exported model and the original, by its tolerance.

    Args:
        graph: The original.
        predictor: The trained model, for its inputs.
        answer: The exported model, from input tensors to answers by name.

    Returns:
        The largest difference in units of ``TOLERANCE * (scale of the target + |answer|)``; at most
        1 is equal to rounding.
    """
    worst = 0.0
    for rows in ROWS_CHECKED:
        tensors = example_tensors(predictor, rows, seed=rows)
        with torch.no_grad():
            expected, answers = graph(*tensors), answer(*tensors)
        if list(answers) != list(expected):
            return float("inf")
        for name, right in expected.items():
            if answers[name].shape != right.shape:
                return float("inf")
            allowed = TOLERANCE * (graph.task_of(name).scale + right.double().abs())
            difference = (answers[name].double() - right.double()).abs() / allowed
            # A NaN compares with nothing.
            worst = max(worst, float(difference.nan_to_num(nan=float("inf")).max()))
    return worst


def to_torch(predictor: Predictor) -> bytes:
    """Return the model as a program of ``torch.export`` (``torch.export.load``).

    Args:
        predictor: The trained model.

    Raises:
        DataError: If it cannot be exported, or answers otherwise afterwards.
    """
    graph = AnswerGraph(predictor)
    program = _exported_program(graph, predictor)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, buffer)
        buffer.seek(0)
        module = torch.export.load(buffer).module()
    _check(largest_difference(graph, predictor, module), "torch")
    return buffer.getvalue()


def to_onnx(predictor: Predictor) -> bytes:
    """Return the model as an ONNX file.

    Args:
        predictor: The trained model.

    Raises:
        ConfigError: If a package that it needs is not installed.
        DataError: If it cannot be exported, or answers otherwise afterwards.
    """
    purpose = "mtl-export --to onnx"
    for module in ("onnx", "onnxscript"):
        import_extra(module, "onnx", purpose)
    runtime = import_extra("onnxruntime", "onnx", purpose)
    graph = AnswerGraph(predictor)
    program = _exported_program(graph, predictor)
    names = list(graph(*example_tensors(predictor, ROWS_TRACED)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                input_names=graph.input_names,
                output_names=names,
                verbose=False,
            )
            assert onnx_program is not None
            content: bytes = onnx_program.model_proto.SerializeToString()
    except Exception as error:
        raise _failure("ONNX", error) from error
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    taken = {entry.name for entry in session.get_inputs()}

    def answer(*tensors: Tensor) -> dict[str, Tensor]:
        # An input that no answer depends on is no input of the file.
        given = zip(graph.input_names, tensors, strict=True)
        arrays = session.run(names, {n: t.numpy() for n, t in given if n in taken})
        return {name: torch.from_numpy(a) for name, a in zip(names, arrays, strict=True)}

    _check(largest_difference(graph, predictor, answer), "ONNX")
    return content


def to_safetensors(predictor: Predictor) -> bytes:
    """Return the weights under the names of the model's ``state_dict``.

    Args:
        predictor: The trained model.

    Raises:
        ConfigError: If safetensors is not installed.
        DataError: If a model with these weights answers otherwise.
    """
    purpose = "mtl-export --to safetensors"
    content = safetensors_bytes(predictor.model, purpose)
    loaded = import_extra("safetensors.torch", "safetensors", purpose).load(content)
    twin = copy.copy(predictor)
    twin.model = copy.deepcopy(predictor.model)
    with torch.no_grad():
        for tensor in twin.model.state_dict().values():
            tensor.zero_()
    twin.model.load_state_dict(loaded)
    _check(largest_difference(AnswerGraph(predictor), predictor, AnswerGraph(twin)), "safetensors")
    return content


FORMATS: dict[str, tuple[str, Callable[[Predictor], bytes]]] = {
    "onnx": ("model.onnx", to_onnx),
    "torch": ("model.pt2", to_torch),
    "safetensors": ("model.safetensors", to_safetensors),
}


def _exported_program(graph: AnswerGraph, predictor: Predictor) -> torch.export.ExportedProgram:
    tensors = example_tensors(predictor, ROWS_TRACED)
    rows = torch.export.Dim("rows")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(
                graph, tensors, dynamic_shapes={"tensors": tuple({0: rows} for _ in tensors)}
            )
    except Exception as error:
        raise _failure("torch.export", error) from error


def _failure(form: str, error: Exception) -> DataError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
    return DataError(
        f"The model cannot be written for {form} ({reason[:200]}); mtl-export --to safetensors writes its weights."
    )


def _check(difference: float, form: str) -> None:
    """Raise ``DataError`` if the exported model does not answer as the original does."""
    if difference > 1:
        raise DataError(
            f"The model exported to {form} answers otherwise than the original ({difference:.3g} times the tolerance of {TOLERANCE:g}), so nothing was written; use another format, or mtl_runner.load."
        )
