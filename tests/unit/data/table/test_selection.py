"""Columns that identify rows are left out, and a line says what became of every column."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from mtl_runner.data.table.selection import describe, dropped_columns, identifier_columns
from mtl_runner.errors import ConfigError
from tests.unit.data.table.houses import fails, features_of

ROWS = 60
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("customer", [f"C{n}" for n in range(ROWS)], "60 values in 60 rows"),
        ("note", [f"late {n // 2}" for n in range(ROWS)], "text, 30 values in 60 rows"),
        ("user_id", RANDOM.permutation(ROWS) + 7, "60 values in 60 rows"),
        ("PassengerId", RANDOM.permutation(ROWS), "60 values in 60 rows"),
        ("Unnamed: 0", np.arange(ROWS), "60 values in 60 rows"),
        ("ID", np.arange(ROWS), "60 values in 60 rows"),
    ],
)
def test_a_column_that_identifies_rows_is_dropped(name, values, reason):
    """Breaks if a model learns its rows by heart, from a number that no new row has."""
    assert dropped_columns({"train": pd.DataFrame({name: values})}, [name]) == {name: reason}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", RANDOM.permutation(ROWS)),  # different whole numbers
        ("year", 1960 + np.arange(ROWS)),
        ("area", RANDOM.normal(size=ROWS)),
        ("user_id", np.arange(ROWS) // 2),  # visits of a user, who comes again
        ("humid", RANDOM.permutation(ROWS)),
        ("index", RANDOM.normal(size=ROWS)),
        ("city", RANDOM.choice(["Bonn", "Rome"], ROWS)),
        ("sold", pd.date_range("2020-01-01", periods=ROWS).strftime("%d.%m.%Y")),
        ("price", [*map(str, RANDOM.normal(size=ROWS - 1)), "n.a.?"]),  # a typing mistake
    ],
)
def test_a_column_that_says_something_stays(name, values):
    """Breaks if measurements are taken for identifiers."""
    assert dropped_columns({"train": pd.DataFrame({name: values})}, [name]) == {}


def test_few_rows_are_no_evidence():
    """Breaks if the cities of a table of ten rows are taken for identifiers."""
    frame = pd.DataFrame({"city": list("abcdefghij"), "id": range(10)})
    assert dropped_columns({"train": frame}, ["city", "id"]) == {}


def test_the_line_counts_and_names_every_column():
    """Breaks if a user cannot see what became of a column."""
    frame = pd.DataFrame(
        {
            "age": [1.0, np.nan, 3.0],
            "visits": [1, 2, 3],
            "plan": ["a", "b", None],
            "on": ["2021-01-04", "2021-01-05", "2021-01-06"],
        }
    )
    features = features_of(frame, list(frame.columns))
    assert describe(features, {"id": "3 values in 3 rows"}) == (
        "Inputs: 2 numeric (age, visits; 1 with gaps), 1 categorical (plan; 2 columns); "
        "on became 4 numbers (day, weekday, sine and cosine of the day of the year; read as %Y-%m-%d); "
        "id dropped: 3 values in 3 rows."
    )
    wide = pd.DataFrame({f"x{n}": [0.0, 1.0] for n in range(100)})
    names = ", ".join(f"x{n}" for n in range(12))
    assert describe(features_of(wide, list(wide.columns)), {}) == (
        f"Inputs: 100 numeric ({names}, ...)."
    )


GROUP = {"val": 0.2, "test": 0.2, "group": "part"}


@pytest.mark.parametrize(
    ("split", "features", "end"),
    [
        (GROUP, None, "; part groups the split and is no feature."),
        ({"column": "part"}, None, "; part names the split and is no feature."),
        (GROUP, ["area", "part"], ", 1 categorical (part; 1 column)."),
        (
            {"val": 0.2, "test": 0.2, "stratify": "part"},
            None,
            ", 1 categorical (part; 3 columns).",
        ),
    ],
)
def test_the_column_of_the_split_is_named(table, houses, caplog, monkeypatch, split, features, end):
    """Breaks if a column is in no list, and may or may not be an input."""
    logger = logging.getLogger("mtl_runner")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    caplog.set_level(logging.INFO, "mtl_runner")
    houses["part"] = np.resize(["train", "train", "val", "test"], len(houses))
    table(["price"], houses[["area", "part", "price"]], split=split, features=features)
    (line,) = (text for text in caplog.messages if text.startswith("Inputs: "))
    assert line == f"Inputs: 1 numeric (area){end}"


def test_a_table_says_what_it_uses(table, houses, caplog, monkeypatch):
    """Breaks if an identifier is an input after all, or dropped although it is named."""
    logger = logging.getLogger("mtl_runner")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, "mtl_runner")
    prepared = table(["price"], houses[["id", "area", "city", "price"]])
    assert prepared.splits["train"].inputs.shape == (70, 4)
    assert caplog.messages == [
        "Inputs: 1 numeric (area), 1 categorical (city; 3 columns); id dropped: 70 values in 70 rows."
    ]
    named = table(["price"], houses, features=["id", "area"])
    assert named.splits["train"].inputs.shape == (70, 2)
    logger.removeHandler(caplog.handler)
    with fails(ConfigError, "No feature column is left (id identify rows); name some in"):
        table(["price"], houses[["id", "price"]])


@pytest.mark.parametrize(
    ("name", "values", "identifies"),
    [
        ("customer", [f"C{n}" for n in range(ROWS)], True),
        ("user_id", RANDOM.permutation(ROWS) + 7, True),
        ("note", [f"late {n // 2}" for n in range(ROWS)], False),
        ("customer", [None, *(f"C{n}" for n in range(ROWS - 1))], False),
        ("height", RANDOM.normal(size=ROWS), False),
        ("day", [f"2021-{1 + n // 28:02}-{1 + n % 28:02}" for n in range(ROWS)], False),
    ],
)
def test_only_what_names_every_row_is_kept_beside_answers(name, values, identifies):
    """Breaks if answers cannot be joined with their customers, or carry numbers and free text."""
    frame = pd.DataFrame({name: values})
    assert identifier_columns({"train": frame}, [name]) == ([name] if identifies else [])
