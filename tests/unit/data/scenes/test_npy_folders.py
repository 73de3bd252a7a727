"""NYUv2 and Cityscapes from folders of .npy files: what is read, and which folders are refused."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl_runner.data import Cityscapes, NYUv2
from mtl_runner.data.prepare import prepare
from mtl_runner.data.scenes.npy_folders import NpyFolders
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.tasks.kinds import MISSING_CLASS
from tests.support.npy_folders import (
    HEIGHT,
    IMAGES,
    WIDTH,
    Read,
    arrays_of_image,
    origins,
    save_array,
    write_npy_folders,
)

tiny = pytest.mark.usefixtures("small")
Array = np.ndarray
SOURCE_HINT = "https://github.com/lorenmt/mtan links its files, and scripts/fetch_data.py of the source checks them."


@tiny
@pytest.mark.parametrize("kind", [NYUv2, Cityscapes])
def test_every_value_arrives_where_it_belongs(
    tmp_path: Path, read: Read, kind: type[NpyFolders]
) -> None:
    """Breaks everything.

    Channels, rows or files mixed up, or an unknown pixel that is trained on.
    """
    data = read(write_npy_folders(tmp_path / "data", kind), kind)
    assert [task.name for task in data.tasks] == ["segmentation", "depth", "normal"][
        : 3 if kind is NYUv2 else 2
    ]
    for split in data.splits:
        rows = data.splits[split]
        assert rows.inputs.dtype == torch.get_default_dtype()
        for index, (val, row) in enumerate(origins(data, split)):
            files = arrays_of_image(kind, "val" if val else "train", row)
            assert rows.inputs[index].numpy() == pytest.approx(
                files["image"].transpose(2, 0, 1), abs=1e-6
            )
            labels = files.get("label", files.get("label_7"))
            expected = np.where((labels == -1) | (labels == 255), MISSING_CLASS, labels)
            assert (rows.targets["segmentation"][index].numpy() == expected).all()
            depth = np.where(files["depth"] == 0, np.nan, files["depth"]).transpose(2, 0, 1)
            assert rows.targets["depth"][index].numpy() == pytest.approx(
                depth, abs=1e-5, nan_ok=True
            )
            if kind is NYUv2:
                normal = np.where(
                    (files["normal"] == 0).all(-1, keepdims=True), np.nan, files["normal"]
                )
                assert rows.targets["normal"][index].numpy() == pytest.approx(
                    normal.transpose(2, 0, 1), abs=1e-6, nan_ok=True
                )
                assert not rows.targets["normal"][index, :, 4, 0].isnan().any()
            assert int(rows.targets["depth"][index].isnan().sum()) == 3
    prepared = prepare(data)
    assert all(task.missing and task.places == (HEIGHT, WIDTH) for task in prepared.tasks)


@tiny
def test_the_folder_val_is_the_test_split_and_validation_is_held_back_from_train(
    nyuv2: Path, read: Read
) -> None:
    """Breaks published comparisons.

    Training on what is validated, or choosing on the test images.
    """
    data = read(nyuv2, val=0.3)
    assert origins(data, "test") == [(True, row) for row in range(4)]
    train, val = origins(data, "train"), origins(data, "val")
    assert (len(train), len(val)) == (7, 3)
    assert sorted(train + val) == [(False, row) for row in range(10)]
    assert train + val != sorted(train + val)  # drawn, not the first ones


@tiny
def test_the_seed_chooses_what_is_held_back(nyuv2: Path, read: Read) -> None:
    """Breaks if seeds hold back the same images, or a share changes which come first."""
    held = [origins(read(nyuv2, seed=seed), "val") for seed in range(4)]
    assert len({tuple(rows) for rows in held}) > 1
    assert held[0] == origins(read(nyuv2, seed=0), "val")
    assert origins(read(nyuv2, val=0.4), "val")[:1] == held[0]


@tiny
@pytest.mark.parametrize("labels", ["label_7", "label_19", "label"])
def test_labels_of_cityscapes_are_those_of_the_number_of_classes(
    cityscapes: Path, read: Read, labels: str
) -> None:
    """Breaks data.classes=19, or a folder that simply calls its labels `label`."""
    classes = 19 if labels == "label_19" else 7
    for split, rows in IMAGES.items():
        shutil.rmtree(cityscapes / split / "label_7")
        for row in range(rows):
            save_array(
                cityscapes / split / labels / f"{row}.npy", np.full((HEIGHT, WIDTH), classes - 1)
            )
            if labels == "label_19":  # both are there: the right one is read
                save_array(
                    cityscapes / split / "label_7" / f"{row}.npy", np.full((HEIGHT, WIDTH), 6)
                )
    data = read(cityscapes, Cityscapes, classes=classes)
    assert data.tasks[0].size == classes
    assert (data.splits["test"].targets["segmentation"] == classes - 1).all()


@tiny
def test_files_are_in_the_order_of_their_numbers_and_others_are_passed_over(
    nyuv2: Path, read: Read
) -> None:
    """Breaks if 10.npy comes before 2.npy, or a README in the folder is read.

    Images would get each other's labels.
    """
    for name, array in arrays_of_image(NYUv2, "val", 4).items():
        for row in (4, 11):
            save_array(nyuv2 / "val" / name / f"{row}.npy", array)
        save_array(nyuv2 / "val" / name / "mean.npy", np.zeros(3))
        (nyuv2 / "val" / name / "README.txt").write_text("hello")
    assert [row for _, row in origins(read(nyuv2), "test")] == [0, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("kind", [NYUv2, Cityscapes])
def test_the_papers_sizes_are_288x384_and_128x256(
    tmp_path: Path, read: Read, kind: type[NpyFolders]
) -> None:
    """Breaks the real files."""
    size = (288, 384) if kind is NYUv2 else (128, 256)
    folder = write_npy_folders(tmp_path / "data", kind, size, images={"train": 2, "val": 1})
    data = read(folder, kind, val=0.5)
    assert data.splits["train"].inputs.shape == (1, 3, *size)
    assert data.splits["test"].targets["segmentation"].shape == (1, *size)


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        (
            NYUv2,
            {"path": None},
            f"data=nyuv2 needs data.path, the folder that holds train and val; {SOURCE_HINT}",
        ),
        (
            Cityscapes,
            {"path": None},
            f"data=cityscapes needs data.path, the folder that holds train and val; {SOURCE_HINT}",
        ),
        (
            NYUv2,
            {"val": 0},
            "data.val must lie between 0 and 1, a share of the training images; found 0.",
        ),
        (
            NYUv2,
            {"val": 1.0},
            "data.val must lie between 0 and 1, a share of the training images; found 1.0.",
        ),
        (Cityscapes, {"classes": 8}, "data.classes=8 is unknown; allowed: 19, 7."),
    ],
)
def test_wrong_options_have_their_sentence(
    tmp_path: Path, kind: type[NpyFolders], options: dict[str, Any], sentence: str
) -> None:
    """Breaks if an option that cannot be is found out after the files were read."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        kind(**{"path": str(tmp_path), "cache": str(tmp_path), **options})  # type: ignore[arg-type]


@tiny
def test_a_share_that_leaves_a_split_empty_is_refused(nyuv2: Path, read: Read) -> None:
    """Breaks if a run has nothing to validate on or to train on."""
    for val in (0.01, 0.99):
        sentence = (
            f"data.val={val} of 10 training images leaves a split empty; choose another share."
        )
        with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
            read(nyuv2, val=val)


def removing(*parts: str) -> Callable[[Path], None]:
    """Return a function that removes a folder of the files."""
    return lambda folder: shutil.rmtree(folder.joinpath(*parts))


def replacing(name: str, content: bytes | Array) -> Callable[[Path], None]:
    """Return a function that replaces a file."""

    def change(folder: Path) -> None:
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            np.save(folder / name, content, allow_pickle=True)

    return change


def rename_depth_files(folder: Path) -> None:
    """Give all training depths another ending."""
    for path in (folder / "train" / "depth").iterdir():
        path.rename(path.with_suffix(".txt"))


ZIP = b"PK\x03\x04" + bytes(40)
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (shutil.rmtree, f"data.path='FOLDER' is not a folder; {SOURCE_HINT}"),
    "no train": (
        removing("train"),
        f"'FOLDER' has no folder 'train'; it needs train and val; {SOURCE_HINT}",
    ),
    "no val": (
        removing("val"),
        f"'FOLDER' has no folder 'val'; it needs train and val; {SOURCE_HINT}",
    ),
    "no field": (
        removing("val", "normal"),
        "'FOLDER/val' has no folder 'normal', which data=nyuv2 needs.",
    ),
    "empty field": (rename_depth_files, "'FOLDER/train/depth' holds no file 0.npy, 1.npy, ..."),
    "counts differ": (
        lambda folder: (folder / "train" / "label" / "7.npy").unlink(),
        "In 'FOLDER/train' there are 9 files of 'segmentation', but 10 of 'image': 7.npy has no partner.",
    ),
    "numbers differ": (
        lambda folder: (
            (folder / "val" / "depth" / "3.npy").rename(folder / "val" / "depth" / "30.npy")
            and None
        ),
        "In 'FOLDER/val' there are 4 files of 'depth', but 4 of 'image': 3.npy has no partner.",
    ),
    "channels first": (
        replacing("train/image/1.npy", np.zeros((3, HEIGHT, WIDTH))),
        "'FOLDER/train/image/1.npy' has shape (3, 6, 8); it must have (6, 8, 3) (height, width, channels).",
    ),
    "another size": (
        replacing("val/label/1.npy", np.zeros((WIDTH, HEIGHT))),
        "'FOLDER/val/label/1.npy' has shape (8, 6); it must have (6, 8) (height, width).",
    ),
    "grey image": (
        replacing("train/image/1.npy", np.zeros((HEIGHT, WIDTH))),
        "'FOLDER/train/image/1.npy' has shape (6, 8); it must have (6, 8, 3) (height, width, channels).",
    ),
    "depth of two channels": (
        replacing("val/depth/0.npy", np.zeros((HEIGHT, WIDTH, 2))),
        "'FOLDER/val/depth/0.npy' has shape (6, 8, 2); it must have (6, 8, 1) (height, width, channels).",
    ),
    "class too large": (
        replacing("train/label/0.npy", np.full((HEIGHT, WIDTH), 13)),
        "'FOLDER/train/label/0.npy' holds class 13; the classes are 0 to 12, and -1 where unknown.",
    ),
    "half a class": (
        replacing("train/label/0.npy", np.full((HEIGHT, WIDTH), 1.5)),
        "'FOLDER/train/label/0.npy' holds class 1.5; the classes are 0 to 12, and -1 where unknown.",
    ),
    "not numbers": (
        replacing("val/depth/0.npy", np.full((HEIGHT, WIDTH), "a")),
        "'FOLDER/val/depth/0.npy' holds <U1; it must hold numbers.",
    ),
    "empty file": (
        replacing("val/image/0.npy", b""),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (",
    ),
    "a page of HTML": (
        replacing("val/image/0.npy", b"<!DOCTYPE html><html>"),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (",
    ),
    "pickled objects": (
        replacing("val/image/0.npy", np.array([{}, []], dtype=object)),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (Object arrays cannot be loaded when allow_pickle=False); get it again.",
    ),
    "a pickle": (
        replacing("val/image/0.npy", pickle.dumps([1, 2])),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (",
    ),
    "an archive": (
        replacing("val/image/0.npy", ZIP),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (",
    ),
    "infinite class": (
        replacing("val/label/0.npy", np.full((HEIGHT, WIDTH), np.inf)),
        "'FOLDER/val/label/0.npy' holds class inf; the classes are 0 to 12, and -1 where unknown.",
    ),
}


@tiny
@pytest.mark.parametrize(
    "wrong",
    WRONG,
)
def test_every_wrong_layout_has_its_sentence(nyuv2: Path, read: Read, wrong: str) -> None:
    """Breaks if a user has to guess which of ten thousand files is wrong, and how."""
    spoil, sentence = WRONG[wrong]
    spoil(nyuv2)
    with pytest.raises(DataError, match=f"^{re.escape(sentence.replace('FOLDER', str(nyuv2)))}"):
        read(nyuv2)


@tiny
def test_missing_labels_of_cityscapes_name_both_folders(cityscapes: Path, read: Read) -> None:
    """Breaks the sentence of who has the files of 7 classes and asks for 19."""
    sentence = (
        f"'{cityscapes}/train' has no folder 'label_19' or 'label', which data=cityscapes needs."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        read(cityscapes, Cityscapes, classes=19)
