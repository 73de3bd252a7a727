"""Tables as they lie on disk: CSV, TSV and Parquet files."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_runner.errors import ConfigError, DataError, suggest

if TYPE_CHECKING:
    import pandas as pd


# Options of pandas.read_csv that `data.read` takes.
OPTIONS = (
    "sep",
    "encoding",
    "decimal",
    "thousands",
    "na_values",
    "quotechar",
    "comment",
    "skiprows",
)
OF_NUMBERS = ("decimal", "thousands", "na_values")
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
# Other forms of tables, which would be read as lines of text.
OTHER_FORMS = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "JSON"),
    **dict.fromkeys((".feather", ".arrow", ".ipc"), "a Feather or Arrow file"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle"),
    **dict.fromkeys((".orc", ".avro", ".h5", ".hdf5", ".npy", ".npz"), "no text"),
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
SEPARATORS = (";", "\t", "|")  # a header line of one name that holds one was read with a wrong one


def read_table(path: str, options: Mapping[str, Any] | None = None) -> pd.DataFrame:
    r"""Return the rows of a CSV, TSV or Parquet file; the first two may be compressed (``.gz``).

    Args:
        path: The file.
        options: How a text file is written (``data.read``): ``sep``, ``encoding``, ``decimal``,
            ``thousands``, ``na_values``, ``quotechar``, ``comment``, ``skiprows``, as
            ``pandas.read_csv`` knows them.

    Raises:
        ConfigError: If an option is unknown.
        DataError: If the file does not exist, is no table or has no rows, two of its columns have
            one name, a line has more fields than the header, or pyarrow is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mtl_runner.data.table.files import read_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "houses.csv")
        ...     _ = file.write_text("area,price\n50,1000\n")
        ...     read_table(str(file)).to_dict("records")
        [{'area': 50, 'price': 1000}]
    """
    import pandas as pd

    file = Path(path).expanduser()
    for key in options or {}:
        if key not in OPTIONS:
            raise ConfigError(f"data.read.{key} is not an option; {suggest(str(key), OPTIONS)}.")
    check_table_file(file, path)
    try:
        frame = (
            pd.read_parquet(file).reset_index(drop=True)
            if file.suffix == ".parquet"
            else _read_text(file, dict(options or {}))
        )
    except ImportError:
        raise DataError(
            f"Reading {path!r} needs pyarrow; install it with: pip install 'mtl-runner[parquet]'."
        ) from None
    except UnicodeDecodeError:
        raise DataError(
            f"The table {path!r} is not written in {(options or {}).get('encoding', 'utf-8')}; name its encoding, e.g. data.read={{encoding: latin-1}}."
        ) from None
    except (ValueError, LookupError, OSError) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"The table {path!r} cannot be read ({reason}); it should be CSV with a header line, or Parquet."
        ) from error
    _check_names([str(name) for name in frame.columns], path)
    if len(frame) == 0:
        raise DataError(f"The table {path!r} has no rows under its header line.")
    return frame


def check_table_file(file: Path, path: str) -> None:
    """Check that a path leads to a file that may be a table.

    Args:
        file: The path.
        path: How the user wrote it.

    Raises:
        DataError: If there is no such file, or it is a folder, a spreadsheet or
            another form of table.
    """
    if file.is_dir():
        raise DataError(f"{path!r} is a folder; set data.path to a table in it, as CSV or Parquet.")
    if not file.is_file():
        raise DataError(
            f"There is no file {path!r} (looked in {file.absolute().parent}); set data.path to the table."
        )
    if file.suffix.lower() in SPREADSHEETS:
        raise DataError(
            f"{path!r} is a spreadsheet; save its sheet as CSV, and set data.path to that file."
        )
    plain = file.with_suffix("") if file.suffix.lower() in COMPRESSED else file
    if form := OTHER_FORMS.get(plain.suffix.lower()):
        raise DataError(
            f"{path!r} is {form}; save it as CSV or Parquet, and set data.path to that file."
        )


def columns_as_written(
    columns: Mapping[str, pd.Series], path: str, options: Mapping[str, Any] | None = None
) -> dict[str, pd.Series]:
    r"""Return columns as they stand in their file: those that lose something as numbers are text.

    Such are leading zeros (``02840``), and marks of missing values (``NA``).

    Args:
        columns: Columns of the table by name, as they were read; the index is the row of the table.
        path: The file. If it is no longer there, the columns are returned as they were read.
        options: How it is written (``data.read``).

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mtl_runner.data.table.files import columns_as_written, read_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "houses.csv")
        ...     _ = file.write_text("postcode,area\n02840,50\n10115,70\n")
        ...     written = columns_as_written(dict(read_table(str(file)).items()), str(file))
        >>> {name: values.tolist() for name, values in written.items()}
        {'postcode': ['02840', '10115'], 'area': [50, 70]}
    """
    import pandas as pd

    file = Path(path).expanduser()
    if not columns or file.suffix == ".parquet" or not file.is_file():
        return dict(columns)
    of_lines = _options_of_lines(file, dict(options or {}))
    cells = pd.read_csv(
        file,
        usecols=lambda name: name in columns,
        index_col=False,
        dtype=str,
        keep_default_na=False,
        **of_lines,
    )
    written = {}
    for name, values in columns.items():
        text = cells[name].iloc[values.index].set_axis(values.index) if name in cells else values
        as_read = values.astype(object).where(values.notna(), "").astype(str)
        written[name] = values if text.tolist() == as_read.tolist() else text
    return written


def _options_of_lines(file: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that say how lines are cut into cells, whatever is in the cells."""
    options = {"sep": "\t" if ".tsv" in file.suffixes else ",", **options}
    return {key: value for key, value in options.items() if key not in OF_NUMBERS}


def _read_text(file: Path, options: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of a CSV or TSV file.

    Raises:
        DataError: If two columns have one name, or a line has more fields than the header.
    """
    import pandas as pd

    of_lines = _options_of_lines(file, options)
    options = {**options, **of_lines}
    header = pd.read_csv(file, header=None, nrows=1, dtype=str, keep_default_na=False, **of_lines)
    separators = [separator for separator in SEPARATORS if separator in str(header.iloc[0, 0])]
    if header.shape[1] == 1 and separators:
        raise DataError(
            f"The table {str(file)!r} has one column, {header.iloc[0, 0]!r}; if {separators[0]!r} separates its columns, set data.read={{sep: {json.dumps(separators[0])}}}."
        )
    # pandas renames the second column of a name, which may be a copy of a target.
    _check_names([name for name in header.iloc[0] if name], str(file))
    with warnings.catch_warnings():
        # A column of numbers and text becomes a category, or an error with its sentence.
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            # Without index_col=False the first field of lines that end in a comma is taken for
            # the name of the row, and every column holds the values of the next.
            frame: pd.DataFrame = pd.read_csv(file, index_col=False, **options)
            return frame
        except pd.errors.ParserWarning:
            raise DataError(
                f"The table {str(file)!r} has lines with more fields than its header line, which names {header.shape[1]} columns; give every column a name, and put text that holds the separator in quotes."
            ) from None


def _check_names(names: list[str], path: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(
                f"The table {path!r} has two columns called {name!r}; give one of them another name, or remove it."
            )
