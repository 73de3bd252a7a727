"""Scenes and folders of arrays that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.data import Cityscapes, NYUv2, Scenes, Split
from mtl_runner.data.scenes.npy_folders import NpyFolders
from tests.support.npy_folders import HEIGHT, WIDTH, Read, write_npy_folders

Make = Callable[..., Scenes]


@pytest.fixture(scope="package")
def scenes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the cache folder that the drawn scenes of all tests share."""
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def scenes(scenes_folder: Path) -> Make:
    """``scenes(noise=...)`` makes forty training scenes, drawn once per set of options."""

    def make(**options: Any) -> Scenes:
        sizes = {
            "n": 40,
            "n_val": 3,
            "n_test": 3,
            "height": 32,
            "width": 48,
            "cache": scenes_folder,
        }
        return Scenes(**{**sizes, **options})

    return make


@pytest.fixture
def train(scenes: Make) -> Split:
    """Return the training split of forty scenes in double precision."""
    return (
        scenes()
        .splits["train"]
        .apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make both datasets expect images of 6x8 pixels instead of the papers' size."""
    for dataset in (NYUv2, Cityscapes):
        monkeypatch.setattr(dataset, "size", (HEIGHT, WIDTH))


@pytest.fixture
def nyuv2(tmp_path: Path) -> Path:
    """Return a folder in the layout of NYUv2."""
    return write_npy_folders(tmp_path / "nyuv2")


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """Return a folder in the layout of Cityscapes."""
    return write_npy_folders(tmp_path / "cityscapes", Cityscapes)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """``read(folder, Cityscapes, val=0.3)`` makes a dataset; its packed files lie in ``cache``."""

    def read(folder: Path, dataset: type[NpyFolders] = NYUv2, **options: Any) -> NpyFolders:
        arguments: Any = {"path": str(folder), "cache": str(tmp_path / "cache"), **options}
        return dataset(**arguments)

    return read
