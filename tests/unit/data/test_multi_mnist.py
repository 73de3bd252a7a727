"""Pairs of images from IDX files: what is read, which files are refused and why, and what stands where on the canvas."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtl_runner.data import MultiMNIST
from mtl_runner.data.dataset import prepare
from mtl_runner.data.images.idx import read_idx
from mtl_runner.data.images.multi_mnist import FASHION, draw_pairs, overlay
from mtl_runner.errors import ConfigError, DataError
from tests.support.commands import Command

TRAIN, T10K, SIDE = 60, 20, 28
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
WANTED = f"{', '.join(NAMES[:-1])} and {NAMES[-1]} (each plain or .gz)"


def idx(array: np.ndarray) -> bytes:
    """An IDX file, written from its description: 0, 0, 8 (bytes), dimensions, their sizes, the numbers."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(
        size.to_bytes(4, "big") for size in array.shape
    )
    return header + array.astype(np.uint8).tobytes()


def images_of(labels: np.ndarray, first: int, side: int = SIDE) -> np.ndarray:
    """An image per label: a bright column that says the class, and the image's own number in its first pixels."""
    images = np.zeros((len(labels), side, side), np.uint8)
    images[np.arange(len(labels)), :, 4 + 2 * labels] = 200
    images[:, 0, 0] = 1 + first + np.arange(len(labels))
    images[:, -1, -1] = images[:, 0, 0]
    return images


def write(
    folder: Path,
    first: int = 0,
    packed: bool = False,
    side: int = SIDE,
    classes: int = 10,
    t10k_side: int | None = None,
) -> Path:
    """A folder in MNIST's format whose images are numbered from ``first``."""
    folder.mkdir(parents=True)
    for part, count, start in (("train", TRAIN, first), ("t10k", T10K, first + TRAIN)):
        labels = (7 * np.arange(count) + first) % classes
        images = images_of(labels, start, side if part == "train" else t10k_side or side)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            name = f"{part}-{kind}-ubyte"
            (folder / (f"{name}.gz" if packed else name)).write_bytes(
                gzip.compress(content) if packed else content
            )
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "mnist")


def numbers(data: MultiMNIST, split: str, corner: str) -> Tensor:
    """Which image stands in a corner: its number is the canvas's first or last pixel."""
    at = 0 if corner == "left" else -1
    return (255 * data.splits[split].inputs[:, 0, at, at]).round().long() - 1


def test_canvases_are_36_by_36_in_unit_range_with_two_ten_way_tasks(folder: Path) -> None:
    """Breaks the shape of the published problem, or the names that configs and tables rely on."""
    prepared = prepare(MultiMNIST(str(folder)))
    assert [(task.name, task.kind, task.size) for task in prepared.tasks] == [
        ("left", "classification", 10),
        ("right", "classification", 10),
    ]
    for split in prepared.splits.values():
        assert split.inputs.shape[1:] == (1, 36, 36)
        assert split.inputs.dtype == torch.get_default_dtype()
        assert float(split.inputs.min()) == 0.0
        assert 0.5 < float(split.inputs.max()) <= 1.0


def test_packed_and_plain_files_give_the_same_data(folder: Path, tmp_path: Path) -> None:
    """Breaks `.gz`, or reads it by the name instead of by the content."""
    plain, packed = (
        MultiMNIST(str(folder)),
        MultiMNIST(str(write(tmp_path / "packed", packed=True))),
    )
    misnamed = write(tmp_path / "misnamed", packed=True)
    for file in misnamed.iterdir():
        file.rename(file.with_suffix(""))  # packed, but named as if it were not
    dotted = write(tmp_path / "dotted")
    for file in dotted.iterdir():
        file.rename(file.with_name(file.name.replace("-idx", ".idx")))
    for other in (packed, MultiMNIST(str(misnamed)), MultiMNIST(str(dotted))):
        for name, split in plain.splits.items():
            assert torch.equal(split.inputs, other.splits[name].inputs)
            assert torch.equal(split.targets["right"], other.splits[name].targets["right"])


def test_labels_belong_to_the_image_in_their_corner(folder: Path) -> None:
    """Breaks everything: a label of the other corner, or of another image, cannot be learned."""
    data = MultiMNIST(str(folder), rows=300)
    labels = np.concatenate([(7 * np.arange(TRAIN)) % 10, (7 * np.arange(T10K)) % 10])
    clean = (
        torch.as_tensor(
            np.concatenate([images_of(labels[:TRAIN], 0), images_of(labels[TRAIN:], TRAIN)])
        )
        / 255
    )
    for split in data.splits.values():
        for corner, window in (("left", slice(0, 28)), ("right", slice(8, 36))):
            seen = split.inputs[:, 0, window, window]
            # Ink of the other image only adds: the clean image is the one that nowhere is brighter than the canvas.
            missing = (clean.unsqueeze(0) - seen.unsqueeze(1)).clamp(min=0).flatten(2).sum(2)
            nearest = missing.argmin(1)
            assert float(missing.gather(1, nearest.unsqueeze(1)).max()) < 1e-6
            assert torch.equal(split.targets[corner], torch.as_tensor(labels)[nearest])


def test_where_only_one_image_lies_the_canvas_is_that_image() -> None:
    """Breaks the overlay: a shift of the wrong size or direction, or ink that is added, dimmed or lost."""
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randint(256, (5, 28, 28), generator=generator, dtype=torch.uint8) for _ in range(2)
    )
    canvas = overlay(left, right, 8)[:, 0]
    assert canvas.shape == (5, 36, 36)
    assert torch.equal(canvas[:, :8, :28], left[:, :8])
    assert torch.equal(canvas[:, :28, :8], left[:, :, :8])
    assert torch.equal(canvas[:, 28:, 8:], right[:, 20:])
    assert torch.equal(canvas[:, 8:, 28:], right[:, :, 20:])
    assert torch.equal(canvas[:, 8:28, 8:28], torch.maximum(left[:, 8:, 8:], right[:, :20, :20]))
    assert not canvas[:, :8, 28:].any()
    assert not canvas[:, 28:, :8].any()


def test_a_black_image_leaves_the_other_as_it_is() -> None:
    """Breaks the maximum: with nothing in the other corner an image comes back pixel by pixel."""
    image, black = (
        torch.full((1, 8, 8), 7, dtype=torch.uint8),
        torch.zeros(1, 8, 8, dtype=torch.uint8),
    )
    assert torch.equal(overlay(image, black, 4)[0, 0, :8, :8], image[0])
    assert torch.equal(overlay(black, image, 4)[0, 0, 4:, 4:], image[0])


def test_no_image_stands_in_two_splits(folder: Path) -> None:
    """Breaks honest validation: an image seen in training, beside whatever partner, says its own class."""
    data = MultiMNIST(str(folder), rows=400, val=0.25)
    seen = {
        name: {*numbers(data, name, "left").tolist(), *numbers(data, name, "right").tolist()}
        for name in data.splits
    }
    assert seen["train"] | seen["val"] == set(range(TRAIN))
    assert not seen["train"] & seen["val"]
    assert len(seen["val"]) == 15
    assert seen["test"] == set(range(TRAIN, TRAIN + T10K))


def test_every_image_is_once_the_left_one_and_never_its_own_partner(folder: Path) -> None:
    """Breaks the papers' rule of pairing, or leaves images out."""
    data = MultiMNIST(str(folder))
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [54, 6, 20]
    for name in data.splits:
        left, right = numbers(data, name, "left"), numbers(data, name, "right")
        assert len(left.unique()) == len(left)
        assert not bool((left == right).any())


def test_partners_are_drawn_evenly() -> None:
    """Breaks the draw: with 4 images each of the 3 others is the partner a third of the time, and in 4001 pairs each comes 1000 times."""
    left, right = draw_pairs(4, 4, 4001, torch.Generator().manual_seed(0), same=True)
    assert torch.bincount(left).sort().values.tolist() == [1000, 1000, 1000, 1001]
    counts = torch.zeros(4, 4).index_put_((left, right), torch.ones(4001), accumulate=True)
    assert counts.diagonal().sum() == 0
    off = counts[~torch.eye(4, dtype=torch.bool)]
    assert bool(((off - 1000 / 3).abs() < 80).all())
    other = draw_pairs(4, 7, 7000, torch.Generator().manual_seed(0), same=False)[1]
    assert bool(((torch.bincount(other, minlength=7) - 1000).abs() < 150).all())


def test_a_second_folder_fills_the_lower_right_corner(folder: Path, tmp_path: Path) -> None:
    """Breaks `data.second_path`: Fashion-MNIST on the left, MNIST on the right."""
    second = write(tmp_path / "second", first=100, classes=4)
    data = MultiMNIST(str(folder), str(second), rows=200)
    assert max(numbers(data, "train", "left")) < 100
    assert min(numbers(data, "train", "right")) >= 100
    assert [task.size for task in prepare(data).tasks] == [10, 4]
    assert [len(split) for split in data.splits.values()] == [6, 20, 200]


def test_classes_have_names_where_the_folder_says_fashion(folder: Path, tmp_path: Path) -> None:
    """Breaks the legend of what the classes are; the files themselves hold numbers only."""
    fashion = write(tmp_path / "Fashion_MNIST" / "raw")
    assert [task.classes for task in MultiMNIST(str(fashion), str(folder)).tasks] == [
        FASHION,
        tuple("0123456789"),
    ]


def test_same_seed_same_tensors_and_another_seed_others(folder: Path) -> None:
    """Breaks reproducibility, or makes `data.seed` an option without effect."""
    torch.manual_seed(5)
    one = MultiMNIST(str(folder), seed=1)
    state = torch.get_rng_state()
    two, other = MultiMNIST(str(folder), seed=1), MultiMNIST(str(folder), seed=2)
    assert torch.equal(torch.get_rng_state(), state), "the run's own random numbers are used up"
    for name, split in one.splits.items():
        assert torch.equal(split.inputs, two.splits[name].inputs)
        assert torch.equal(split.targets["left"], two.splits[name].targets["left"])
        assert not torch.equal(split.inputs, other.splits[name].inputs)


def test_validation_and_test_do_not_depend_on_the_number_of_training_pairs(folder: Path) -> None:
    """Breaks comparisons between runs with more and fewer pairs."""
    few, many = MultiMNIST(str(folder), rows=10), MultiMNIST(str(folder), rows=500)
    for name in ("val", "test"):
        assert torch.equal(few.splits[name].inputs, many.splits[name].inputs)


def test_twenty_thousand_pairs_take_about_a_second() -> None:
    """Breaks the start of every run: a loop over images takes minutes."""
    images = torch.zeros(20_000, 28, 28, dtype=torch.uint8)
    start = time.process_time()
    first, second = draw_pairs(20_000, 20_000, 20_000, torch.Generator(), same=True)
    overlay(images[first], images[second], 8).to(torch.get_default_dtype()).div_(255)
    assert time.process_time() - start < 2


def replace(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing file": (
        lambda folder: (folder / NAMES[1]).unlink(),
        f"The folder '{{folder}}' has no file {NAMES[1]} or {NAMES[1]}.gz; data.path needs a folder that holds {WANTED}.",
    ),
    "no idx file": (
        lambda folder: replace(folder, NAMES[0], b"\x89PNG\r\n"),
        f"The file '{{folder}}/{NAMES[0]}' is no IDX file of images: it begins with 89 50 4e 47, and should with 00 00 08 03.",
    ),
    "nothing at all": (
        lambda folder: replace(folder, NAMES[1], b""),
        f"The file '{{folder}}/{NAMES[1]}' is no IDX file of labels: it begins with nothing, and should with 00 00 08 01.",
    ),
    "labels as images": (
        lambda folder: replace(folder, NAMES[0], (folder / NAMES[1]).read_bytes()),
        f"The file '{{folder}}/{NAMES[0]}' is no IDX file of images: it begins with 00 00 08 01, and should with 00 00 08 03.",
    ),
    "cut off": (
        lambda folder: replace(folder, NAMES[2], (folder / NAMES[2]).read_bytes()[:-100]),
        f"The file '{{folder}}/{NAMES[2]}' is cut off: its header promises 15696 bytes (20 x 28 x 28), and it has 15596; get it again.",
    ),
    "too long": (
        lambda folder: replace(folder, NAMES[3], (folder / NAMES[3]).read_bytes() + b"?"),
        f"The file '{{folder}}/{NAMES[3]}' is too long: its header promises 28 bytes (20), and it has 29; get it again.",
    ),
    "cut off gz": (
        lambda folder: replace(folder, NAMES[0], gzip.compress(b"\0" * 999, mtime=0)[:-9]),
        f"The file '{{folder}}/{NAMES[0]}' is a damaged or cut off .gz "
        "(Compressed file ended before the end-of-stream marker was reached); get it again.",
    ),
    "empty": (
        lambda folder: replace(folder, NAMES[0], idx(np.zeros((0, 28, 28)))),
        f"The file '{{folder}}/{NAMES[0]}' is empty: its header says 0 x 28 x 28.",
    ),
    "other labels": (
        lambda folder: replace(folder, NAMES[1], idx(np.zeros(59))),
        "The folder '{folder}' has 60 train images, but 59 train labels; it needs one label per image.",
    ),
    "other size": (
        lambda folder: replace(folder, NAMES[2], idx(np.zeros((T10K, 28, 20)))),
        "The folder '{folder}' has train images of 28x28 pixels and t10k images of 28x20; all must have one size.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_wrong_file_has_its_sentence(folder: Path, case: str) -> None:
    """Breaks if a wrong file is read as something, or says nothing of which file it is and what would be right."""
    spoil, sentence = WRONG[case]
    spoil(folder)
    with pytest.raises(DataError) as error:
        MultiMNIST(str(folder))
    assert str(error.value) == sentence.format(folder=folder)


def test_a_header_that_is_cut_off_is_told(tmp_path: Path) -> None:
    """Breaks if the sizes are read from bytes that are not there."""
    (tmp_path / "x").write_bytes(bytes([0, 0, 8, 3, 0, 0]))
    with pytest.raises(DataError, match="is cut off: its header promises 16 bytes"):
        read_idx(tmp_path / "x", 3)


def test_missing_folders_say_which_files_are_wanted(folder: Path, tmp_path: Path) -> None:
    """Breaks if someone who has no data does not learn what to put where."""
    lost = tmp_path / "lost"
    for arguments, key in (
        ((str(lost),), "data.path"),
        ((str(folder), str(lost)), "data.second_path"),
    ):
        with pytest.raises(DataError) as error:
            MultiMNIST(*arguments)
        assert str(error.value) == (
            f"The folder {str(lost)!r} does not exist (looked in {tmp_path}); set {key} to the folder that holds {WANTED}."
        )
    with pytest.raises(DataError, match=r"ubyte' is a file \(looked in"):
        MultiMNIST(str(folder / NAMES[0]))
    with pytest.raises(ConfigError) as missing:
        MultiMNIST()
    assert (
        str(missing.value) == f"data=multi_mnist needs data.path, the folder that holds {WANTED}."
    )


def test_two_folders_of_other_sizes_are_refused(folder: Path, tmp_path: Path) -> None:
    """Breaks if a canvas is made of images that do not fit it."""
    second = write(tmp_path / "second", side=26)
    with pytest.raises(DataError) as error:
        MultiMNIST(str(folder), str(second))
    assert (
        str(error.value)
        == "The images of data.path have 28x28 pixels, those of data.second_path 26x26; both must have one size."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"val": 1.0},
            "data.val must lie between 0 and 1, a share of the training images; found 1.0.",
        ),
        ({"rows": 0}, "data.rows must be a positive number of training pairs; found 0."),
        ({"rows": 1.5}, "data.rows must be a positive number of training pairs; found 1.5."),
    ],
)
def test_wrong_options_have_their_sentence(
    folder: Path, options: dict[str, Any], sentence: str
) -> None:
    """Breaks if a wrong option is an error of torch's, far from its cause."""
    with pytest.raises(ConfigError) as error:
        MultiMNIST(str(folder), **options)
    assert str(error.value) == sentence


def test_a_split_without_two_images_is_refused(folder: Path) -> None:
    """Breaks if a share is so small that nothing can be paired."""
    with pytest.raises(DataError) as error:
        MultiMNIST(str(folder), val=0.01)
    assert str(error.value) == (
        "The val split has 1 of the images to make pairs of; with data.val=0.01 there must be two or more in each."
    )


@pytest.mark.long
def test_the_command_trains_on_the_files_and_says_what_is_wrong(
    mtl: Command, folder: Path, tmp_path: Path
) -> None:
    """Breaks if the pieces work, but not together: `mtl-run data=multi_mnist data.path=...`."""
    run = (
        "data=multi_mnist",
        "trainer.epochs=2",
        "data.batch_size=20",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    done = mtl("mtl-run", *run, f"data.path={folder}")
    assert done.code == 0, done.err
    tasks = json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"]
    assert set(tasks) == {"left", "right"}
    failed = mtl("mtl-run", *run, "data.path=nowhere", "hydra.run.dir=other")
    assert failed.code == 1
    assert "The folder 'nowhere' does not exist" in failed.last_line
    assert "Traceback" not in failed.err


@pytest.mark.long
def test_one_epoch_of_multi_fashion_beats_the_trivial_predictor_on_both_tasks(
    shared_data: Path,
    mtl: Command,
    tmp_path: Path,
) -> None:
    """Breaks the real problem: 20 000 real images, LeNet, one epoch, as a user types it."""
    path = shared_data / "fashion_mnist_20k"
    done = mtl(
        "mtl-run",
        "data=multi_mnist",
        f"data.path={path}",
        "trainer.epochs=1",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert done.code == 0, done.err
    assert "train 18000, val 2000, test 4000 rows" in done.out
    for task in json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"].values():
        assert task["final"]["test"]["relative_loss"] < 0.6
        assert task["final"]["test"]["accuracy"] > 0.5
