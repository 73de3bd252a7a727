"""Splits are made once per config and mapped from their file from then on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.data import Scenes, Split
from mtl_runner.data.cache import cached, default_directory
from mtl_runner.data.dataset import SPLITS
from tests.unit.data.splits import same_split

SMALL: dict[str, Any] = {"n": 2, "n_val": 1, "n_test": 1, "height": 16, "width": 16}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one with every scene that is drawn."""
    from mtl_runner.data.scenes import scenes

    count: list[int] = []
    render = scenes.render

    def counted(*arguments: Any) -> Any:
        count.append(1)
        return render(*arguments)

    monkeypatch.setattr(scenes, "render", counted)
    return count


def test_scenes_are_drawn_once(tmp_path: Path, drawn: list[int]) -> None:
    """Breaks the cache: every run of a sweep would draw its scenes again, or leave files behind."""
    first = Scenes(**SMALL, cache=tmp_path / "a" / "b")
    assert len(drawn) == 4
    again = Scenes(**SMALL, cache=str(tmp_path / "a" / "b"))
    assert len(drawn) == 4
    assert all(same_split(first.splits[name], again.splits[name]) for name in SPLITS)
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


def test_the_file_is_mapped_and_never_changed(tmp_path: Path) -> None:
    """Breaks if a run that changes its tensors changes the next run's data."""
    first = Scenes(**SMALL, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    first.splits["train"].inputs.zero_()
    first.splits["val"].targets["depth"].fill_(3.0)
    assert file.read_bytes() == before
    assert float(Scenes(**SMALL, cache=tmp_path).splits["train"].inputs.max()) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"n": 3},
        {"n_val": 2},
        {"n_test": 2},
        {"height": 17},
        {"width": 17},
        {"seed": 1},
        {"noise": {"depth": 0.1}},
    ],
    ids=str,
)
def test_another_config_is_another_file(
    tmp_path: Path, drawn: list[int], change: dict[str, Any]
) -> None:
    """Breaks if a run gets the scenes of another config."""
    Scenes(**SMALL, cache=tmp_path)
    before = len(drawn)
    changed = Scenes(**{**SMALL, **change}, cache=tmp_path)
    assert len(drawn) > before
    assert len(list(tmp_path.iterdir())) == 2
    alone = Scenes(**{**SMALL, **change}, cache=tmp_path / "alone")
    assert all(same_split(changed.splits[name], alone.splits[name]) for name in SPLITS)


def test_noise_of_nothing_is_no_noise(tmp_path: Path, drawn: list[int]) -> None:
    """Breaks if the same scenes are drawn and kept twice."""
    Scenes(**SMALL, cache=tmp_path)
    Scenes(**SMALL, noise={"depth": 0, "normal": 0.0}, cache=tmp_path)
    assert len(drawn) == 4


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_made_again(
    tmp_path: Path, drawn: list[int], keep: float
) -> None:
    """Breaks every later run after a full disk or a kill."""
    first = Scenes(**SMALL, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: int(keep * len(content))])
    again = Scenes(**SMALL, cache=tmp_path)
    assert len(drawn) == 8
    assert same_split(first.splits["train"], again.splits["train"])
    Scenes(**SMALL, cache=tmp_path)
    assert len(drawn) == 8


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, drawn: list[int]
) -> None:
    """Breaks runs on machines with a read-only home."""
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert len(Scenes(**SMALL, cache=folder).splits["train"]) == 2
    assert len(drawn) == 8
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_cache_is_not_written_through_a_link(tmp_path: Path, drawn: list[int]) -> None:
    """Breaks if a link in a shared cache folder leads the scenes into a file of the user."""
    folder, victim = tmp_path / "cache", tmp_path / "victim"
    Scenes(**SMALL, cache=folder)
    (file,) = folder.iterdir()
    file.unlink()
    victim.write_text("precious")
    file.symlink_to(victim)
    (folder / f".{file.name}.{os.getpid()}").symlink_to(victim)
    Scenes(**SMALL, cache=folder)
    assert len(drawn) == 8
    assert victim.read_text() == "precious"
    assert file.is_file()
    assert not file.is_symlink()


def test_a_disk_that_is_full_leaves_nothing_of_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if half a file fills the disk for good, or ends the run."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert len(Scenes(**SMALL, cache=tmp_path).splits["train"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_while_drawing_is_not_hidden_by_the_cache(tmp_path: Path) -> None:
    """Breaks if an error of the dataset is swallowed, or leaves a file."""

    def broken() -> dict[str, Split]:
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cached("x", {}, broken, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_where_the_system_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Breaks XDG_CACHE_HOME, or writes next to the user's other files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_directory() == tmp_path / "cache" / "mtl_runner"
    Scenes(**SMALL)
    assert [file.name[:7] for file in (tmp_path / "cache" / "mtl_runner").iterdir()] == ["scenes-"]
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".cache" / "mtl_runner"
