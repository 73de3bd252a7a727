"""Tables that need not fit into memory: Parquet files read by column, and by groups of rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_runner.data.cache import default_directory
from mtl_runner.data.table.files import check_table_file
from mtl_runner.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet

GROUP_ROWS = 2**17  # rows of a row group of a Parquet file that is made of a CSV file
# Options of data.read, as pyarrow's CSV reader calls them.
READ_OPTIONS = {"encoding": "encoding", "skiprows": "skip_rows"}
PARSE_OPTIONS = {"sep": "delimiter", "quotechar": "quote_char"}
CONVERT_OPTIONS = {"decimal": "decimal_point", "na_values": "null_values"}


class ParquetTable:
    """A Parquet file of which parts are read.

    Args:
        path: The file.

    Attributes:
        columns: Names of its columns.
        starts: The first row of each row group, and the number of rows at the end.

    Raises:
        DataError: If the file is no Parquet file, or pyarrow is not installed.

    Example:
        >>> import tempfile, pandas as pd
        >>> from mtl_runner.data.table.parquet import ParquetTable
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pd.DataFrame({"a": range(5)}).to_parquet(f"{folder}/t.parquet", row_group_size=2)
        ...     table = ParquetTable(f"{folder}/t.parquet")
        ...     table.starts.tolist(), table.groups([0, 2], ["a"])["a"].to_dict()
        ([0, 2, 4, 5], {0: 0, 1: 1, 4: 4})
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        metadata = self._open().metadata
        self.columns: list[str] = list(self._open().schema_arrow.names)
        rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def column(self, name: str) -> pd.Series:
        """Return a whole column; its index is the number of the row."""
        frame: pd.DataFrame = self._open().read([name], use_pandas_metadata=False).to_pandas()
        return frame[name]

    def groups(self, groups: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
        """Return the rows of some row groups; their index is the number of the row in the file."""
        table = self._open().read_row_groups(list(groups), list(columns), use_threads=False)
        frame: pd.DataFrame = table.to_pandas(use_threads=False)
        parts = [np.arange(self.starts[group], self.starts[group + 1]) for group in groups]
        frame.index = np.concatenate(parts)
        return frame

    def _open(self) -> pyarrow.parquet.ParquetFile:
        """Return the file, opened in this process: workers share no handle."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise DataError(
                "data.stream needs pyarrow; install it with: pip install 'mtl-runner[parquet]'."
            ) from None
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(
                f"The table {self.path!r} cannot be read ({reason}); data.stream takes Parquet and CSV files."
            ) from None


class LazyFrame:
    """Some rows of a Parquet file that look like a data frame, of which one column is in memory.

    Args:
        table: The file.
        positions: The rows, in the order of the file; None: all.

    Example:
        >>> import tempfile, pandas as pd
        >>> from mtl_runner.data.table.parquet import LazyFrame, ParquetTable
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pd.DataFrame({"a": [5, 6, 7]}).to_parquet(f"{folder}/t.parquet")
        ...     frame = LazyFrame(ParquetTable(f"{folder}/t.parquet")).take(np.array([2, 0]))
        ...     len(frame), frame["a"].to_dict(), "b" in frame
        (2, {0: 5, 2: 7}, False)
    """

    def __init__(self, table: ParquetTable, positions: np.ndarray | None = None) -> None:
        self.table = table
        self.positions = np.arange(len(table)) if positions is None else np.sort(positions)
        self._last: tuple[str, Any] = ("", None)

    def __len__(self) -> int:
        return len(self.positions)

    def __contains__(self, name: str) -> bool:
        return name in self.table.columns

    @property
    def columns(self) -> pd.Index:
        """The names of the columns."""
        import pandas as pd

        return pd.Index(self.table.columns)

    def __getitem__(self, name: str) -> pd.Series:
        if self._last[0] != name:
            values = self.table.column(name)
            is_all = len(self.positions) == len(self.table)
            self._last = (name, values if is_all else values.iloc[self.positions])
        column: pd.Series = self._last[1]
        return column

    def take(self, rows: np.ndarray) -> LazyFrame:
        """Return some of the rows; they stay in the order of the file."""
        return LazyFrame(self.table, self.positions[rows])


def open_table(path: str, options: Mapping[str, Any] | None = None) -> LazyFrame:
    """Return the rows of a Parquet file, or of a CSV file, which is made into one once.

    The Parquet file that is made of a CSV file lies in the cache folder
    (:func:`mtl_runner.data.cache.default_directory`), under a name that depends on path, size, time
    of the last change and options.

    Args:
        path: The file.
        options: ``data.read``: how a CSV file is written.

    Raises:
        DataError: If the file does not exist or cannot be read in pieces.
        ConfigError: If an option is none of those that can be used here.
    """
    file = Path(path).expanduser()
    check_table_file(file, path)
    if file.suffix != ".parquet":
        file = _as_parquet(file, dict(options or {}))
    table = ParquetTable(file)
    if not len(table):
        raise DataError(f"The table {path!r} has no rows under its header line.")
    for name in table.columns:
        if table.columns.count(name) > 1:
            raise DataError(
                f"The table {path!r} has two columns called {name!r}; give one of them another name, or remove it."
            )
    return LazyFrame(table)


def _as_parquet(file: Path, options: dict[str, Any]) -> Path:
    """Return the Parquet file of a CSV file; made now, in pieces, if it is not there."""
    status = file.stat()
    identity = repr(
        (str(file.absolute()), status.st_size, status.st_mtime_ns, sorted(options.items()))
    )
    folder = default_directory()
    made = folder / f"table-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.parquet"
    if made.exists():
        return made
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyarrow import csv
    except ImportError:
        raise DataError(
            "data.stream needs pyarrow; install it with: pip install 'mtl-runner[parquet]'."
        ) from None
    options = {"sep": "\t" if ".tsv" in file.suffixes else ",", **options}
    known = READ_OPTIONS | PARSE_OPTIONS | CONVERT_OPTIONS
    for key in options:
        if key not in known:
            raise ConfigError(
                f"data.read.{key} cannot be used with data.stream; make a Parquet file of the table, or set data.stream=false."
            )
    if isinstance(options.get("na_values"), str):
        options["na_values"] = [options["na_values"]]
    read, parse, convert = (
        {names[key]: value for key, value in options.items() if key in names}
        for names in (READ_OPTIONS, PARSE_OPTIONS, CONVERT_OPTIONS)
    )
    folder.mkdir(parents=True, exist_ok=True)
    temporary = made.with_name(f".{made.name}.{os.getpid()}")
    try:
        reader = csv.open_csv(
            file,
            read_options=csv.ReadOptions(block_size=2**24, **read),
            parse_options=csv.ParseOptions(newlines_in_values=True, **parse),
            convert_options=csv.ConvertOptions(strings_can_be_null=True, **convert),
        )
        with pq.ParquetWriter(temporary, reader.schema) as writer:
            for piece in reader:
                writer.write_batch(piece, row_group_size=GROUP_ROWS)
        temporary.replace(made)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"The table {str(file)!r} cannot be read in pieces ({reason}); make a Parquet file of it, or set data.stream=false."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return made
