"""Tables are read from CSV, TSV and Parquet files; any other file gets its sentence."""

from __future__ import annotations

import gzip

import pytest
import torch

from mtl_runner.data import Table
from mtl_runner.data.prepare import prepare
from mtl_runner.data.table.files import read_table
from mtl_runner.errors import ConfigError, DataError
from tests.unit.data.table.houses import ROWS, SPLITS, fails, of_all_splits


def test_parquet_equals_csv(table, tmp_path, houses):
    """Breaks Parquet files: the same rows must give the same tensors."""
    houses["rooms"] = houses["rooms"].where(houses["id"] % 5 != 0)
    houses.loc[3, "state"] = None
    targets = [
        "price",
        "state",
        {"name": "rooms", "kind": "classification"},
        {"name": "tags", "separator": ";"},
    ]
    csv = table(targets, houses)
    houses.to_parquet(tmp_path / "houses.parquet")
    parquet = prepare(Table(str(tmp_path / "houses.parquet"), targets))
    assert parquet.tasks == csv.tasks
    for name in SPLITS:
        torch.testing.assert_close(parquet.splits[name].inputs, csv.splits[name].inputs)
        for task in csv.tasks:
            torch.testing.assert_close(
                parquet.splits[name].targets[task.name],
                csv.splits[name].targets[task.name],
                equal_nan=True,
            )


@pytest.mark.parametrize(
    ("column", "dtype", "target", "classes"),
    [
        ("rooms", "Int64", {"name": "rooms", "kind": "classification"}, ("1", "2", "3", "4")),
        ("garden", "boolean", {"name": "garden"}, ("False", "True")),
        (
            "garden",
            "boolean",
            {"name": "it", "column": "garden", "positive": True},
            ("False", "True"),
        ),
        ("state", "category", {"name": "state"}, ("new", "ruin", "used")),
        ("state", "string", {"name": "state"}, ("new", "ruin", "used")),
        ("tags", "category", {"name": "tags", "separator": ";"}, ("lift", "quiet", "view")),
    ],
)
def test_typed_parquet_columns_with_gaps_are_classes(
    tmp_path, houses, column, dtype, target, classes
):
    """Breaks Parquet's own types as targets with missing labels.

    They are nullable integers and truth values, and categories.
    """
    houses[column] = houses[column].astype(dtype).where(houses["id"] % 5 != 0)
    houses.to_parquet(tmp_path / "houses.parquet")
    prepared = prepare(Table(str(tmp_path / "houses.parquet"), [target], features=["area"]))
    task = prepared.tasks[0]
    values = of_all_splits(prepared, task.name)
    assert task.classes == classes
    assert task.missing
    assert (
        int((values.isnan().any(1) if values.is_floating_point() else values == -100).sum())
        == ROWS // 5
    )


@pytest.mark.parametrize(
    "dtype", ["Int64", "boolean", "category", "string", "datetime64[ns]", "float32"]
)
def test_typed_parquet_columns_with_gaps_are_features(tmp_path, houses, dtype):
    """Breaks Parquet's own types as features."""
    houses["x"] = houses["gas"].astype(dtype).where(houses["id"] % 5 != 0)
    houses.to_parquet(tmp_path / "houses.parquet")
    x = of_all_splits(prepare(Table(str(tmp_path / "houses.parquet"), ["price"], features=["x"])))
    # Value and gap, or two categories; a date and its time are six numbers.
    assert x.shape == (ROWS, 7 if dtype.startswith("datetime") else 2)
    assert bool(x.isfinite().all())


@pytest.mark.parametrize(
    ("name", "separator"), [("t.csv.gz", ","), ("t.tsv", "\t"), ("t.tsv.gz", "\t")]
)
def test_compressed_and_tab_separated_files_are_read(tmp_path, houses, name, separator):
    """Breaks `.csv.gz`, `.tsv` and both together."""
    houses.to_csv(tmp_path / name, index=False, sep=separator)
    prepared = prepare(Table(str(tmp_path / name), ["price"], features=["area", "city"]))
    assert of_all_splits(prepared).shape == (ROWS, 4)


def test_home_is_expanded_in_the_path(tmp_path, monkeypatch, houses):
    """Breaks `data.path=~/houses.csv` where no shell expands it, as in a yaml file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    houses.to_csv(tmp_path / "houses.csv", index=False)
    assert len(Table("~/houses.csv", ["price"]).splits["train"]) == 70


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_lines_that_end_in_a_separator_are_not_shifted(tmp_path, name):
    """Breaks if the first field is taken for a row's name: "area" would be trained on prices."""
    lines = ["area,price", *(f"{n},{10 * n}," for n in range(20))]
    comma = "\n".join(lines)
    (tmp_path / name).write_text(comma if name == "t.csv" else comma.replace(",", "\t"))
    frame = read_table(str(tmp_path / name))
    assert frame.to_dict("list") == {
        "area": list(range(20)),
        "price": [10 * n for n in range(20)],
    }


@pytest.mark.parametrize(
    "lines",
    [["1,2,9", "3,4,9"], ["1,2,", "3,4,9"], ["1,2,9", "3,4"], ["1,2,,", "3,4,,"]],
    ids=["a row's name first", "last line", "first line", "two commas"],
)
def test_a_line_longer_than_the_header_is_refused(tmp_path, lines):
    """Breaks if fields that have no column are dropped, or shift the others."""
    (tmp_path / "t.csv").write_text("\n".join(["area,price", *lines]))
    with fails(
        DataError,
        "t.csv' has lines with more fields than its header line, which names 2 columns; give every column a name, and put text that holds the separator in quotes.",
    ):
        read_table(str(tmp_path / "t.csv"))


def test_two_columns_of_one_name_are_refused(tmp_path):
    """Breaks if pandas renames the second, which leaks a target that is copied."""
    (tmp_path / "t.csv").write_text("price,area,price\n1,2,1\n")
    with fails(
        DataError,
        "t.csv' has two columns called 'price'; give one of them another name, or remove it.",
    ):
        read_table(str(tmp_path / "t.csv"))


def test_columns_without_a_name_are_no_copies(tmp_path):
    """Breaks tables whose last columns are empty, as spreadsheets save them."""
    (tmp_path / "t.csv").write_text("area,price,,\n1,2,,\n")
    assert read_table(str(tmp_path / "t.csv"))[["area", "price"]].to_dict("list") == {
        "area": [1],
        "price": [2],
    }


def test_a_missing_file_is_named_with_the_folder_looked_in(tmp_path):
    """Breaks the sentence for a wrong path: relative paths are wrong more often than names."""
    with fails(DataError, "There is no file", "none.csv", f"looked in {tmp_path}", "set data.path"):
        Table(str(tmp_path / "none.csv"), ["price"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n"),
        ("not.parquet", b"a,b\n1,2\n"),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(tmp_path, name, content):
    """Breaks the sentence for a file that is no table; pandas' own error would be a traceback."""
    (tmp_path / name).write_bytes(content)
    with fails(
        DataError,
        "The table",
        name,
        "cannot be read (",
        "it should be CSV with a header line, or Parquet.",
    ):
        Table(str(tmp_path / name), ["a"])


@pytest.mark.parametrize(
    ("name", "encoding"), [("t.csv", "latin-1"), ("t.csv.gz", "utf-16"), ("t.tsv", "utf-8")]
)
def test_a_file_is_read_as_data_read_says(tmp_path, name, encoding):
    """Breaks European files: semicolons, decimal commas, dots in thousands, umlauts."""
    text = "fläche;preis;stadt\n1.050,5;3,5;Köln\n2,25;k.A.;Bonn\n"
    data = f"# von Hand\n{text}".encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    options = {"sep": ";", "encoding": encoding, "decimal": ",", "thousands": "."}
    options |= {"na_values": ["k.A."], "skiprows": 1}
    frame = read_table(str(tmp_path / name), options)
    assert frame["fläche"].tolist() == [1050.5, 2.25]
    assert frame["preis"].isna().tolist() == [False, True]
    assert frame["stadt"].tolist() == ["Köln", "Bonn"]


def test_a_table_takes_its_options(tmp_path, houses):
    """Breaks `data.read={sep: ";", encoding: latin-1}`, also for the files of a split."""
    for name in ("a.csv", "b.csv"):
        houses.to_csv(tmp_path / name, index=False, sep=";", encoding="latin-1")
    split = {"val": str(tmp_path / "b.csv"), "test": str(tmp_path / "b.csv")}
    read = {"sep": ";", "encoding": "latin-1"}
    table = Table(str(tmp_path / "a.csv"), ["price"], features=["city"], split=split, read=read)
    assert [len(part) for part in table.splits.values()] == [ROWS] * 3
    with fails(ConfigError, "data.read must be a mapping, e.g. {sep: ;, encoding: latin-1}; found"):
        Table(str(tmp_path / "a.csv"), ["price"], read="latin-1")


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (b"area;price\n1;2\n", {}, "has one column, 'area;price'; if ';' separates its columns, set data.read={sep: \";\"}."),
        (b"area\tprice\n1\t2\n", {}, "has one column, 'area\\tprice'; if '\\t' separates its columns, set data.read={sep: \"\\t\"}."),
        (b"a,b\nK\xf6ln,2\n", {}, "is not written in utf-8; name its encoding, e.g. data.read={encoding: latin-1}."),
        (b"a,b\nK\xf6ln,2\n", {"encoding": "utf8"}, "is not written in utf8; name its encoding"),
        (b"a,b\n1,2\n", {"encoding": "latin-7"}, "cannot be read (unknown encoding: latin-7)"),
    ],
)  # fmt: skip
def test_a_file_that_is_written_otherwise_says_which_option_is_missing(
    tmp_path, content, options, sentence
):
    """Breaks if a file with semicolons is one column, or an umlaut ends in pandas' words."""
    (tmp_path / "t.csv").write_bytes(content)
    with fails(DataError, sentence):
        read_table(str(tmp_path / "t.csv"), options)


def test_an_unknown_option_of_reading_gets_the_nearest_name(tmp_path):
    """Breaks if a mistyped option of data.read is ignored."""
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with fails(ConfigError, "data.read.encodng is not an option; did you mean 'encoding'?"):
        read_table(str(tmp_path / "t.csv"), {"encodng": "latin-1"})


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("t.json", "JSON"),
        ("t.jsonl.gz", "JSON"),
        ("T.FEATHER", "a Feather or Arrow file"),
        ("t.pkl", "a pickle"),
        ("t.npz", "no text"),
    ],
)
def test_another_form_of_table_is_refused_by_name(tmp_path, name, form):
    """Breaks if JSON is read as CSV, or the bytes of a Feather file are another encoding."""
    (tmp_path / name).write_bytes(b"ARROW1\x00\xff")
    with fails(DataError, f"{name}' is {form}; save it as CSV or Parquet, and set data.path to"):
        read_table(str(tmp_path / name))


def test_a_spreadsheet_is_refused_by_name(tmp_path):
    """Breaks if the bytes of an Excel file are taken for another encoding of text."""
    path = tmp_path / "t.xlsx"
    path.write_bytes(b"PK\x03\x04")
    with fails(DataError, "t.xlsx' is a spreadsheet; save its sheet as CSV"):
        read_table(str(path))


def test_a_folder_is_no_missing_file(tmp_path):
    """Breaks if a user looks for a file that is there, as a folder."""
    with fails(DataError, "is a folder; set data.path to a table in it"):
        read_table(str(tmp_path))
