"""Which images there are, and their labels, from tables and folders."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mtl_runner.data.image_folder.files import check_files, list_images, without_broken
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
        DataError, match="None of the 2 image files of the val split can be decoded"
    ):
        without_broken({"val": frame[frame["file"] != "a/y.jpg"]}, folder, ImageReader((8, 8)))
