"""Which images there are, and their labels, from tables and folders."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest

from mtl_runner.data.image_folder.files import (
    check_files,
    list_images,
    read_labels,
    without_broken,
)
from mtl_runner.data.image_folder.reader import ImageReader
from mtl_runner.errors import ConfigError, DataError
from tests.support.image_files import picture


def touch(folder: Path, *names: str) -> Path:
    """Make empty files; return their folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_folders_are_classes(tmp_path: Path) -> None:
    """Breaks if other files count as images, or the order depends on the file system."""
    touch(tmp_path, "rose/b.jpg", "rose/a.PNG", "daisy/c.jpeg", "daisy/notes.txt")
    _, frame = list_images(str(tmp_path), None, "file")
    assert frame.to_dict("list") == {
        "file": ["daisy/c.jpeg", "rose/a.PNG", "rose/b.jpg"],
        "label": ["daisy", "rose", "rose"],
    }


def test_folders_of_splits_are_seen(tmp_path: Path) -> None:
    """Breaks if 'train' and 'test' become classes."""
    touch(tmp_path, "train/rose/a.jpg", "val/rose/b.jpg", "test/daisy/c.jpg")
    _, frame = list_images(str(tmp_path), None, "file")
    assert frame.set_index("split")["label"].to_dict() == {
        "test": "daisy", "train": "rose", "val": "rose",
    }  # fmt: skip


def test_a_table_names_the_files(tmp_path: Path) -> None:
    """Breaks if the table is not found in the folder, or the column has another name."""
    (tmp_path / "labels.csv").write_text("path,age\na.jpg,3\nb.jpg,4\n")
    _, frame = list_images(str(tmp_path), "labels.csv", "path")
    assert frame.to_dict("list") == {"file": ["a.jpg", "b.jpg"], "age": [3, 4]}
    with pytest.raises(
        ConfigError, match=r"has no column 'file' that names the image files; .*set data\.files"
    ):
        list_images(str(tmp_path), "labels.csv", "file")
    (tmp_path / "labels.csv").write_text("file,age\na.jpg,3\n,4\n")
    with pytest.raises(DataError, match="names no file in row 2, column 'file'"):
        list_images(str(tmp_path), "labels.csv", "file")


def test_missing_folders_and_files_are_named(tmp_path: Path) -> None:
    """Breaks if a wrong path ends in an error of pandas or torch."""
    with pytest.raises(ConfigError, match=r"data=image_folder needs data\.path"):
        list_images(None, None, "file")
    with pytest.raises(DataError, match="is not a folder"):
        list_images(str(tmp_path / "none"), None, "file")
    with pytest.raises(DataError, match="holds no images"):
        list_images(str(tmp_path), None, "file")
    touch(tmp_path, "a/x.jpg", "b/y.jpg")
    folder, frame = list_images(str(tmp_path), None, "file")
    check_files({"train": frame}, folder)
    (tmp_path / "b/y.jpg").unlink()
    with pytest.raises(
        DataError, match=r"1 of 2 image files do not exist, the first of them 'b/y\.jpg'"
    ):
        check_files({"train": frame}, folder)


@pytest.mark.images
def test_broken_files_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if broken files are left out in silence, or whole ones with them."""
    image_module = pytest.importorskip("PIL.Image", reason="pip install 'mtl-runner[images]'")
    touch(tmp_path, "a/x.jpg", "a/z.jpg")
    image_module.fromarray(picture(0)).save(tmp_path / "a/y.jpg")
    folder, frame = list_images(str(tmp_path), None, "file")
    with caplog.at_level(logging.WARNING, logger="mtl_runner"):
        kept = without_broken({"train": frame}, folder, ImageReader((8, 8)))
    assert kept["train"]["file"].tolist() == ["a/y.jpg"]
    assert (
        "2 of 3 image files cannot be decoded and were left out: a/x.jpg, a/z.jpg." in caplog.text
    )
    with pytest.raises(
        DataError, match="None of the 2 image files of the val split exists and can be decoded"
    ):
        without_broken({"val": frame[frame["file"] != "a/y.jpg"]}, folder, ImageReader((8, 8)))


@pytest.mark.images
def test_files_that_do_not_exist_are_counted_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if a name without a file is told as a broken file."""
    pytest.importorskip("PIL.Image", reason="pip install 'mtl-runner[images]'")
    frame = write_files(tmp_path, good=3, broken=1, missing=2)
    with caplog.at_level(logging.WARNING, logger="mtl_runner"):
        kept = without_broken({"train": frame}, tmp_path, ImageReader((8, 8)))
    assert kept["train"]["file"].tolist() == ["good0.png", "good1.png", "good2.png"]
    assert caplog.messages == [
        "2 of 6 image files do not exist and were left out: none0.png, none1.png.",
        "1 of 6 image files cannot be decoded and were left out: bad0.png.",
    ]


@pytest.mark.images
def test_a_wrong_folder_is_refused_also_where_broken_files_are_skipped(tmp_path: Path) -> None:
    """Breaks if a wrong data.path trains on the few files that happen to exist."""
    pytest.importorskip("PIL.Image", reason="pip install 'mtl-runner[images]'")
    half = write_files(tmp_path, good=2, broken=0, missing=2)
    assert len(without_broken({"train": half}, tmp_path, ImageReader((8, 8)))["train"]) == 2
    frame = write_files(tmp_path, good=1, broken=1, missing=3)
    with pytest.raises(DataError) as refused:
        without_broken({"train": frame}, tmp_path, ImageReader((8, 8)))
    assert str(refused.value) == (
        f"3 of 5 image files do not exist, the first of them 'none0.png' in {str(tmp_path)!r}, which are too many for data.on_error=skip; most likely data.path is not the folder that the names start from, or the names in the labels are wrong."
    )


def write_files(folder: Path, good: int, broken: int, missing: int) -> pd.DataFrame:
    """Write image files of which some are broken; return a table that names others, too."""
    from PIL import Image

    names = [f"good{i}.png" for i in range(good)]
    for i, name in enumerate(names):
        Image.fromarray(picture(i)).save(folder / name)
    bad = [f"bad{i}.png" for i in range(broken)]
    touch(folder, *bad)
    return pd.DataFrame({"file": names + bad + [f"none{i}.png" for i in range(missing)]})


def test_a_table_of_labels_that_is_not_there_is_told_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the sentence names data.path, or one of the two places that were searched."""
    monkeypatch.chdir(tmp_path)
    photos = touch(tmp_path / "photos", "labels.csv").absolute()
    with pytest.raises(DataError) as refused:
        list_images("photos", "label.csv", "file")
    assert str(refused.value) == (
        f"There is no file 'label.csv', which data.labels names (looked in {tmp_path} and {photos}); did you mean 'labels.csv'?"
    )
    with pytest.raises(DataError, match=r"; set data\.labels to a table of labels\.$"):
        list_images("photos", "classes/names.parquet", "file")
    with pytest.raises(
        DataError, match=r"'/none/a\.csv', .* \(looked in /none\); set data\.labels"
    ):
        list_images("photos", "/none/a.csv", "file")
    with pytest.raises(DataError, match=r"'val\.csv', which data\.split names"):
        read_labels("val.csv", photos, "file", None, "data.split")
