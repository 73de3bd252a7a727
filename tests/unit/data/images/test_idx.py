"""IDX files: how they are found and read, and which are refused and why."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl_runner.data import MultiMNIST
from mtl_runner.data.images.idx import read_idx
from mtl_runner.errors import DataError
from tests.support.mnist_files import FILE_NAMES, T10K, WANTED, idx_bytes, write_mnist


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in MNIST's format."""
    return write_mnist(tmp_path / "mnist")


def test_packed_and_plain_files_give_the_same_data(folder: Path, tmp_path: Path) -> None:
    """Breaks `.gz`, or reads it by the name instead of by the content."""
    plain, packed = (
        MultiMNIST(str(folder)),
        MultiMNIST(str(write_mnist(tmp_path / "packed", packed=True))),
    )
    misnamed = write_mnist(tmp_path / "misnamed", packed=True)
    for file in misnamed.iterdir():
        file.rename(file.with_suffix(""))  # packed, but named as if it were not
    dotted = write_mnist(tmp_path / "dotted")
    for file in dotted.iterdir():
        file.rename(file.with_name(file.name.replace("-idx", ".idx")))
    for data in (packed, MultiMNIST(str(misnamed)), MultiMNIST(str(dotted))):
        for name, split in plain.splits.items():
            assert torch.equal(split.inputs, data.splits[name].inputs)
            assert torch.equal(split.targets["right"], data.splits[name].targets["right"])


def overwrite(folder: Path, name: str, content: bytes) -> None:
    """Replace a file of the folder."""
    (folder / name).write_bytes(content)


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing file": (
        lambda folder: (folder / FILE_NAMES[1]).unlink(),
        f"The folder '{{folder}}' has no file {FILE_NAMES[1]} or {FILE_NAMES[1]}.gz; data.path needs a folder that holds {WANTED}.",
    ),
    "no idx file": (
        lambda folder: overwrite(folder, FILE_NAMES[0], b"\x89PNG\r\n"),
        f"The file '{{folder}}/{FILE_NAMES[0]}' is no IDX file of images: it begins with 89 50 4e 47, and should with 00 00 08 03.",
    ),
    "nothing at all": (
        lambda folder: overwrite(folder, FILE_NAMES[1], b""),
        f"The file '{{folder}}/{FILE_NAMES[1]}' is no IDX file of labels: it begins with nothing, and should with 00 00 08 01.",
    ),
    "labels as images": (
        lambda folder: overwrite(folder, FILE_NAMES[0], (folder / FILE_NAMES[1]).read_bytes()),
        f"The file '{{folder}}/{FILE_NAMES[0]}' is no IDX file of images: it begins with 00 00 08 01, and should with 00 00 08 03.",
    ),
    "cut off": (
        lambda folder: overwrite(
            folder, FILE_NAMES[2], (folder / FILE_NAMES[2]).read_bytes()[:-100]
        ),
        f"The file '{{folder}}/{FILE_NAMES[2]}' is cut off: its header promises 15696 bytes (20 x 28 x 28), and it has 15596; get it again.",
    ),
    "too long": (
        lambda folder: overwrite(
            folder, FILE_NAMES[3], (folder / FILE_NAMES[3]).read_bytes() + b"?"
        ),
        f"The file '{{folder}}/{FILE_NAMES[3]}' is too long: its header promises 28 bytes (20), and it has 29; get it again.",
    ),
    "cut off gz": (
        lambda folder: overwrite(folder, FILE_NAMES[0], gzip.compress(b"\0" * 999, mtime=0)[:-9]),
        f"The file '{{folder}}/{FILE_NAMES[0]}' is a damaged or cut off .gz "
        "(Compressed file ended before the end-of-stream marker was reached); get it again.",
    ),
    "empty": (
        lambda folder: overwrite(folder, FILE_NAMES[0], idx_bytes(np.zeros((0, 28, 28)))),
        f"The file '{{folder}}/{FILE_NAMES[0]}' is empty: its header says 0 x 28 x 28.",
    ),
    "other labels": (
        lambda folder: overwrite(folder, FILE_NAMES[1], idx_bytes(np.zeros(59))),
        "The folder '{folder}' has 60 train images, but 59 train labels; it needs one label per image.",
    ),
    "other size": (
        lambda folder: overwrite(folder, FILE_NAMES[2], idx_bytes(np.zeros((T10K, 28, 20)))),
        "The folder '{folder}' has train images of 28x28 pixels and t10k images of 28x20; all must have one size.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_wrong_file_has_its_sentence(folder: Path, case: str) -> None:
    """Breaks if a wrong file is read as something.

    The sentence says which file it is and what would be right.
    """
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
