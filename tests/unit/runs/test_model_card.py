"""The card of a model. tests/unit/runs/test_export_command.py reads one of a whole run."""

from __future__ import annotations

from pathlib import Path

from mtl_runner.likelihood import Standard
from mtl_runner.models import MLP
from mtl_runner.runs.model_card import PLACE, model_card
from mtl_runner.runs.predictor import Predictor
from mtl_runner.tasks.task import Task

TASKS = [
    Task("price", size=1, offset=7.0, scale=2.5),
    Task("sort", "classification", classes=("a|b", "c"), size=2),
]


def card(form: str, run: Path) -> str:
    """Return the card of a model whose run recorded nothing."""
    predictor = Predictor(MLP(TASKS, (3,), [4]), TASKS, None, Standard(TASKS), input_shape=(3,))
    return model_card(run, predictor, form, {"model.onnx": "the model"})


def test_a_model_without_records_has_a_card(tmp_path: Path) -> None:
    """Breaks if a best.pt that was copied alone cannot be exported, or metrics are invented."""
    text = card("onnx", tmp_path)
    assert "The run has not finished, so that no metrics were recorded." in text
    assert "Tensors [N, 3]." in text
    assert "| `sort.probability` | classification of a\\|b, c | one probability per class" in text
    assert '{"inputs": inputs}' in text


def test_weights_alone_say_how_an_output_becomes_an_answer(tmp_path: Path) -> None:
    """Breaks if who loads the weights takes training units for prices."""
    text = card("safetensors", tmp_path)
    assert "| `price` | regression | times 2.5 plus 7 |" in text
    assert "| `sort` | classification of a\\|b, c | logits |" in text


def test_folders_of_a_machine_stay_at_home() -> None:
    """Breaks if a published card tells where its author keeps the data."""
    words = {
        "data.path=/home/me/houses.csv": "data.path=houses.csv",
        "data.path=~/x/houses.csv": "data.path=houses.csv",
        "data.path=C:\\data\\houses.csv": "data.path=houses.csv",
        "data.path=data/houses.csv": "data.path=data/houses.csv",
        "weighting=fixed": "weighting=fixed",
    }
    assert {word: PLACE.sub("", word) for word in words} == words
