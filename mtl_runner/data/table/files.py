"""Tables as they lie on disk: CSV, TSV and Parquet files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_runner.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: str) -> pd.DataFrame:
    r"""Return the rows of a CSV, TSV or Parquet file; the first two may be compressed (``.gz``).

    Raises:
        DataError: If the file does not exist or is no table, or pyarrow is not installed.

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
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        with warnings.catch_warnings():
            # A column of numbers and text becomes a category, or an error with its sentence.
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            return pd.read_csv(file, sep="\t" if ".tsv" in file.suffixes else ",")
    except ImportError:
        raise DataError(
            f"Reading {path!r} needs pyarrow; install it with: pip install 'mtl-runner[parquet]'."
        ) from None
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"The table {path!r} cannot be read ({reason}); it should be CSV with a header line, or Parquet."
        ) from error
