"""`model.embeddings` as typed: trained on a table, loaded, refused without categories."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

import mtl_runner
from mtl_runner.models import EmbedsCategories
from tests.support.commands import Command

QUICK = ("trainer.epochs=1", "trainer.device=cpu", "record.plots=none", "hydra.run.dir=run")
CITIES = ("Bonn", "Rome", "Oslo", "Bern", "Kiel")


@pytest.fixture
def houses(tmp_path: Path) -> pd.DataFrame:
    """Write houses.csv, with a column of five categories, and return its rows."""
    numbers = range(80)
    frame = pd.DataFrame(
        {
            "area": [40 + n * 13 % 90 for n in numbers],
            "city": [CITIES[n % 5] for n in numbers],
            "price": [n * 37 % 100 for n in numbers],
        }
    )
    frame.to_csv(tmp_path / "houses.csv", index=False)
    return frame


@pytest.mark.parametrize("model", ["mlp", "mmoe"])
def test_categories_of_a_table_are_embedded(
    mtl: Command, tmp_path: Path, houses: pd.DataFrame, model: str
) -> None:
    """Breaks `model.embeddings=auto`, or the answer for a category that training did not see."""
    table = ("data=table", "data.path=houses.csv", "data.targets={price: regression}")
    result = mtl("mtl-run", *table, f"model={model}", "model.embeddings=auto", *QUICK)
    assert result.code == 0, result.err
    predictor = mtl_runner.load(tmp_path / "run")
    assert isinstance(predictor.model, EmbedsCategories)
    assert [tuple(weight.shape) for weight in predictor.model.weights] == [(5, 4)]
    new = pd.DataFrame({"area": [70, 70, 70], "city": ["Rome", "Kiel", "Lima"]})
    assert predictor.predict(new)["price"].nunique() == 3
    with torch.no_grad():
        predictor.model.weights[0].zero_()
    assert predictor.predict(new)["price"].nunique() == 1


def test_inputs_without_categories_have_their_sentence(mtl: Command) -> None:
    """Breaks if an option that has no effect is taken without a word."""
    result = mtl("mtl-run", "data=digits", "model.embeddings=auto", *QUICK)
    assert result.code == 1
    assert result.last_line == (
        "model.embeddings=auto embeds the categories of a table, but the inputs are none; use data=table, or model.embeddings=null."
    )
