"""``mtl-export``: what lies in the folder, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mtl_runner.cli import export
from mtl_runner.errors import RunDirectoryError
from mtl_runner.runs.export_command import main
from mtl_runner.runs.predictor import load
from mtl_runner.runs.runner import run
from tests.unit.runs.small_runs import tiny_request

HOUSES = "area,city,price\n" + "".join(f"{n},{'AB'[n % 2]},{3 * n}\n" for n in range(30))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table, exported as a program of torch."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    (folder / "houses.csv").write_text(HOUSES)
    request = tiny_request(
        folder / "run",
        "data=table",
        f"data.path={folder / 'houses.csv'}",
        "data.targets={price: regression}",
        "weighting=uncertainty",
    )
    assert run(request).error == ""
    main([str(folder / "run"), "--to", "torch"])
    return folder / "run"


def test_the_folder_holds_the_model_its_inputs_and_a_card(exported: Path) -> None:
    """Breaks if somebody who gets the folder cannot make inputs, or get the run's answers."""
    folder = exported / "export"
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "model.pt2",
        "preprocessing.json",
    ]
    area, city = json.loads((folder / "preprocessing.json").read_text())["columns"]
    row = [(7 - area["mean"]) / area["scale"], *(float(c == "B") for c in city["categories"])]
    import pandas as pd

    answers = torch.export.load(folder / "model.pt2").module()(torch.tensor([row]))
    expected = load(exported).predict(pd.DataFrame({"area": [7], "city": ["B"]}), interval=0.95)
    for name in ("price", "price.sigma", "price.low", "price.high"):
        assert answers[name].item() == pytest.approx(expected[name][0], rel=1e-4)


def test_the_card_says_what_the_model_is(exported: Path) -> None:
    """Breaks if data, tasks, metrics or the training cannot be read off the card."""
    card = (exported / "export/README.md").read_text()
    summary = json.loads((exported / "summary.json").read_text())
    rmse = summary["tasks"]["price"]["best"]["test"]["rmse"]
    for text in (
        "| `price` | regression | in the target's units |",
        "- path: `houses.csv`",
        "- 1 epoch, ",
        "torch.export.load",
        "data.path=houses.csv",
    ):
        assert text in card
    assert f"{rmse:.4g}" in card
    assert str(exported.parent) not in card, "a folder of the user's machine"


def test_what_was_done_is_said(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a user does not learn where the files are, or that they were compared."""
    main([str(exported), "--to", "torch", "-o", str(tmp_path / "out")])
    assert capsys.readouterr().out == (
        "model.pt2 answers as the run does (checked on random inputs, to 1e-05 of a target's scale); README.md says what it is.\n"
        f"{tmp_path / 'out'}\n"
    )


def test_a_wrong_run_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a wrong path is a traceback, or leaves a folder behind."""
    with pytest.raises(RunDirectoryError):
        main([str(tmp_path), "--to", "torch"])
    monkeypatch.setattr("sys.argv", ["mtl-export", str(tmp_path), "--to", "torch"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as end:
        export()
    assert end.value.code == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
