"""Tables as they lie on disk: CSV, TSV and Parquet files."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_runner.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: str) -> pd.DataFrame:
    r"""Return the rows of a CSV, TSV or Parquet file; the first two may be compressed (``.gz``).

    Raises:
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
    if not file.is_file():
        raise DataError(
            f"There is no file {path!r} (looked in {file.absolute().parent}); set data.path to the table."
        )
    try:
        frame = (
            pd.read_parquet(file).reset_index(drop=True)
            if file.suffix == ".parquet"
            else _read_text(file)
        )
    except ImportError:
        raise DataError(
            f"Reading {path!r} needs pyarrow; install it with: pip install 'mtl-runner[parquet]'."
        ) from None
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"The table {path!r} cannot be read ({reason}); it should be CSV with a header line, or Parquet."
        ) from error
    _check_names([str(name) for name in frame.columns], path)
    if len(frame) == 0:
        raise DataError(f"The table {path!r} has no rows under its header line.")
    return frame


def _read_text(file: Path) -> pd.DataFrame:
    """Return the rows of a CSV or TSV file.

    Raises:
        DataError: If two columns have one name, or a line has more fields than the header.
    """
    import pandas as pd

    separator = "\t" if ".tsv" in file.suffixes else ","
    header = pd.read_csv(
        file, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False
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
            return pd.read_csv(file, sep=separator, index_col=False)
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
