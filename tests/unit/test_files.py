"""Files are written in one piece or not at all."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from mtl_runner.files import (
    atomic_file,
    is_locked,
    make_way,
    open_regular,
    open_to_append,
    read_regular,
    remove_temporary_files,
    write_atomic,
    write_json,
)


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


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_is_not_written_to_its_end_leaves_the_old_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    """Breaks if an error between two pieces leaves half a file, or a temporary one."""
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")

    def write_in_part() -> None:
        with atomic_file(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write_in_part()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_holds_null_for_what_json_has_no_number_for(tmp_path: Path) -> None:
    """Breaks if summary.json of a diverged run cannot be read by other programs."""
    write_json(tmp_path / "a.json", {"a": [math.nan, 1.5], "b": {"c": math.inf}, "d": (True, -1)})
    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert content == {"a": [None, 1.5], "b": {"c": None}, "d": [True, -1]}


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    """Breaks if a link that lies where a file is written overwrites a file elsewhere."""
    victim, path = tmp_path / "victim", tmp_path / "out" / "runs.csv"
    victim.write_text("precious")
    path.parent.mkdir()
    path.symlink_to(victim)
    (path.parent / ".runs.csv.tmp").symlink_to(victim)  # the temporary name of older versions
    write_atomic(path, b"new")
    assert victim.read_text() == "precious"
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()


def test_only_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    """Breaks if temporary files pile up, or a file of the user is removed with them."""
    ours = tmp_path / ".best.pt.0123456789abcdef.tmp"
    user_files = [tmp_path / ".best.pt.tmp", tmp_path / "a.0123456789abcdef.tmp"]
    for path in [ours, *user_files]:
        path.write_text("")
    remove_temporary_files(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(user_files)


def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path: Path) -> None:
    """Breaks if the sentence for the user names a file that nobody knows."""
    with pytest.raises(OSError, match="No such file") as caught:
        write_atomic(tmp_path / "none" / "a.txt", b"")
    assert caught.value.filename == str(tmp_path / "none" / "a.txt")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """Breaks if a pipe or a device in the place of a file is waited for."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="It is no regular file"):
            open_regular(path)


def test_a_file_is_lengthened_through_no_link_and_no_pipe(tmp_path: Path) -> None:
    """Breaks if a line of a log is added to a file elsewhere, or waits for a reader."""
    victim, link, pipe = tmp_path / "victim", tmp_path / "link", tmp_path / "pipe"
    victim.write_text("precious")
    link.symlink_to(victim)
    (tmp_path / "new").symlink_to(tmp_path / "made")
    os.mkfifo(pipe)
    for path in (link, tmp_path / "new", pipe, tmp_path):
        with pytest.raises(OSError, match="It is no regular file"):
            open_to_append(path)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "made").exists()


def test_a_lock_is_seen_and_not_kept(tmp_path: Path) -> None:
    """Breaks if a comparison takes a run from its process, or cannot tell that there is one."""
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    path = tmp_path / "lock"
    assert not is_locked(path)
    with path.open("w") as file:
        assert not is_locked(path)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert is_locked(path)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert not is_locked(path)
    path.unlink()
    os.mkfifo(path)
    assert not is_locked(path), "nobody waits for a pipe"


def test_only_what_is_no_file_makes_way(tmp_path: Path) -> None:
    """Breaks if a record is deleted before the next one is written, or a link is left."""
    victim, link, pipe = tmp_path / "victim", tmp_path / "link", tmp_path / "pipe"
    victim.write_text("precious")
    link.symlink_to(victim)
    os.mkfifo(pipe)
    for path in (victim, link, pipe, tmp_path / "none"):
        make_way(path)
    assert list(tmp_path.iterdir()) == [victim]
    with pytest.raises(OSError, match=r"directory|permitted"):
        make_way(tmp_path)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    """Breaks if a file of any size is taken into memory."""
    (tmp_path / "a").write_bytes(b"x" * 2048)
    assert len(read_regular(tmp_path / "a", 2048)) == 2048
    with pytest.raises(OSError, match="It is larger than 1 KiB"):
        read_regular(tmp_path / "a", 1024)
