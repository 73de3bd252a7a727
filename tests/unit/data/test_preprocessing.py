"""Preprocessing from the values that a run records."""

from __future__ import annotations

from mtl_runner.data.image_folder.reader import ImageReader
from mtl_runner.data.preprocessing import features_of, image_reader_of


def test_each_kind_of_preprocessing_is_told_from_the_others() -> None:
    """Breaks if a model of images is given the features of a table, or the other way round."""
    images = {"images": ImageReader((8, 16)).state()}
    table = {"columns": [{"name": "age", "mean": 2.0}]}
    assert image_reader_of(images) == ImageReader((8, 16))
    assert features_of(images) is None
    assert image_reader_of(table) is None
    features = features_of(table)
    assert features is not None
    assert features.width == 1
    assert features_of(None) is image_reader_of(None) is None
