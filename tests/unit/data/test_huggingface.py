"""``data=hf``: saved datasets of Hugging Face."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_runner.data import HuggingFaceDataset
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError, DataError
from tests.support.image_files import CLASSES, picture, save_dataset

datasets = pytest.importorskip("datasets", reason="pip install 'mtl-runner[hf]'")
pytest.importorskip("torchvision", reason="pip install 'mtl-runner[images]'")
pytestmark = pytest.mark.images


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return the folder of a saved dataset."""
    return save_dataset(tmp_path / "saved")


def test_images_keep_their_labels_and_classes_their_names(saved: Path) -> None:
    """Breaks if an image gets the label of another one, or -1 becomes a class."""
    data = HuggingFaceDataset(
        str(saved), "image", {"label": "classification", "size": "regression"}, normalize=None
    )
    prepared = prepare(data)
    assert [task.classes for task in data.tasks] == [CLASSES, ()]
    targets = torch.cat([split.targets["label"] for split in prepared.splits.values()])
    assert int((targets == -100).sum()) == 6
    for index in range(len(data.splits["val"])):
        image, labels = data.splits["val"][index]
        row = int(data.splits["val"].images.rows[index])  # type: ignore[union-attr]
        assert torch.equal(
            (image * 255).round().byte(), torch.tensor(picture(row)).permute(2, 0, 1)
        )
        label = labels["label"]
        assert label is not None
        assert int(label) == (row % 3 if row % 7 else -100)
    assert data.preprocessing == {"images": data.splits["val"].reader.state()}


def test_numbers_become_tensors(saved: Path) -> None:
    """Breaks if columns of numbers are taken for images, or several are not kept apart."""
    data = HuggingFaceDataset(str(saved), "numbers", ["label"])
    assert data.splits["train"][0][0].shape == (3,)
    assert data.preprocessing is None
    both = HuggingFaceDataset(str(saved), ["numbers", "weight"], ["label"])
    assert prepare(HuggingFaceDataset(str(saved), "numbers", ["label"])).splits["val"].shape == (3,)
    assert set(both.splits["train"][0][0]) == {"numbers", "weight"}


def test_splits_of_the_dataset_are_kept(tmp_path: Path, saved: Path) -> None:
    """Breaks if the test rows of a dataset get into the training."""
    saved_rows = datasets.load_from_disk(str(saved))
    parts = {"train": saved_rows.select(range(30)), "test": saved_rows.select(range(30, 40))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "parts"))
    data = HuggingFaceDataset(str(tmp_path / "parts"), "numbers", ["label"], split={"val": 0.2})
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 24, "val": 6, "test": 10,
    }  # fmt: skip
    rows = [set(data.splits[name].rows.tolist()) for name in ("train", "val")]
    assert rows[0] | rows[1] == set(range(30))


def test_what_is_missing_is_one_sentence(tmp_path: Path, saved: Path) -> None:
    """Breaks if a first mistake ends in a traceback of datasets."""
    with pytest.raises(
        ConfigError, match=r"data=hf needs data\.path, data\.inputs and data\.targets"
    ):
        HuggingFaceDataset(str(saved), "image", None)
    with pytest.raises(DataError, match="is not a folder"):
        HuggingFaceDataset(str(tmp_path / "none"), "image", ["label"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no dataset of Hugging Face; write one there with"):
        HuggingFaceDataset(str(tmp_path / "empty"), "image", ["label"])
    with pytest.raises(ConfigError, match=r"data\.inputs names 'picture', which is no column"):
        HuggingFaceDataset(str(saved), "picture", ["label"])
    text = HuggingFaceDataset(str(saved), "text", ["label"])
    with pytest.raises(DataError, match="tokenize a text first, to lists of one length"):
        text.splits["train"][0]
