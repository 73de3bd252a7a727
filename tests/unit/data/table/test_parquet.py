"""Parquet files of which parts are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mtl_runner.data.table import parquet
from mtl_runner.data.table.parquet import LazyFrame, ParquetTable, open_table
from mtl_runner.errors import ConfigError, DataError

pytest.importorskip("pyarrow", reason="tables on the disk need pyarrow")


def rows(n: int = 10) -> pd.DataFrame:
    """Return a small table with numbers and text."""
    return pd.DataFrame({"x": np.arange(n) * 1.5, "city": ["Rome", "Bonn"] * (n // 2)})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mtl_runner"


def test_groups_and_columns_are_those_of_the_file(tmp_path: Path) -> None:
    """Breaks if a window holds rows of another group, or forgets which rows they are."""
    rows().to_parquet(tmp_path / "t.parquet", row_group_size=4)
    table = ParquetTable(tmp_path / "t.parquet")
    assert table.starts.tolist() == [0, 4, 8, 10]
    frame = table.groups([2, 0], ["city", "x"])
    assert frame.index.tolist() == [8, 9, 0, 1, 2, 3]
    pd.testing.assert_series_equal(
        frame["x"], rows()["x"].iloc[[8, 9, 0, 1, 2, 3]], check_names=False
    )


def test_some_rows_look_like_a_data_frame(tmp_path: Path) -> None:
    """Breaks if a split of a table on the disk holds other rows than one in memory."""
    rows().to_parquet(tmp_path / "t.parquet", row_group_size=4)
    frame = LazyFrame(ParquetTable(tmp_path / "t.parquet")).take(np.array([7, 1, 4]))
    assert list(frame.columns) == ["x", "city"]
    assert frame["x"].tolist() == [1.5, 6.0, 10.5]
    assert frame.take(np.array([2]))["x"].to_dict() == {7: 10.5}


def test_a_csv_file_is_made_into_parquet_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a large CSV is converted at every start, or not again when it has changed."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 4)
    file = tmp_path / "t.csv"
    rows().to_csv(file, index=False)
    frame = open_table(str(file))
    assert frame["x"].tolist() == rows()["x"].tolist()
    assert len(frame.table.starts) == 4
    (made,) = cache.iterdir()
    changed = made.stat().st_mtime_ns
    open_table(str(file))
    assert made.stat().st_mtime_ns == changed
    rows(12).to_csv(file, index=False)
    assert len(open_table(str(file))) == 12
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_the_options_of_a_csv_file_are_used(tmp_path: Path) -> None:
    """Breaks if a German CSV is read as one column of text."""
    file = tmp_path / "t.csv"
    file.write_bytes("größe;ort\n1,5;Köln\nx;Rom\n".encode("latin-1"))
    options = {"sep": ";", "encoding": "latin-1", "decimal": ",", "na_values": "x"}
    frame = open_table(str(file), options)
    assert frame["größe"].tolist()[0] == 1.5
    assert np.isnan(frame["größe"].tolist()[1])
    assert frame["ort"].tolist() == ["Köln", "Rom"]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Breaks if a file that is no table on the disk ends in an error of pyarrow's."""
    broken = tmp_path / "t.parquet"
    broken.write_text("no parquet")
    with pytest.raises(DataError, match=r"data\.stream takes Parquet and CSV files"):
        open_table(str(broken))
    with pytest.raises(DataError, match="There is no file"):
        open_table(str(tmp_path / "no.csv"))
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(DataError) as error:
        open_table(str(file))
    assert "cannot be read in pieces (" in str(error.value)
    assert str(error.value).endswith("make a Parquet file of it, or set data.stream=false.")
    with pytest.raises(ConfigError) as wrong:
        open_table(str(file), {"thousands": "."})
    assert (
        str(wrong.value)
        == "data.read.thousands cannot be used with data.stream; make a Parquet file of the table, or set data.stream=false."
    )
