"""``data=image_folder``: tasks and splits from tables, folders and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_runner.data import ImageFolder
from mtl_runner.data.image_folder.image_folder import parted_targets
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError, DataError
from tests.support.image_files import CLASSES, write_classes, write_photos

pytest.importorskip("torchvision", reason="pip install 'mtl-runner[images]'")
pytestmark = pytest.mark.images


def test_a_table_gives_tasks_with_names_units_and_missing_labels(tmp_path: Path) -> None:
    """Breaks if class names, the target's unit or a missing label are lost."""
    photos = write_photos(tmp_path)
    data = ImageFolder(
        str(photos),
        str(tmp_path / "labels.csv"),
        {"colour": "classification", "size": "regression"},
    )
    colour, size = data.tasks
    assert colour.classes == CLASSES
    assert size.scale > 1
    prepared = prepare(data)
    assert prepared.splits["train"].shape == (3, 32, 32)
    targets = torch.cat([split.targets["colour"] for split in prepared.splits.values()])
    assert int((targets == -100).sum()) == 6
    assert all(task.missing for task in prepared.tasks)
    assert prepared.preprocessing == {"images": data.splits["train"].reader.state()}
    _, labels = data.splits["test"][0]
    first = data.splits["test"].images[0]
    label = labels["colour"]
    assert label is not None
    if int(label) >= 0:
        assert CLASSES[int(label)] == CLASSES[int(Path(first).stem) % 3]


def test_folders_give_the_class_under_the_name_of_its_target(tmp_path: Path) -> None:
    """Breaks if one folder per class needs a table."""
    write_classes(tmp_path)
    assert ImageFolder(str(tmp_path)).tasks[0].name == "label"
    data = ImageFolder(str(tmp_path), targets={"colour": "classification"})
    assert [task.name for task in data.tasks] == ["colour"]
    assert data.tasks[0].classes == CLASSES
    assert sum(len(split) for split in data.splits.values()) == 30
    with pytest.raises(ConfigError, match=r"Without data\.labels there is one target"):
        ImageFolder(str(tmp_path), targets=["colour", "size"])


def test_folders_of_splits_are_the_splits(tmp_path: Path) -> None:
    """Breaks if test images get into the training."""
    write_classes(tmp_path, 6, splits=("train", "val", "test"))
    data = ImageFolder(str(tmp_path))
    assert {name: len(split) for name, split in data.splits.items()} == dict.fromkeys(
        ("train", "val", "test"), 6
    )
    assert all("/test/" in file for file in data.splits["test"].images)


def test_masks_and_depths_are_targets_and_no_images(tmp_path: Path) -> None:
    """Breaks if dense tasks cannot come from files, or masks become inputs."""
    photos = write_photos(tmp_path, count=20)
    targets: Any = {
        "road": {"kind": "segmentation", "folder": "masks"},
        "depth": {"kind": "depth", "folder": "depths", "scale": 0.001},
    }
    data = ImageFolder(str(photos), targets=targets)
    assert sum(len(split) for split in data.splits.values()) == 20
    prepared = prepare(data)
    assert [(task.name, task.size, task.places) for task in prepared.tasks] == [
        ("road", 2, (32, 32)),
        ("depth", 1, (32, 32)),
    ]
    depth = prepared.splits["val"].rows(slice(0, 1)).targets["depth"]
    assert sorted(depth.unique().tolist()) == [0.5, 2.0]


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    """Breaks if a first mistake ends in a traceback."""
    photos = write_photos(tmp_path, count=20)
    labels = str(tmp_path / "labels.csv")
    with pytest.raises(ConfigError, match=r"with data\.labels needs data\.targets, e\.g\."):
        ImageFolder(str(photos), labels)
    with pytest.raises(ConfigError, match="the table has no column 'color'; did you mean 'colour'"):
        ImageFolder(str(photos), labels, {"color": "classification"})
    for folder in ("masks", "depths"):
        (photos / folder).rename(tmp_path / folder)
    with pytest.raises(DataError, match="lie in no folders that are named after classes"):
        ImageFolder(str(photos))
    (photos / "003.jpg").unlink()
    with pytest.raises(
        DataError, match=r"1 of 20 image files do not exist, the first of them '003\.jpg'"
    ):
        ImageFolder(str(photos), labels, ["size"])
    data = ImageFolder(str(photos), labels, ["size"], on_error="skip")
    assert sum(len(split) for split in data.splits.values()) == 19
    with pytest.raises(ConfigError, match=r"data\.targets='size' must be a mapping"):
        parted_targets("size", photos)
