"""Checkpoints: written whole or not at all, readable without running code, and one older copy."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import atomic_file
from mtl_runner.train import checkpoint


class Foreign:
    """An object that only code of somebody else's can rebuild."""


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    """Breaks if dtype, nesting or random states change on the way through the file."""
    state = {
        "epoch": 3,
        "model": {"w": torch.randn(2, 2, dtype=torch.float64)},
        "order": torch.Generator().manual_seed(1).get_state(),
        "values": [0.1, None, "a"],
    }
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    loaded = checkpoint.load(tmp_path / "checkpoint.pt")
    for key in ("model", "order"):
        torch.testing.assert_close(loaded.pop(key), state.pop(key), rtol=0, atol=0)
    assert loaded == state


def test_a_state_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    """Breaks if a failed save destroys the last good checkpoint."""
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"epoch": 1})
    with pytest.raises(Exception, match=r"pickle|local object"):
        checkpoint.save(path, {"epoch": 2, "function": lambda: None})
    assert checkpoint.load(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path) -> None:
    """Breaks if a full disk ends in an error of torch's archives, or costs the last checkpoint."""
    resource = pytest.importorskip("resource", reason="Windows limits no file")
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"epoch": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            checkpoint.save(path, {"a": torch.zeros(20_000), "b": torch.zeros(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert checkpoint.load(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("piece", [1, 4])
def test_ctrl_c_while_a_state_is_written_leaves_the_old_file(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if Ctrl-C between two pieces aborts the process inside torch, or is lost."""
    path, written = tmp_path / "checkpoint.pt", []
    checkpoint.save(path, {"epoch": 1})

    @contextlib.contextmanager
    def stopped(path: Path) -> Iterator[SimpleNamespace]:
        with atomic_file(path) as file:

            def write(data: bytes) -> None:
                written.append(file.write(data))
                if len(written) == piece:
                    raise KeyboardInterrupt

            yield SimpleNamespace(write=write)

    monkeypatch.setattr(checkpoint, "atomic_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"epoch": 2, "w": torch.zeros(10)})
    assert len(written) == piece
    assert checkpoint.load(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("names", [(), ("best.pt",), checkpoint.FILES])
def test_only_the_files_that_are_asked_for_are_kept(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Breaks if the model that somebody wants to keep is deleted, or a metric with it."""
    write_saves(tmp_path, 1)
    (tmp_path / "metrics.csv").touch()
    for _ in range(2):
        checkpoint.keep_only(tmp_path, names)
        assert {file.name for file in tmp_path.iterdir()} == {*names, "metrics.csv"}


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    """Breaks if loading somebody else's run executes what is pickled in it."""
    path = tmp_path / "checkpoint.pt"
    torch.save({"object": Foreign()}, path)
    with pytest.raises(RunDirectoryError, match="cannot be read as a checkpoint"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Breaks if a missing or damaged file ends in an error of torch."""
    path = tmp_path / "checkpoint.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"checkpoint\.pt"):
        checkpoint.load(path)


def test_a_checkpoint_of_a_newer_version_is_not_taken(tmp_path: Path) -> None:
    """Breaks if a field that means something else in a newer version is read as it was."""
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 1, "format": checkpoint.FORMAT + 1}, path)
    with pytest.raises(
        RunDirectoryError,
        match=r"checkpoint\.pt' cannot be used: it was written by a newer mtl-runner \(format 2; this one reads up to 1\); update mtl-runner to read it\.",
    ):
        checkpoint.load(path)


def test_a_checkpoint_without_a_format_is_the_oldest(tmp_path: Path) -> None:
    """Breaks if runs from before formats had numbers cannot be resumed."""
    torch.save({"epoch": 1}, tmp_path / "checkpoint.pt")
    assert checkpoint.load(tmp_path / "checkpoint.pt") == {"epoch": 1}


def test_a_missing_field_names_the_file(tmp_path: Path) -> None:
    """Breaks if a checkpoint that lacks something ends in KeyError: 'compiled'."""
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"epoch": 1})
    state = checkpoint.load(path)
    with pytest.raises(
        RunDirectoryError,
        match=r"checkpoint\.pt' has no 'compiled', which a checkpoint of this version needs; run again with mtl-run repeat=",
    ):
        state["compiled"]
    assert state.get("compiled") is None


def test_a_state_that_does_not_fit_names_the_file(tmp_path: Path) -> None:
    """Breaks if a checkpoint of another model ends in an error of torch."""
    path = tmp_path / "checkpoint.pt"
    with (
        pytest.raises(
            RunDirectoryError,
            match=r"checkpoint\.pt' does not fit this run \(Error\(s\) in loading state_dict for Linear\); run again with mtl-run repeat=",
        ),
        checkpoint.must_fit(path),
    ):
        torch.nn.Linear(1, 1).load_state_dict({})
    with pytest.raises(MemoryError), checkpoint.must_fit(path):
        raise MemoryError


def flipped_files(path: Path, count: int) -> Iterator[None]:
    """Flip one bit of a file after the other, evenly spread and the file's ends among them."""
    data = path.read_bytes()
    chance = random.Random(1)
    ends = [*range(64), *range(len(data) - 300, len(data))]
    places = chance.sample(ends, count // 4) + chance.sample(range(len(data)), count - count // 4)
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        yield
    path.write_bytes(data)


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.long)])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path, count: int) -> None:
    """Breaks if a damaged disk makes another state of a run, and nobody is told."""
    path = tmp_path / "checkpoint.pt"
    state = {"epoch": 7, "model": {"w": torch.randn(40, 40)}, "values": [0.1, 2.5, "text"] * 20}
    checkpoint.save(path, state)
    refused = 0
    for _ in flipped_files(path, count):
        try:
            loaded = checkpoint.load(path)
        except RunDirectoryError:
            refused += 1
        else:
            assert loaded.keys() == state.keys()
            assert torch.equal(loaded["model"]["w"], state["model"]["w"])
            assert (loaded["epoch"], loaded["values"]) == (7, state["values"])
    # The rest hits what fills the gaps between the parts of the archive.
    assert refused > 0.6 * count


def write_saves(directory: Path, *epochs: int, in_stack: bool = False) -> None:
    """Write the files of a run that saved after these epochs, its best model each time anew."""
    for epoch in epochs:
        checkpoint.keep_previous(directory, True, in_stack)
        for name in reversed(checkpoint.FILES):
            checkpoint.save(directory / name, {"epoch": epoch})


@pytest.mark.parametrize("damaged", checkpoint.FILES)
@pytest.mark.parametrize("best_changes", [True, False])
def test_a_damaged_save_gives_way_to_the_one_before(
    damaged: str, best_changes: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if one bad sector costs a run, or a damaged best.pt is kept under two names."""
    write_saves(tmp_path, 1)
    checkpoint.keep_previous(tmp_path, best_changes)
    for name in checkpoint.FILES[: 1 + best_changes]:
        checkpoint.save(tmp_path / name, {"epoch": 2})
    data = bytearray((tmp_path / damaged).read_bytes())
    data[data.index(b"epoch")] ^= 1
    (tmp_path / damaged).write_bytes(data)
    assert checkpoint.is_damaged(tmp_path)
    checkpoint.go_back_if_damaged(tmp_path)
    assert [checkpoint.load(tmp_path / name)["epoch"] for name in checkpoint.FILES] == [1, 1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.pt", "checkpoint.pt"]
    assert caplog.messages == [
        f"{damaged} was damaged; going on from the save before, after epoch 1."
    ]
    assert not checkpoint.is_damaged(tmp_path)
    checkpoint.go_back_if_damaged(tmp_path)
    assert len(caplog.messages) == 1


def test_a_damaged_save_stays_where_there_is_no_other(tmp_path: Path) -> None:
    """Breaks if files are deleted that somebody could still repair."""
    write_saves(tmp_path, 1, 2)
    for path in (tmp_path / "checkpoint.pt", tmp_path / checkpoint.PREVIOUS / "checkpoint.pt"):
        path.write_bytes(b"damaged")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pt")}
    checkpoint.go_back_if_damaged(tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.pt")}


def test_files_are_kept_where_a_file_system_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a run on a memory stick or a network share fails at its second save."""

    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_saves(tmp_path, 1, 2)
    kept = tmp_path / checkpoint.PREVIOUS
    assert [checkpoint.load(kept / name)["epoch"] for name in checkpoint.FILES] == [1, 1]


def test_the_previous_files_come_back(tmp_path: Path) -> None:
    """Breaks if a replica that was killed ahead of the others cannot go back to their epoch."""
    write_saves(tmp_path, 1, 2, in_stack=True)
    assert checkpoint.saved_positions(tmp_path) == [(2, 0), (1, 0)]
    checkpoint.restore_previous(tmp_path)
    assert [checkpoint.load(tmp_path / name)["epoch"] for name in checkpoint.FILES] == [1, 1]
    assert checkpoint.saved_positions(tmp_path) == [(1, 0)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.pt", "checkpoint.pt"]


def test_deleting_the_previous_files_leaves_the_present_ones(tmp_path: Path) -> None:
    """Breaks if a finished save leaves a hidden folder, or deletes the checkpoint itself."""
    checkpoint.save(tmp_path / "checkpoint.pt", {"epoch": 1})
    checkpoint.keep_previous(tmp_path)
    checkpoint.delete_previous(tmp_path)
    checkpoint.delete_previous(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_run_without_a_checkpoint_starts_at_epoch_0(tmp_path: Path) -> None:
    """Breaks if a run that was killed before its first checkpoint cannot be resumed."""
    checkpoint.keep_previous(tmp_path)
    assert checkpoint.saved_positions(tmp_path) == [(0, 0)]
    assert list(tmp_path.iterdir()) == []


def test_the_first_save_of_a_stack_can_be_undone(tmp_path: Path) -> None:
    """Breaks if the replicas that have saved cannot go back to those that have not."""
    write_saves(tmp_path, 3, in_stack=True)
    assert checkpoint.saved_positions(tmp_path) == [(3, 0), (0, 0)]
    checkpoint.restore_previous(tmp_path)
    assert checkpoint.saved_positions(tmp_path) == [(0, 0)]
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_back_only_while_others_save(tmp_path: Path) -> None:
    """Breaks if a replica that diverged takes all others back to its last epoch."""
    write_saves(tmp_path, 1, 2, in_stack=True)
    checkpoint.all_have_saved(tmp_path)
    assert checkpoint.saved_positions(tmp_path) == [(2, 0)]
    write_saves(tmp_path, 3, in_stack=True)
    assert checkpoint.saved_positions(tmp_path) == [(3, 0), (2, 0)]
    write_saves(tmp_path, 4)
    assert checkpoint.saved_positions(tmp_path) == [(4, 0)]


def test_the_save_before_is_not_kept_through_a_link(tmp_path: Path) -> None:
    """Breaks if resume= of a foreign run writes into a folder of the user, or reads there."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.mkdir()
    checkpoint.save(outside / "checkpoint.pt", {"epoch": 9})
    (outside / checkpoint.STACK_IS_SAVING).touch()
    before = {path.name: path.read_bytes() for path in outside.iterdir()}

    write_saves(run, 1)
    (run / checkpoint.PREVIOUS).symlink_to(outside)
    assert checkpoint.saved_positions(run) == [(1, 0)]
    checkpoint.all_have_saved(run)
    (run / "checkpoint.pt").write_bytes(b"damaged")
    checkpoint.go_back_if_damaged(run)
    assert (run / "checkpoint.pt").read_bytes() == b"damaged"
    write_saves(run, 2, 3)
    checkpoint.delete_previous(run)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def test_no_file_of_the_save_before_is_written_through_a_link(tmp_path: Path) -> None:
    """Breaks if resume= of a foreign run overwrites or makes a file of the user."""
    run, victim = tmp_path / "run", tmp_path / "victim"
    run.mkdir()
    write_saves(run, 1)
    victim.write_text("precious")
    (run / checkpoint.PREVIOUS).mkdir()
    for name in (*checkpoint.FILES, *(f".{name}.kept" for name in checkpoint.FILES)):
        (run / checkpoint.PREVIOUS / name).symlink_to(victim)
    (run / checkpoint.PREVIOUS / checkpoint.STACK_IS_SAVING).symlink_to(tmp_path / "made")
    for best_changes in (False, True):
        checkpoint.keep_previous(run, best_changes, in_stack=True)
    assert victim.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "victim"]
    assert checkpoint.load(run / checkpoint.PREVIOUS / "checkpoint.pt") == {"epoch": 1}
