"""``mtl-predict`` as typed: new rows, images and arrays, answered as a table that can be joined."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mtl_runner
from tests.support.commands import QUICK, Command, Result, Server
from tests.support.paths import ROOT

TARGETS = "[{name: price, kind: regression}, {name: state, kind: classification}, {name: heating, columns: [gas, oil]}]"
ANSWERS = [
    "price",
    "price.sigma",
    "price.low",
    "price.high",
    "state",
    "state.probability.fine",
    "state.probability.plain",
    "heating.gas",
    "heating.oil",
    "heating.probability.gas",
    "heating.probability.oil",
]


def houses(rows: int = 300) -> pd.DataFrame:
    """Return a table with a target of every kind, names of its rows, and a few gaps."""
    random = np.random.default_rng(0)
    area, city = random.uniform(50, 250, rows), random.choice(["Bonn", "Köln"], rows)
    frame = pd.DataFrame({"house": [f"H{i:04d}" for i in range(rows)], "area": area, "city": city})
    frame["price"] = 1000 * area + 50_000 * (city == "Bonn") + random.normal(0, 5000, rows)
    frame["state"] = np.where(city == "Bonn", "fine", "plain")
    frame["gas"], frame["oil"] = (area > 100).astype(int), (city == "Bonn").astype(int)
    frame.loc[[3, 210], "price"] = np.nan
    frame.loc[7, "area"] = np.nan
    return frame


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table (of semicolons) and a run on it, ``run``, that recorded answers."""
    folder = tmp_path_factory.mktemp("houses")
    houses().to_csv(folder / "houses.csv", index=False, sep=";")
    ended = server.run(
        "mtl-run",
        "data=table",
        "data.path=houses.csv",
        "data.read.sep=';'",
        f"data.targets={TARGETS}",
        "weighting=uncertainty",
        "trainer.epochs=5",
        "model.hidden=[8]",
        "record.plots=none",
        "record.predictions=true",
        "hydra.run.dir=run",
        cwd=folder,
        env={},
        meanwhile=None,
    )
    assert ended.code == 0, ended.err
    return folder


def predict(mtl: Command, folder: Path, *arguments: str) -> Result:
    """Return how the command ended, typed in the folder of the run."""
    return mtl("mtl-predict", "run", *arguments, cwd=folder)


def test_new_rows_without_targets_and_with_new_categories_are_answered(
    mtl: Command, folder: Path
) -> None:
    """Breaks if rows that nobody has labelled yet, or that hold a new city, cannot be answered."""
    new = houses().head(9)[["house", "city", "area"]].assign(city=["Oslo", None, *["Bonn"] * 7])
    new.to_csv(folder / "new.csv", index=False, sep=";")
    result = predict(mtl, folder, "new.csv", "-o", "answers.csv")
    assert result.code == 0, result.err
    assert (
        result.last_line
        == "Column 'city' holds categories that the training rows do not have, in 1 row (Oslo); they are treated as missing."
    )
    assert result.out.splitlines() == [
        "9 rows (price: regression; state: classification of fine, plain; heating: multilabel of gas, oil)",
        "answers.csv",
    ]
    answers = pd.read_csv(folder / "answers.csv")
    assert list(answers.columns) == ["row", "house", *ANSWERS]
    assert answers["row"].tolist() == list(range(9))
    assert answers["house"].tolist() == new["house"].tolist()
    assert not answers.isna().any(axis=None)
    shares = answers[["state.probability.fine", "state.probability.plain"]]
    assert np.allclose(shares.sum(axis=1), 1)
    assert (shares.idxmax(axis=1).str.rpartition(".")[2] == answers["state"]).all()


def test_the_answers_are_those_of_the_loaded_run(mtl: Command, folder: Path) -> None:
    """Breaks if the command and Python disagree, or an interval is not of the noise scale."""
    result = predict(mtl, folder, "houses.csv", "--interval", "0.5", "-o", "half.csv")
    assert result.code == 0, result.err
    answers = pd.read_csv(folder / "half.csv")
    predictor = mtl_runner.load(folder / "run")
    expected = predictor.predict(houses(), probabilities=True, interval=0.5)
    assert list(expected.columns) == ANSWERS
    pd.testing.assert_frame_equal(
        answers[ANSWERS], expected, check_dtype=False, rtol=1e-5, check_column_type=False
    )
    half = (expected["price.high"] - expected["price.low"]) / 2
    assert np.allclose(half / expected["price.sigma"], 0.6745, rtol=1e-3)


def test_the_recorded_answers_can_be_joined_with_the_table(folder: Path) -> None:
    """Breaks if predictions.csv holds classes by index, or a row that is not the table's."""
    recorded = pd.read_csv(folder / "run" / "predictions.csv")
    table = houses()
    joined = recorded.join(table.add_prefix("table."), on="row")
    assert (joined["house"] == joined["table.house"]).all()
    assert (joined["state.target"] == joined["table.state"]).all()
    known = joined["table.price"].notna()
    assert np.allclose(joined["price.target"][known], joined["table.price"][known], rtol=1e-5)
    assert joined["price.target"][~known].isna().all()
    assert set(joined["state"]) <= {"fine", "plain"}
    assert (joined["heating.gas.target"] == joined["table.gas"]).all()
    assert recorded["split"].unique().tolist() == ["val", "test"]


def test_recorded_and_predicted_answers_are_the_same(mtl: Command, folder: Path) -> None:
    """Breaks if the answers of the judged model are not those that the run gives away."""
    assert predict(mtl, folder, "houses.csv", "-o", "all.csv").code == 0
    recorded = pd.read_csv(folder / "run" / "predictions.csv")
    answers = pd.read_csv(folder / "all.csv").loc[recorded["row"]].reset_index(drop=True)
    assert np.allclose(answers["price"], recorded["price"], rtol=1e-5)
    assert np.allclose(answers["price.sigma"], recorded["price.sigma"], rtol=1e-5)
    assert (answers["state"] == recorded["state"]).all()


def test_the_table_goes_to_the_terminal_without_a_name(mtl: Command, folder: Path) -> None:
    """Breaks if ``mtl-predict ... | head`` shows anything but the table."""
    result = predict(mtl, folder, "houses.csv", "--plain", "--keep", "city,price")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "row,house,city,price.target,price,state,heating.gas,heating.oil"
    assert len(lines) == 301


@pytest.mark.long
def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    """Breaks if ``| head`` ends in a sentence about a broken pipe."""
    many = pd.concat([houses()] * 100)
    many.to_csv(folder / "many.csv", index=False, sep=";")
    program = f"{sys.executable} -c 'from mtl_runner.cli import predict; predict()'"
    ended = subprocess.run(
        ["bash", "-c", f"{program} run many.csv | head -1"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("row,house,price,")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing.csv",), "There is no file or folder 'nothing.csv'."),
        (
            ("houses.csv", "-o", "houses.csv"),
            "-o houses.csv is the file that is read; give another name.",
        ),
        (
            ("houses.csv", "data.read.sep=','"),
            "The table 'houses.csv' has one column, 'house;area;city;price;state;gas;oil'; if ';' separates its columns, set data.read={sep: \";\"}.",
        ),
        (
            ("houses.csv", "--keep", "hous"),
            "--keep names 'hous', which is no column of the table; did you mean 'house'? allowed: area, city, gas, house, oil, price, state.",
        ),
        (
            ("houses.csv", "--interval", "95"),
            "interval must be a share between 0 and 1, e.g. 0.95; found 95.0.",
        ),
        (
            ("houses.csv", "run/metrics.csv"),
            "This model takes the rows of one table, .csv or .parquet; found houses.csv, run/metrics.csv.",
        ),
        (("data.read.sep=;",), "mtl-predict needs an input after the run, e.g. new.csv."),
    ],
)
def test_a_wrong_input_is_one_sentence(
    mtl: Command, folder: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a mistake ends in a traceback, or does not say what would be right."""
    before = (folder / "houses.csv").read_bytes()
    result = predict(mtl, folder, *arguments)
    assert (result.code, result.err.strip()) == (1, sentence)
    assert (folder / "houses.csv").read_bytes() == before


def test_the_loaded_run_says_what_it_is(folder: Path) -> None:
    """Breaks if a notebook shows an object's address."""
    lines = repr(mtl_runner.load(folder / "run")).splitlines()
    assert lines[0].startswith(f"Predictor of {folder / 'run'}: MLP with ")
    assert lines[1] == "  inputs: a table with area, city"
    assert lines[2].startswith("  price: regression, sigma ")
    assert lines[3:] == [
        "  state: classification of fine, plain",
        "  heating: multilabel of gas, oil",
    ]


def test_a_model_of_tensors_takes_arrays(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run on tensors is no use on the terminal, or a wrong shape is a traceback."""
    assert mtl("mtl-run", "data=toy_mixed", *QUICK, "hydra.run.dir=run").code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    right, wrong = np.random.default_rng(0).normal(size=(5, 4)), np.zeros((5, 3))
    np.save(tmp_path / "new.npy", right)
    np.save(tmp_path / "wrong.npy", wrong)
    result = mtl("mtl-predict", "run", "new.npy", "-o", "answers.csv")
    assert result.code == 0, result.err
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert len(answers) == 5
    assert set(summary["tasks"]) <= set(answers.columns)
    assert mtl("mtl-predict", "run", "wrong.npy").last_line == (
        "The model takes tensors [N, 4], but 'wrong.npy' holds [5, 3]."
    )
    (tmp_path / "new.csv").write_text("x\n1\n")
    assert mtl("mtl-predict", "run", "new.csv").last_line == (
        "This model takes tensors [N, 4]; give one .npy file, or an .npz file with an array per input."
    )


OWN_MODEL = """
from torch import nn
from my_layers_17 import WIDTH

class TwoHeads(nn.Module):
    def __init__(self, tasks, input_shape):
        super().__init__()
        self.trunk = nn.Linear(*input_shape, WIDTH)
        self.heads = nn.ModuleDict({task.name: nn.Linear(WIDTH, task.size) for task in tasks})
    def forward(self, x):
        return {name: head(self.trunk(x).relu()) for name, head in self.heads.items()}
"""


def test_a_model_of_ones_own_answers_from_any_folder(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a run with a user's own model can be used in the folder of its code alone."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "my_model_17.py").write_text(OWN_MODEL)
    (project / "my_layers_17.py").write_text("WIDTH = 4\n")
    (project / "conf/model").mkdir(parents=True)
    (project / "conf/model/own.yaml").write_text("_target_: my_model_17.TwoHeads\n")
    options = ("data=toy_mixed", "model=own", *QUICK[1:], "hydra.run.dir=run")
    trained = mtl("mtl-run", *options, cwd=project)
    assert trained.code == 0, trained.err
    np.save(elsewhere / "new.npy", np.zeros((2, 4)))
    question = ("mtl-predict", "../project/run", "new.npy", "-o", "answers.csv")
    refused = mtl(*question, cwd=elsewhere)
    assert (refused.code, refused.err.strip()) == (
        1,
        "'../project/run/best.pt' names code that is neither mtl-runner's nor a layer of torch.nn "
        f"(model._target_='my_model_17.TwoHeads'; my_model_17 lies in {str(project)!r}); only if you trust it, "
        "type mtl_runner.load('../project/run', trust=['my_model_17']), or in a terminal --trust my_model_17.",
    )
    trusted = mtl(*question, "--trust", "my_model_17", cwd=elsewhere)
    assert trusted.code == 0, trusted.err
    assert trusted.err == f"my_model_17 is taken from {str(project)!r}, where its run found it.\n"
    assert len(pd.read_csv(elsewhere / "answers.csv")) == 2
