"""A trained model: its answers to tensors. tests/cli/test_predictor.py is about whole runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError, DataError, RunDirectoryError
from mtl_runner.files import write_json
from mtl_runner.likelihood import Standard
from mtl_runner.runs.predictor import Predictor, load, task_from_plain
from mtl_runner.tasks.task import Task

TASKS = [
    Task("price", "regression", size=1, offset=100.0, scale=10.0),
    Task("state", "classification", size=3),
    Task("heating", "multilabel", size=2),
]
OUTPUTS = {
    "price": torch.tensor([[0.5], [-1.0]]),
    "state": torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]),
    "heating": torch.tensor([[1.0, -1.0], [-2.0, 3.0]]),
}


class Fixed(nn.Module):
    """A model that answers with given outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {name: output[: len(inputs)] for name, output in OUTPUTS.items()}


@pytest.fixture
def predictor() -> Predictor:
    """A predictor for tensors, with known outputs."""
    return Predictor(Fixed(), TASKS, None, Standard(TASKS))


def test_tensors_are_answered_in_target_units(predictor: Predictor) -> None:
    """Breaks if a price is standardised, a class is a logit, or a label is a probability."""
    answers = predictor.predict(torch.zeros(2, 4))
    assert answers["price"].tolist() == [[105.0], [90.0]]
    assert answers["state"].tolist() == [1, 0]
    assert answers["heating"].tolist() == [[1, 0], [0, 1]]


def test_outputs_are_raw(predictor: Predictor) -> None:
    """Breaks if a user cannot take probabilities, or the outputs drag a graph along."""
    outputs = predictor.outputs(torch.zeros(2, 4))
    assert list(outputs) == ["price", "state", "heating"]
    assert all(torch.equal(outputs[name], OUTPUTS[name]) for name in outputs)
    assert not predictor.model.training


def test_a_table_needs_a_model_of_tables(predictor: Predictor) -> None:
    """Breaks if a table for a model of tensors ends in an error of torch's."""
    with pytest.raises(DataError, match="This model was not trained on a table"):
        predictor.predict(pd.DataFrame({"x": [1.0]}))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_comes_back_from_its_plain_values(task: Task) -> None:
    """Breaks if a task loses its units or classes between best.pt and the predictor."""
    assert task_from_plain(task.plain()) == task


def test_a_task_of_an_early_run_comes_back() -> None:
    """Breaks if runs recorded before metrics had their name cannot be loaded."""
    assert task_from_plain({**TASKS[0].plain(), "measures": []}).scale == 10.0


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    """Breaks if a wrong path ends in an error of the unpickler."""
    with pytest.raises(RunDirectoryError, match=str(tmp_path)):
        load(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    """Breaks if `load("run/best.pt")` advises something that does not help."""
    (tmp_path / "best.pt").touch()
    with pytest.raises(RunDirectoryError) as error:
        load(tmp_path / "best.pt")
    assert (
        str(error.value)
        == f"{str(tmp_path / 'best.pt')!r} is a file; give the folder of the run: mtl_runner.load({str(tmp_path)!r})."
    )


@pytest.mark.parametrize("interval", [0, 1, 1.5, -0.1, True, "0.95"])
def test_an_interval_is_a_share_and_needs_a_noise_scale(
    predictor: Predictor, interval: float
) -> None:
    """Breaks if 95 is taken for 95 %, or an interval is missing without a word."""
    with pytest.raises(ConfigError, match="interval must be a share between 0 and 1"):
        predictor.predict(torch.zeros(2, 4), interval=interval)
    with pytest.raises(ConfigError, match="No task of this model has a noise scale"):
        predictor.predict(torch.zeros(2, 4), interval=0.95)


def test_tensors_are_answered_with_probabilities(predictor: Predictor) -> None:
    """Breaks if probabilities need a softmax of one's own."""
    answers = predictor.predict(torch.zeros(2, 4), probabilities=True)
    assert list(answers) == [
        "price",
        "state",
        "state.probability",
        "heating",
        "heating.probability",
    ]
    assert torch.equal(answers["state.probability"], OUTPUTS["state"].softmax(1))
    assert torch.equal(answers["heating.probability"], OUTPUTS["heating"].sigmoid())


@pytest.mark.parametrize(
    ("status", "reason", "end"),
    [
        (
            "failed",
            "Task 'a' has no labels.",
            "failed and has no best.pt (Task 'a' has no labels).",
        ),
        ("interrupted", "stopped by Ctrl-C", "was stopped and has no best.pt (stopped by Ctrl-C)."),
        ("running", "", "is running and has no best.pt (no evaluation yet)."),
    ],
)
def test_a_run_that_has_no_model_says_why(
    tmp_path: Path, status: str, reason: str, end: str
) -> None:
    """Breaks if a user must open summary.json to learn why there is nothing to load."""
    write_json(tmp_path / "summary.json", {"format": 1, "status": status, "reason": reason})
    with pytest.raises(RunDirectoryError) as error:
        load(tmp_path)
    assert str(error.value) == f"{str(tmp_path)!r} {end}"


def test_a_sweep_names_one_of_its_runs_and_a_wrong_path_is_one(tmp_path: Path) -> None:
    """Breaks if a person looks for a best.pt where none can be."""
    (tmp_path / "sweep/1").mkdir(parents=True)
    write_json(tmp_path / "sweep/sweep.json", {})

    def sentence(folder: Path) -> str:
        with pytest.raises(RunDirectoryError) as error:
            load(folder)
        return str(error.value).replace(str(tmp_path), "outputs")

    assert sentence(tmp_path / "sweep") == (
        "'outputs/sweep' is a sweep, and none of its runs holds a best.pt."
    )
    (tmp_path / "sweep/1/best.pt").touch()
    assert sentence(tmp_path / "sweep") == (
        "'outputs/sweep' is a sweep; give one of its runs, e.g. 'outputs/sweep/1'."
    )
    assert sentence(tmp_path / "nope") == (
        "There is no folder 'outputs/nope'; give the run directory, as mtl-run printed it."
    )
