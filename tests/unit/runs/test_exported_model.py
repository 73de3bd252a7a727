"""Exported models: their answers are those of the original, in every format."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner import models
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.experiment.model import model_from_shape
from mtl_runner.likelihood import Heteroscedastic, Likelihood, Standard
from mtl_runner.runs.exported_model import (
    AnswerGraph,
    example_tensors,
    largest_difference,
    to_onnx,
    to_safetensors,
    to_torch,
)
from mtl_runner.runs.predictor import Predictor
from mtl_runner.tasks.task import Task

ROWS = [
    Task("price", size=1, offset=1e4, scale=100.0),
    Task("state", "classification", size=3),
    Task("heating", "multilabel", size=2),
]
PIXELS = [
    Task("road", "classification", size=4, places=(32, 32)),
    Task("depth", size=1, offset=5.0, scale=3.0, places=(32, 32)),
]
MODELS: dict[str, tuple[list[Task], tuple[int, ...], Callable[[], nn.Module]]] = {
    "mlp": (ROWS, (5,), lambda: models.MLP(ROWS, (5,), [8])),
    "lenet": (ROWS, (1, 28, 28), lambda: models.LeNet(ROWS, (1, 28, 28))),
    "unet": (PIXELS, (3, 32, 32), lambda: models.UNet(PIXELS, (3, 32, 32), width=4, depth=2)),
    "backbone": (
        ROWS,
        (3, 32, 32),
        lambda: models.Backbone(ROWS, (3, 32, 32), name="test_resnet", weights=None),
    ),
}


def predictor_of(name: str, likelihood: type[Likelihood] = Standard, **more: Any) -> Predictor:
    """Return a predictor with random weights, and statistics of BatchNorm that are not 0 and 1."""
    tasks, shape, make = MODELS[name]
    torch.manual_seed(0)
    model = make()
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    scales = {"price": 20.0, "depth": 0.5}
    return Predictor(model, tasks, None, likelihood(tasks), scales, input_shape=shape, **more)


@pytest.mark.extras
@pytest.mark.parametrize("name", MODELS)
def test_onnx_answers_to_the_fifth_digit(name: str) -> None:
    """Breaks if a program that knows nothing of PyTorch gives other answers than the run."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="pip install 'mtl-runner[onnx]'")
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'mtl-runner[onnx]'")
    if name == "backbone":
        pytest.importorskip("timm", reason="pip install 'mtl-runner[timm]'")
    predictor = predictor_of(name)
    session = runtime.InferenceSession(to_onnx(predictor), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    graph = AnswerGraph(predictor)
    for rows in (1, 4):
        (inputs,) = example_tensors(predictor, rows, seed=7)
        with torch.no_grad():
            expected = graph(inputs)
        assert names == list(expected)
        answers = session.run(names, {"inputs": inputs.numpy()})
        for answer, (answer_name, right) in zip(answers, expected.items(), strict=True):
            scale = graph.task_of(answer_name).scale
            difference = (torch.from_numpy(answer) - right).abs() / scale
            assert (difference <= 1e-5 * (1 + right.abs() / scale)).all()


def test_a_program_of_torch_answers_for_any_number_of_rows() -> None:
    """Breaks if the number of rows at export is the only one that the program takes."""
    predictor = predictor_of("mlp")
    module = torch.export.load(io.BytesIO(to_torch(predictor))).module()
    (inputs,) = example_tensors(predictor, 11)
    answers, table = module(inputs), predictor.predict_table(inputs, True, 0.95)
    assert list(answers) == [
        "price", "price.sigma", "price.low", "price.high", "state.probability", "heating.probability",
    ]  # fmt: skip
    assert table["price"].tolist() == pytest.approx(answers["price"].flatten().tolist(), rel=1e-5)
    assert table["price.low"].tolist() == pytest.approx(answers["price.low"].flatten().tolist())
    assert table["state.probability.2"].tolist() == pytest.approx(
        answers["state.probability"][:, 2].tolist(), abs=1e-5
    )


def test_other_weights_are_not_taken_for_the_original() -> None:
    """Breaks if an export that answers otherwise is written."""
    predictor = predictor_of("mlp")
    graph = AnswerGraph(predictor)
    assert largest_difference(graph, predictor, AnswerGraph(predictor_of("mlp"))) == 0
    other = predictor_of("mlp")
    with torch.no_grad():
        next(other.model.parameters()).add_(1e-3)
    assert largest_difference(graph, predictor, AnswerGraph(other)) > 1
    assert largest_difference(graph, predictor, lambda x: {}) == float("inf")
    broken = {name: torch.full_like(a, torch.nan) for name, a in graph(torch.zeros(1, 5)).items()}
    assert largest_difference(graph, predictor, lambda x: broken) == float("inf")


def test_inputs_of_several_tensors_and_of_categories_are_made() -> None:
    """Breaks if a model of tokens gets fractions, or a category is two at once."""
    tokens = predictor_of("mlp", input_dtypes={"ids": "int64", "image": "uint8"})
    tokens.input_shape = {"ids": (4,), "image": (2,), "x": (3,)}
    assert [t.dtype for t in example_tensors(tokens, 2)] == [
        torch.int64, torch.uint8, torch.float32,
    ]  # fmt: skip
    tasks, _, make = MODELS["mlp"]
    column = {"name": "city", "categories": ["a", "b", "c"]}
    table = Predictor(
        make(), tasks, {"columns": [{"name": "area"}, column]}, Standard(tasks), input_shape=(4,)
    )
    (inputs,) = example_tensors(table, 20)
    assert inputs[:, 1:].sum(1).tolist() == [1.0] * 20
    tokens.input_shape = None
    with pytest.raises(DataError, match="The shape of the model's inputs is not known"):
        example_tensors(tokens, 2)


class Counts(nn.Module):
    """A model whose path depends on the numbers in its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 1)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"price": self.layer(inputs) if inputs.sum() > 0 else -self.layer(inputs)}


def test_a_model_that_cannot_be_traced_is_refused_in_one_sentence() -> None:
    """Breaks if a user's own model ends in a page of torch's errors."""
    predictor = Predictor(Counts(), ROWS[:1], None, Standard(ROWS[:1]), input_shape=(5,))
    with pytest.raises(DataError) as error:
        to_torch(predictor)
    text = str(error.value)
    assert text.startswith("The model cannot be written for torch.export (")
    assert text.endswith("; mtl-export --to safetensors writes its weights.")
    assert "\n" not in text


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the extra that is needed has to be guessed."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError) as error:
        to_onnx(predictor_of("mlp"))
    assert (
        str(error.value)
        == "mtl-export --to onnx needs onnx, which is not installed; install it with: pip install 'mtl-runner[onnx]'."
    )


@pytest.mark.images
def test_weights_alone_make_the_same_model() -> None:
    """Breaks if a weight is left out of the file, or stands under another name."""
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    predictor = predictor_of("lenet")
    weights = safetensors.load(to_safetensors(predictor))
    state = predictor.model.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in state)


def test_a_predicted_noise_scale_is_exported() -> None:
    """Breaks if the noise that a model predicts stays behind."""
    node = {"_target_": "mtl_runner.models.MLP", "hidden": [8]}
    model = model_from_shape(node, ROWS, (5,), share=True, predicts_noise=True, features=None)
    with torch.no_grad():
        for parameter in model.parameters():  # at the start it predicts one scale for all rows
            parameter.add_(0.1 * torch.randn_like(parameter))
    predictor = Predictor(model, ROWS, None, Heteroscedastic(ROWS), input_shape=(5,))
    module = torch.export.load(io.BytesIO(to_torch(predictor))).module()
    (inputs,) = example_tensors(predictor, 6)
    sigma = module(inputs)["price.sigma"].flatten()
    assert sigma.unique().numel() == 6
    expected = predictor.predict_table(inputs, interval=0.95)["price.sigma"]
    assert sigma.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
