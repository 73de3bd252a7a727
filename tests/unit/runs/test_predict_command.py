"""``mtl-predict``: how its input is understood. tests/cli/test_predict.py types the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mtl_runner.errors import DataError
from mtl_runner.experiment.build import build
from mtl_runner.runs.predict_command import main
from mtl_runner.runs.runner import run
from tests.unit.runs.small_runs import tiny_request

HOUSES = "area,city,price\n" + "".join(f"{n},{'AB'[n % 2]},{3 * n}\n" for n in range(30))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table without identifiers, which recorded an interpolation beside its options."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    (folder / "houses.csv").write_text(HOUSES)
    request = tiny_request(
        folder / "run",
        "data=table",
        f"data.path={folder / 'houses.csv'}",
        "data.targets={price: regression}",
        "data.read={na_values: [none]}",
    )
    assert run(request).error == ""
    return folder


def test_a_table_is_read_as_that_of_the_run(directory: Path, tmp_path: Path) -> None:
    """Breaks if a new table must be described anew, or parquet cannot be written."""
    (tmp_path / "new.csv").write_text("city,area\nA,none\nB,7\n")
    main([str(directory / "run"), str(tmp_path / "new.csv"), "-o", str(tmp_path / "a.parquet")])
    answers = pd.read_parquet(tmp_path / "a.parquet")
    assert list(answers.columns) == ["row", "price"]
    assert np.isfinite(answers["price"]).all()
    (tmp_path / "new.csv").write_text("city;area\nA;none\n")
    main(
        [
            str(directory / "run"),
            str(tmp_path / "new.csv"),
            "data.read.sep=;",
            "-o",
            str(tmp_path / "b.csv"),
        ]
    )
    other = pd.read_csv(tmp_path / "b.csv")
    assert other["price"].tolist() == pytest.approx(answers["price"].tolist()[:1])


def test_columns_are_kept_as_they_stand_in_the_file(directory: Path, tmp_path: Path) -> None:
    """Breaks if a postcode loses its zero, or whole numbers of a column become text."""
    (tmp_path / "new.csv").write_text(
        "area,city,postcode,code,rate\n7,A,02840,10,1.50\n8,B,10115,,NA\n"
    )
    output = tmp_path / "a.csv"
    main([str(directory / "run"), str(tmp_path / "new.csv"), "--keep", "all", "-o", str(output)])
    lines = output.read_text().splitlines()
    assert lines[0] == "row,area,city,postcode,code,rate,price"
    assert lines[1].startswith("0,7,A,02840,10,1.50,")
    assert lines[2].startswith("1,8,B,10115,,NA,")


def test_a_moved_model_needs_nothing_but_best_pt(directory: Path, tmp_path: Path) -> None:
    """Breaks if a model that was copied without its records cannot answer."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/best.pt").write_bytes((directory / "run/best.pt").read_bytes())
    (tmp_path / "new.csv").write_text("city,area\nA,1\n")
    main([str(tmp_path / "model"), str(tmp_path / "new.csv"), "-o", str(tmp_path / "a.csv")])
    assert len(pd.read_csv(tmp_path / "a.csv")) == 1


def test_a_column_that_is_missing_is_named(directory: Path, tmp_path: Path) -> None:
    """Breaks if a table without a feature ends in a KeyError."""
    (tmp_path / "new.csv").write_text("city\nA\n")
    with pytest.raises(DataError, match="The table has no column 'area'"):
        main([str(directory / "run"), str(tmp_path / "new.csv")])


def test_the_rows_of_the_recorded_splits_are_those_of_the_table(directory: Path) -> None:
    """Breaks if predictions.csv cannot be joined with the table."""
    config = tiny_request(
        directory / "x",
        "data=table",
        f"data.path={directory / 'houses.csv'}",
        "data.targets={price: regression}",
    ).config
    data = build(config).data
    assert data.row_ids is not None
    rows = data.row_ids("test")["row"]
    targets = data.splits["test"].targets["price"].flatten() * data.tasks[0].scale
    assert (targets + data.tasks[0].offset).tolist() == pytest.approx([3.0 * row for row in rows])
