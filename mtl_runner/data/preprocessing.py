"""The preprocessing of a dataset, made again from the plain values that a run records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_runner.data.image_folder.reader import ImageReader
from mtl_runner.data.table.columns import Features


def features_of(state: Mapping[str, Any] | None) -> Features | None:
    """Return the feature columns of a table; None where the data were no table.

    Args:
        state: The attribute ``preprocessing`` of a dataset.

    Example:
        >>> features_of(None) is None, features_of({"columns": []}).width
        (True, 0)
    """
    return Features.from_state(dict(state)) if state and "columns" in state else None


def image_reader_of(state: Mapping[str, Any] | None) -> ImageReader | None:
    """Return the reader of image files; None where the data were none.

    Args:
        state: The attribute ``preprocessing`` of a dataset.

    Example:
        >>> image_reader_of({"images": {"size": [32, 32]}}).size
        (32, 32)
    """
    return ImageReader.from_state(state["images"]) if state and "images" in state else None
