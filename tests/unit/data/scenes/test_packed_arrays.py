"""Files are packed once into the cache folder, and mapped from then on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl_runner.data.prepare import prepare
from mtl_runner.errors import DataError
from tests.support.npy_folders import HEIGHT, WIDTH, Read, origins

pytestmark = pytest.mark.usefixtures("small")


def packed_folders(tmp_path: Path) -> list[Path]:
    """Return all that lies in the cache folder."""
    return sorted((tmp_path / "cache").iterdir())


def test_files_are_packed_once_and_mapped_from_then_on(
    nyuv2: Path, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks datasets that do not fit into memory.

    Besides, each run of a sweep would read thousands of files.
    """
    first = read(nyuv2)
    (folder,) = packed_folders(tmp_path)

    def fails(*_: Any) -> None:
        raise AssertionError("a file is read again")

    monkeypatch.setattr("mtl_runner.data.scenes.packed_arrays.read_array", fails)
    again = read(nyuv2, val=0.5)  # another share needs no other files
    assert packed_folders(tmp_path) == [folder]
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


def test_what_a_run_changes_is_never_written_back(nyuv2: Path, read: Read) -> None:
    """Breaks if a transform in place spoils the packed files of all later runs."""
    read(nyuv2).splits["train"].inputs.zero_()
    assert float(read(nyuv2).splits["train"].inputs.abs().max()) > 0


def test_changed_files_are_packed_anew(nyuv2: Path, read: Read, tmp_path: Path) -> None:
    """Breaks if a corrected file is never seen."""
    read(nyuv2)
    path = nyuv2 / "val" / "depth" / "2.npy"
    stamp = path.stat().st_mtime_ns
    np.save(path, np.full((HEIGHT, WIDTH, 1), 5.0))  # of the same size
    os.utime(path, ns=(stamp + 1, stamp + 1))
    assert (read(nyuv2).splits["test"].targets["depth"][2] == 5).all()
    assert len(packed_folders(tmp_path)) == 2
    for name in ("image", "label", "depth", "normal"):
        (nyuv2 / "val" / name / "3.npy").unlink()
    assert len(read(nyuv2).splits["test"]) == 3


@pytest.mark.usefixtures("float64")
def test_packed_files_are_of_the_default_precision(nyuv2: Path, read: Read, tmp_path: Path) -> None:
    """Breaks if a float64 run is mapped to the single precision files of another."""
    assert read(nyuv2).splits["train"].inputs.dtype == torch.float64
    torch.set_default_dtype(torch.float32)
    assert read(nyuv2).splits["train"].inputs.dtype == torch.float32
    assert len(packed_folders(tmp_path)) == 2


def test_a_failed_packing_leaves_nothing_behind(nyuv2: Path, read: Read, tmp_path: Path) -> None:
    """Breaks if half a dataset is taken for a whole one the next time."""
    content = (nyuv2 / "val" / "normal" / "3.npy").read_bytes()
    (nyuv2 / "val" / "normal" / "3.npy").write_bytes(content[:-8])
    with pytest.raises(DataError, match="is not a whole"):
        read(nyuv2)
    assert packed_folders(tmp_path) == []


def test_what_a_killed_packing_left_is_no_obstacle(nyuv2: Path, read: Read, tmp_path: Path) -> None:
    """Breaks every start after one that was killed while it packed.

    In a container process ids come again, and with them the name of the temporary folder.
    """
    read(nyuv2)
    (folder,) = packed_folders(tmp_path)
    folder.rename(folder.with_name(f".{folder.name}.{os.getpid()}"))
    assert len(read(nyuv2).splits["test"]) == 4
    assert packed_folders(tmp_path) == [folder]
