"""Files are written in one piece or not at all."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from mtl_runner.files import write_atomic, write_json


def test_a_file_that_cannot_be_renamed_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a full disk leaves half a file, or a temporary one."""
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_holds_null_for_what_json_has_no_number_for(tmp_path: Path) -> None:
    """Breaks if summary.json of a diverged run cannot be read by other programs."""
    write_json(tmp_path / "a.json", {"a": [math.nan, 1.5], "b": {"c": math.inf}, "d": (True, -1)})
    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert content == {"a": [None, 1.5], "b": {"c": None}, "d": [True, -1]}
