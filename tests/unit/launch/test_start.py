"""The start of a sweep: whose directory it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from mtl_runner.launch.start import RESUME, SweepRefusedError, SweepStart, current_sweep


@pytest.fixture(autouse=True)
def no_sweep() -> Iterator[None]:
    """Forget the sweep that a test started."""
    yield
    SweepStart.directory = None


def config_of(directory: Path, *overrides: str) -> DictConfig:
    """Return the part of a sweep's config that the callback reads."""
    return OmegaConf.create(
        {"hydra": {"sweep": {"dir": str(directory)}, "overrides": {"task": list(overrides)}}}
    )


def record(directory: Path, config: DictConfig) -> None:
    """Write multirun.yaml, as Hydra does for a sweep that starts."""
    directory.mkdir()
    OmegaConf.save(config, directory / "multirun.yaml")


def test_a_new_sweep_is_remembered(tmp_path: Path) -> None:
    """Breaks if no comparison is made at the end of a sweep."""
    assert current_sweep() is None
    SweepStart().on_multirun_start(config_of(tmp_path / "sweep"))
    assert current_sweep() == tmp_path / "sweep"


def test_a_sweep_directory_is_taken_until_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a second sweep overwrites the first, or the first cannot go on."""
    config = config_of(tmp_path / "sweep", "seed=0,1")
    record(tmp_path / "sweep", config)
    with pytest.raises(SweepRefusedError, match="holds a sweep already; add resume=true"):
        SweepStart().on_multirun_start(config)
    monkeypatch.setenv(RESUME, "1")
    SweepStart().on_multirun_start(config)
    assert current_sweep() == tmp_path / "sweep"


def test_a_sweep_is_not_resumed_with_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if two sweeps are mixed in one directory and a seed counts twice."""
    record(tmp_path / "sweep", config_of(tmp_path / "sweep", "seed=0,1"))
    monkeypatch.setenv(RESUME, "1")
    with pytest.raises(SweepRefusedError, match=r"holds another sweep \(seed=0,1\)"):
        SweepStart().on_multirun_start(config_of(tmp_path / "sweep", "seed=0,1,2"))
    assert current_sweep() is None


def test_a_refusal_ends_hydra() -> None:
    """Breaks if Hydra, which swallows ordinary exceptions of its callbacks, starts the jobs."""
    assert not issubclass(SweepRefusedError, Exception)
