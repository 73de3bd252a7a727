"""NYUv2 and Cityscapes from folders of .npy files: what is read, where it is kept, and which folders are refused and why."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mtl_runner
from mtl_runner.data import Cityscapes, NYUv2
from mtl_runner.data.dataset import prepare
from mtl_runner.data.scenes.npy_folders import NpyFolders
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.tasks.kinds import MISSING_CLASS
from tests.support.commands import Command
from tests.support.paths import ROOT

HEIGHT, WIDTH = 6, 8
ROWS = {"train": 10, "val": 4}
Array = np.ndarray


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of 6x8 pixels instead of the papers' size."""
    for kind in (NYUv2, Cityscapes):
        monkeypatch.setattr(kind, "size", (HEIGHT, WIDTH))


tiny = pytest.mark.usefixtures("small")


def fields(
    kind: type[NpyFolders], split: str, row: int, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> dict[str, Array]:
    """What stands in the files of one image: every image's numbers are its own."""
    random = np.random.default_rng([split == "val", row])
    classes = 13 if kind is NYUv2 else 7
    image = random.random((*size, 3)) * 0.9
    image[0, 0] = (row / 100, (split == "val") / 2, 1.0)  # it says where it comes from
    labels = random.integers(0, classes, size)
    labels[0, 0] = row % classes
    labels[1, :2] = (-1, 255)
    depth = random.uniform(0.5, 9.0, (*size, 1))
    depth[2, :3] = 0
    found = {"image": image, "label" if kind is NYUv2 else "label_7": labels, "depth": depth}
    if kind is NYUv2:
        normal = random.normal(size=(*size, 3))
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        normal[3, :4] = 0
        normal[4, 0] = (0.0, 1.0, 0.0)  # a zero in it does not make it unknown
        found["normal"] = normal
    return found


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def write(
    folder: Path, kind: type[NpyFolders] = NYUv2, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Path:
    """A folder in the layout of the papers' files."""
    for split, rows in ROWS.items():
        for row in range(rows):
            for name, array in fields(kind, split, row, size).items():
                save(folder / split / name / f"{row}.npy", array)
    return folder


@pytest.fixture
def nyuv2(tmp_path: Path) -> Path:
    return write(tmp_path / "nyuv2")


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    return write(tmp_path / "cityscapes", Cityscapes)


Read = Callable[..., NpyFolders]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The dataset of a folder, with its packed files in a folder of the test's."""

    def read(folder: Path, kind: type[NpyFolders] = NYUv2, **options: Any) -> NpyFolders:
        return kind(**{"path": str(folder), "cache": str(tmp_path / "cache"), **options})  # type: ignore[arg-type]

    return read


def origins(data: NpyFolders, split: str) -> list[tuple[bool, int]]:
    """Which files the images of a split come from: (folder val?, number)."""
    corner = data.splits[split].inputs[:, :, 0, 0]
    return [(bool(val > 0.25), round(100 * float(row))) for row, val, _ in corner]


# What is read


@tiny
@pytest.mark.parametrize("kind", [NYUv2, Cityscapes])
def test_every_value_arrives_where_it_belongs(
    tmp_path: Path, read: Read, kind: type[NpyFolders]
) -> None:
    """Breaks everything: channels, rows or files mixed up, or an unknown pixel that is trained on."""
    data = read(write(tmp_path / "data", kind), kind)
    assert [task.name for task in data.tasks] == ["segmentation", "depth", "normal"][
        : 3 if kind is NYUv2 else 2
    ]
    for split in data.splits:
        found = data.splits[split]
        assert found.inputs.dtype == torch.get_default_dtype()
        for at, (val, row) in enumerate(origins(data, split)):
            files = fields(kind, "val" if val else "train", row)
            assert found.inputs[at].numpy() == pytest.approx(
                files["image"].transpose(2, 0, 1), abs=1e-6
            )
            labels = files.get("label", files.get("label_7"))
            expected = np.where((labels == -1) | (labels == 255), MISSING_CLASS, labels)
            assert (found.targets["segmentation"][at].numpy() == expected).all()
            depth = np.where(files["depth"] == 0, np.nan, files["depth"]).transpose(2, 0, 1)
            assert found.targets["depth"][at].numpy() == pytest.approx(depth, abs=1e-5, nan_ok=True)
            if kind is NYUv2:
                normal = np.where(
                    (files["normal"] == 0).all(-1, keepdims=True), np.nan, files["normal"]
                )
                assert found.targets["normal"][at].numpy() == pytest.approx(
                    normal.transpose(2, 0, 1), abs=1e-6, nan_ok=True
                )
                assert not found.targets["normal"][at, :, 4, 0].isnan().any()
            assert int(found.targets["depth"][at].isnan().sum()) == 3
    prepared = prepare(data)
    assert all(task.missing and task.places == (HEIGHT, WIDTH) for task in prepared.tasks)


@tiny
def test_the_folder_val_is_the_test_split_and_validation_is_held_back_from_train(
    nyuv2: Path, read: Read
) -> None:
    """Breaks published comparisons: training on what is validated, or choosing on the test images."""
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
    for split, rows in ROWS.items():
        shutil.rmtree(cityscapes / split / "label_7")
        for row in range(rows):
            save(cityscapes / split / labels / f"{row}.npy", np.full((HEIGHT, WIDTH), classes - 1))
            if labels == "label_19":  # both are there: the right one is read
                save(cityscapes / split / "label_7" / f"{row}.npy", np.full((HEIGHT, WIDTH), 6))
    data = read(cityscapes, Cityscapes, classes=classes)
    assert data.tasks[0].size == classes
    assert (data.splits["test"].targets["segmentation"] == classes - 1).all()


def overwrite(folder: Path, name: str, change: Callable[[Array], Array]) -> Path:
    """Change every file of a field."""
    for path in folder.glob(f"*/{name}/*.npy"):
        np.save(path, change(np.load(path)))
    return folder


@tiny
def test_images_of_bytes_are_scaled_to_one(nyuv2: Path, read: Read) -> None:
    """Breaks if bytes are trained on as 0 to 255, or other numbers are divided."""
    before = read(nyuv2).splits["train"].inputs
    after = (
        read(overwrite(nyuv2, "image", lambda image: (255 * image).round().astype(np.uint8)))
        .splits["train"]
        .inputs
    )
    torch.testing.assert_close(after, before, rtol=0, atol=0.5 / 255 + 1e-6)


@tiny
@pytest.mark.parametrize(
    "kind",
    [
        "int64",
        "int16",
        "int8",
        "uint8",
        "float32",
        "float64",
    ],
)
def test_labels_may_be_of_any_type(nyuv2: Path, read: Read, kind: str) -> None:
    """Breaks files of bytes, whose unknown class is 255, or of floats, whose unknown class may be NaN."""

    def change(labels: Array) -> Array:
        unknown = {"u": 255, "f": np.nan}.get(kind[0], -1)
        return np.where((labels < 0) | (labels == 255), unknown, labels).astype(kind)

    before = read(nyuv2).splits["test"].targets["segmentation"].clone()
    after = read(overwrite(nyuv2, "label", change)).splits["test"].targets["segmentation"]
    assert torch.equal(before, after)


@tiny
def test_a_last_axis_of_one_may_be_there_or_not(nyuv2: Path, read: Read) -> None:
    """Breaks files whose depth is [H, W], or whose labels are [H, W, 1]."""
    before = read(nyuv2).splits["test"].apply(torch.clone)
    overwrite(nyuv2, "depth", lambda depth: depth[..., 0])
    after = read(overwrite(nyuv2, "label", lambda label: label[..., None])).splits["test"]
    assert torch.equal(after.targets["segmentation"], before.targets["segmentation"])
    assert torch.equal(after.targets["depth"].nan_to_num(), before.targets["depth"].nan_to_num())


@tiny
def test_an_unknown_depth_or_normal_may_be_nan_too(nyuv2: Path, read: Read) -> None:
    """Breaks if NaN in one channel leaves the others known."""

    def change(normal: Array) -> Array:
        normal[5, 5, 1] = np.nan
        return normal

    overwrite(nyuv2, "depth", lambda depth: np.where(depth == 0, np.nan, depth))
    found = read(overwrite(nyuv2, "normal", change)).splits["test"].targets
    assert int(found["depth"].isnan().sum()) == 4 * 3
    assert found["normal"][:, :, 5, 5].isnan().all()


@tiny
def test_files_are_in_the_order_of_their_numbers_and_others_are_passed_over(
    nyuv2: Path, read: Read
) -> None:
    """Breaks if 10.npy comes before 2.npy, so that images get each other's labels, or a README in the folder is read."""
    for name, array in fields(NYUv2, "val", 4).items():
        for row in (4, 11):
            save(nyuv2 / "val" / name / f"{row}.npy", array)
        save(nyuv2 / "val" / name / "mean.npy", np.zeros(3))
        (nyuv2 / "val" / name / "README.txt").write_text("hello")
    assert [row for _, row in origins(read(nyuv2), "test")] == [0, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("kind", [NYUv2, Cityscapes])
def test_the_papers_sizes_are_288x384_and_128x256(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch, kind: type[NpyFolders]
) -> None:
    """Breaks the real files."""
    size = (288, 384) if kind is NYUv2 else (128, 256)
    monkeypatch.setattr(sys.modules[__name__], "ROWS", {"train": 2, "val": 1})
    data = read(write(tmp_path / "data", kind, size), kind, val=0.5)
    assert data.splits["train"].inputs.shape == (1, 3, *size)
    assert data.splits["test"].targets["segmentation"].shape == (1, *size)


# Where it is kept


def packed(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


@tiny
def test_files_are_packed_once_and_mapped_from_then_on(
    nyuv2: Path, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks datasets that do not fit into memory, and runs of a sweep, which would read thousands of files each."""
    first = read(nyuv2)
    (folder,) = packed(tmp_path)

    def fails(*_: Any) -> None:
        raise AssertionError("a file is read again")

    monkeypatch.setattr("mtl_runner.data.scenes.npy_folders._read", fails)
    again = read(nyuv2, val=0.5)  # another share needs no other files
    assert packed(tmp_path) == [folder]
    assert origins(first, "val") + origins(first, "train") == origins(again, "val") + origins(
        again, "train"
    )
    mapped = [
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if str(folder) in line
    ]
    assert {Path(path).name for path in mapped} == {path.name for path in folder.iterdir()}
    prepared = prepare(again)  # what training gets is not a copy either
    for name, split in prepared.splits.items():
        assert split.inputs.data_ptr() == again.splits[name].inputs.data_ptr()
        for task, target in split.targets.items():
            assert target.data_ptr() == again.splits[name].targets[task].data_ptr()


@tiny
def test_what_a_run_changes_is_never_written_back(nyuv2: Path, read: Read) -> None:
    """Breaks if a transform in place spoils the packed files of all later runs."""
    read(nyuv2).splits["train"].inputs.zero_()
    assert float(read(nyuv2).splits["train"].inputs.abs().max()) > 0


@tiny
def test_changed_files_are_packed_anew(nyuv2: Path, read: Read, tmp_path: Path) -> None:
    """Breaks if a corrected file is never seen."""
    read(nyuv2)
    path = nyuv2 / "val" / "depth" / "2.npy"
    stamp = path.stat().st_mtime_ns
    np.save(path, np.full((HEIGHT, WIDTH, 1), 5.0))  # of the same size
    os.utime(path, ns=(stamp + 1, stamp + 1))
    assert (read(nyuv2).splits["test"].targets["depth"][2] == 5).all()
    assert len(packed(tmp_path)) == 2
    for name in ("image", "label", "depth", "normal"):
        (nyuv2 / "val" / name / "3.npy").unlink()
    assert len(read(nyuv2).splits["test"]) == 3


@tiny
@pytest.mark.usefixtures("float64")
def test_packed_files_are_of_the_default_precision(nyuv2: Path, read: Read, tmp_path: Path) -> None:
    """Breaks if a float64 run is mapped to the single precision files of another."""
    assert read(nyuv2).splits["train"].inputs.dtype == torch.float64
    torch.set_default_dtype(torch.float32)
    assert read(nyuv2).splits["train"].inputs.dtype == torch.float32
    assert len(packed(tmp_path)) == 2


@tiny
def test_a_failed_packing_leaves_nothing_behind(nyuv2: Path, read: Read, tmp_path: Path) -> None:
    """Breaks if half a dataset is taken for a whole one the next time."""
    content = (nyuv2 / "val" / "normal" / "3.npy").read_bytes()
    (nyuv2 / "val" / "normal" / "3.npy").write_bytes(content[:-8])
    with pytest.raises(DataError, match="is not a whole"):
        read(nyuv2)
    assert packed(tmp_path) == []


@tiny
def test_what_a_killed_packing_left_is_no_obstacle(nyuv2: Path, read: Read, tmp_path: Path) -> None:
    """Breaks every start in a container, where process ids come again, after one that was killed while it packed."""
    read(nyuv2)
    (folder,) = packed(tmp_path)
    folder.rename(folder.with_name(f".{folder.name}.{os.getpid()}"))
    assert len(read(nyuv2).splits["test"]) == 4
    assert packed(tmp_path) == [folder]


# What is refused


WHERE = "python scripts/fetch_data.py nyuv2 says where to get it."


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        (
            NYUv2,
            {"path": None},
            f"data=nyuv2 needs data.path, the folder that holds train and val; {WHERE}",
        ),
        (
            Cityscapes,
            {"path": None},
            "data=cityscapes needs data.path, the folder that holds train and val; python scripts/fetch_data.py cityscapes says where to get it.",
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


def without(*parts: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder.joinpath(*parts))


def replaced(name: str, content: bytes | Array) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            np.save(folder / name, content, allow_pickle=True)

    return change


def emptied(folder: Path) -> None:
    for path in (folder / "train" / "depth").iterdir():
        path.rename(path.with_suffix(".txt"))


ZIP = b"PK\x03\x04" + bytes(40)
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (shutil.rmtree, f"data.path='FOLDER' is not a folder; {WHERE}"),
    "no train": (
        without("train"),
        "'FOLDER' has no folder 'train'; it needs train and val. Python scripts/fetch_data.py nyuv2",
    ),
    "no val": (
        without("val"),
        "'FOLDER' has no folder 'val'; it needs train and val. Python scripts/fetch_data.py nyuv2",
    ),
    "no field": (
        without("val", "normal"),
        "'FOLDER/val' has no folder 'normal', which data=nyuv2 needs.",
    ),
    "empty field": (emptied, "'FOLDER/train/depth' holds no file 0.npy, 1.npy, ..."),
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
        replaced("train/image/1.npy", np.zeros((3, HEIGHT, WIDTH))),
        "'FOLDER/train/image/1.npy' has shape (3, 6, 8); it must have (6, 8, 3) (height, width, channels).",
    ),
    "another size": (
        replaced("val/label/1.npy", np.zeros((WIDTH, HEIGHT))),
        "'FOLDER/val/label/1.npy' has shape (8, 6); it must have (6, 8) (height, width).",
    ),
    "grey image": (
        replaced("train/image/1.npy", np.zeros((HEIGHT, WIDTH))),
        "'FOLDER/train/image/1.npy' has shape (6, 8); it must have (6, 8, 3) (height, width, channels).",
    ),
    "depth of two channels": (
        replaced("val/depth/0.npy", np.zeros((HEIGHT, WIDTH, 2))),
        "'FOLDER/val/depth/0.npy' has shape (6, 8, 2); it must have (6, 8, 1) (height, width, channels).",
    ),
    "class too large": (
        replaced("train/label/0.npy", np.full((HEIGHT, WIDTH), 13)),
        "'FOLDER/train/label/0.npy' holds class 13; the classes are 0 to 12, and -1 where unknown.",
    ),
    "half a class": (
        replaced("train/label/0.npy", np.full((HEIGHT, WIDTH), 1.5)),
        "'FOLDER/train/label/0.npy' holds class 1.5; the classes are 0 to 12, and -1 where unknown.",
    ),
    "not numbers": (
        replaced("val/depth/0.npy", np.full((HEIGHT, WIDTH), "a")),
        "'FOLDER/val/depth/0.npy' holds <U1; it must hold numbers.",
    ),
    "empty file": (
        replaced("val/image/0.npy", b""),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (",
    ),
    "a page of HTML": (
        replaced("val/image/0.npy", b"<!DOCTYPE html><html>"),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (",
    ),
    "pickled objects": (
        replaced("val/image/0.npy", np.array([{}, []], dtype=object)),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (Object arrays cannot be loaded when allow_pickle=False); get it again.",
    ),
    "a pickle": (
        replaced("val/image/0.npy", pickle.dumps([1, 2])),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (",
    ),
    "an archive": (
        replaced("val/image/0.npy", ZIP),
        "'FOLDER/val/image/0.npy' is not a whole .npy file (",
    ),
    "infinite class": (
        replaced("val/label/0.npy", np.full((HEIGHT, WIDTH), np.inf)),
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
def test_an_archive_of_arrays_is_not_an_array(nyuv2: Path, read: Read) -> None:
    """Breaks if an .npz that was renamed is an AttributeError."""
    with (nyuv2 / "val" / "image" / "0.npy").open("wb") as file:
        np.savez(file, image=np.zeros((HEIGHT, WIDTH, 3)))
    with pytest.raises(DataError, match=r"image/0\.npy' is not a whole \.npy file"):
        read(nyuv2)


@tiny
def test_missing_labels_of_cityscapes_name_both_folders(cityscapes: Path, read: Read) -> None:
    """Breaks the sentence of who has the files of 7 classes and asks for 19."""
    sentence = (
        f"'{cityscapes}/train' has no folder 'label_19' or 'label', which data=cityscapes needs."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        read(cityscapes, Cityscapes, classes=19)


# As a user has it


@pytest.mark.parametrize("name", ["nyuv2", "cityscapes"])
@pytest.mark.long
def test_a_run_from_the_command_line(
    mtl: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Breaks the whole way from real files to results: config, metrics, panel, predictions of the saved model."""
    kind = NYUv2 if name == "nyuv2" else Cityscapes
    monkeypatch.setattr(sys.modules[__name__], "ROWS", {"train": 3, "val": 1})
    size = kind.size if name == "cityscapes" else (16, 24)
    write(tmp_path / "files", kind, size)
    options = [f"data={name}"]
    if name == "nyuv2":  # small, to be fast
        (tmp_path / "tiny.py").write_text(
            "from mtl_runner.data import NYUv2\nclass Tiny(NYUv2):\n    size = (16, 24)\n"
        )
        options.append("data._target_=tiny.Tiny")
    done = mtl(
        "mtl-run",
        *options,
        "data.path=files",
        "data.val=0.34",
        "data.cache=cache",
        "model.width=4",
        "model.depth=1",
        "trainer.epochs=1",
        "hydra.run.dir=run",
    )
    assert done.code == 0, done.err
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    tasks = ["segmentation", "depth", "normal"][: 3 if name == "nyuv2" else 2]
    columns = {
        "segmentation": ["miou", "pixel_accuracy"],
        "depth": ["abs_err", "rel_err"],
        "normal": ["angle_mean", "within_30"],
    }
    for task in tasks:
        here = rows[(rows.task == task) & rows.split.isin(["val", "test"])]
        assert here[["loss", *columns[task]]].notna().all(axis=None)
    assert (tmp_path / "run" / "panel.png").exists()
    answers = mtl_runner.load(tmp_path / "run").predict(torch.rand(2, 3, *size))
    assert {task: tuple(answer.shape[1:]) for task, answer in answers.items()} == dict(
        [("segmentation", size), ("depth", (1, *size)), ("normal", (3, *size))][: len(tasks)]
    )


def test_a_missing_folder_is_one_sentence_on_the_command_line(mtl: Command) -> None:
    """Breaks "a missing folder is one clear sentence"."""
    done = mtl("mtl-run", "data=nyuv2", "data.path=nowhere", "hydra.run.dir=run")
    assert done.code == 1
    assert done.last_line.endswith(f"data.path='nowhere' is not a folder; {WHERE}")
    assert "Traceback" not in done.err


# scripts/fetch_data.py


@pytest.fixture
def fetch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_data", ROOT / "scripts" / "fetch_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_data"] = module
    spec.loader.exec_module(module)
    return module


def test_the_script_says_where_to_get_every_dataset(
    fetch: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks the hint of every error sentence here."""
    assert fetch.main([]) == 0
    listed = capsys.readouterr().out
    for name in ("nyuv2", "cityscapes", "multi_mnist", "reuters"):
        assert f"{name}: " in listed
        assert (ROOT / "conf" / "data" / f"{name}.yaml").exists()
        assert fetch.main([name]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{name}: http")
        assert f"mtl-run data={name} data.path=<folder>" in said


@tiny
def test_the_script_checks_what_it_finds(
    fetch: ModuleType,
    nyuv2: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Breaks the check of a download: a whole folder is described, a broken one is an error with its sentence."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch.main(["nyuv2", str(nyuv2)]) == 0
    said = capsys.readouterr().out
    assert (
        "train: 9 rows of (3, 6, 8); segmentation (6, 8), depth (1, 6, 8), normal (3, 6, 8)" in said
    )
    assert "test: 4 rows" in said
    assert f"It is whole: mtl-run data=nyuv2 data.path={nyuv2}" in said
    (nyuv2 / "val" / "depth" / "0.npy").write_bytes(b"")
    assert fetch.main(["nyuv2", str(nyuv2)]) == 1
    found = capsys.readouterr()
    assert "is not a whole .npy file" in found.err
    assert "It is whole" not in found.out
