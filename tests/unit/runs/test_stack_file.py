"""The file that lists the runs of a stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mtl_runner.errors import RunDirectoryError
from mtl_runner.runs.stack_file import StackFile, write_stack
from tests.unit.runs.small_runs import tiny_request


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Breaks if the process of a stack trains other runs than its launcher means."""
    requests = [replace(tiny_request(tmp_path / name), job=name) for name in ("0_a", "1_a")]
    path = write_stack(tmp_path / "stacks", requests, 1e9)
    assert path == tmp_path / "stacks" / "stack_0_a.json"
    assert StackFile.read(path) == StackFile(
        ((tmp_path / "0_a", "0_a"), (tmp_path / "1_a", "1_a")), 1e9
    )


def test_a_run_in_a_folder_of_the_sweep_has_a_file_too(tmp_path: Path) -> None:
    """Breaks if hydra.sweep.subdir with a slash names a folder that is not there."""
    requests = [tiny_request(tmp_path / "a" / str(number)) for number in range(2)]
    assert write_stack(tmp_path / "stacks", requests, 1e9).name == "stack_a_0.json"


@pytest.mark.parametrize("text", ["", "[]", '{"runs": [{}], "memory": 1}', '{"runs": []}'])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    """Breaks if a file somebody has edited ends in a traceback."""
    path = tmp_path / "stack.json"
    path.write_text(text)
    with pytest.raises(RunDirectoryError, match=r"lists no stack of runs .*resume=true\.$"):
        StackFile.read(path)
