"""``data=image_folder``: tasks and splits from tables, folders and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_runner.data import ImageFolder
from mtl_runner.data.image_folder.image_folder import parted_targets
from mtl_runner.data.image_folder.reader import ImageReader
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
    assert prepared.row_ids is not None
    ids = prepared.row_ids("test")
    assert list(ids) == ["row", "file"]
    assert [f"{row:03}.jpg" for row in ids["row"]] == list(ids["file"])
    assert [Path(image).name for image in data.splits["test"].images] == list(ids["file"])
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


@pytest.mark.parametrize(
    "options", [{}, {"classes": 4}, {"classes": ["a", "b"]}, {"ignore": [255, 3]}]
)
def test_ignored_pixels_and_images_without_a_mask_go_together(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Breaks if an image without a mask makes classes of the ignored pixels of the others."""
    from PIL import Image

    photos = write_photos(tmp_path, count=20)
    for number in range(0, 20, 4):
        (photos / f"masks/{number:03}.png").unlink()
    for file in (photos / "masks").glob("*.png"):
        with Image.open(file) as image:
            image.putpixel((3, 5), 255)
            image.save(file)
    data = ImageFolder(str(photos), targets={"road": {"folder": "masks", **options}}, augment=None)
    prepared = prepare(data)
    assert prepared.tasks[0].size == (4 if options.get("classes") == 4 else 2)
    for name, split in data.splits.items():
        answers = prepared.splits[name].rows(slice(None)).targets["road"]
        for file, answer in zip(split.images, answers, strict=True):
            without = int(Path(file).stem) % 4 == 0
            assert bool((answer == -100).all()) == without
            assert without or (answer == -100).nonzero().tolist() == [[5, 3]]


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


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"targets": ["sise"]}, "the table has no column 'sise'; did you mean 'size'"),
        ({"targets": {"size": "regresion"}}, "has the unknown kind 'regresion'; did you mean"),
        ({"targets": {"colour": "regression"}}, "column 'colour' holds '[a-z]+', which is not a"),
        ({"augment": ["flop"]}, r"data\.augment holds 'flop'; did you mean 'flip'"),
        ({"normalize": "imgnet"}, r"data\.normalize must be imagenet, null, or"),
    ],
)
def test_a_mistyped_option_is_told_before_the_files_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_error: str,
    options: dict[str, Any],
    sentence: str,
) -> None:
    """Breaks if minutes of decoding, or a missing file, come before a typing mistake."""
    photos = write_photos(tmp_path, count=20)
    (photos / "003.jpg").unlink()
    decoded: list[Any] = []
    monkeypatch.setattr(ImageReader, "decode", lambda _, file: decoded.append(file))
    options = {"targets": ["size"], "on_error": on_error, **options}
    with pytest.raises((ConfigError, DataError), match=sentence):
        ImageFolder(str(photos), str(tmp_path / "labels.csv"), **options)
    assert decoded == []


def test_labels_of_files_that_are_left_out_need_not_be_numbers(tmp_path: Path) -> None:
    """Breaks if a row without a file, such as a last line of sums, ends a run that skips it."""
    photos = write_photos(tmp_path, count=20)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("total,,about 10\n")
    options: Any = {"targets": {"size": "regression"}, "on_error": "skip"}
    data = ImageFolder(str(photos), str(tmp_path / "labels.csv"), **options)
    assert sum(map(len, data.splits.values())) == 20
