"""The start of a command: where it may write, and whose directory a sweep goes into."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from mtl_runner.launch.start import (
    RESUME,
    RefusedError,
    SweepStart,
    current_sweep,
    forget_empty_sweep,
)


@pytest.fixture(autouse=True)
def no_sweep() -> Iterator[None]:
    """Forget the sweep that a test started."""
    yield
    SweepStart.directory = None


def config_of(directory: Path | str, *overrides: str, **options: str) -> DictConfig:
    """Return the part of a sweep's config that the callback reads."""
    hydra = {
        "run": {"dir": str(directory)},
        "sweep": {"dir": str(directory), "subdir": "0"},
        "overrides": {"task": list(overrides)},
    }
    return OmegaConf.create({"hydra": hydra, **options})


def start(config: DictConfig) -> None:
    """Start a sweep, and forget it."""
    SweepStart().on_multirun_start(config)
    SweepStart.directory = None


def begin_a_run(directory: Path) -> None:
    """Leave what the first run of a sweep leaves."""
    (directory / "0_run" / ".hydra").mkdir(parents=True)
    (directory / "0_run" / ".hydra" / "config.yaml").write_text("seed: 0\n")


def test_a_new_sweep_is_remembered_and_recorded(tmp_path: Path) -> None:
    """Breaks if no comparison is made at the end of a sweep, or nobody knows what it was."""
    assert current_sweep() is None
    SweepStart().on_multirun_start(config_of(tmp_path / "sweep", "seed=0,1"))
    assert current_sweep() == tmp_path / "sweep"
    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert record == {"version": 1, "overrides": ["seed=0,1"]}


def test_a_sweep_directory_is_taken_until_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a second sweep overwrites the first, or the first cannot go on."""
    config = config_of(tmp_path / "sweep", "seed=0,1")
    start(config)
    begin_a_run(tmp_path / "sweep")
    with pytest.raises(RefusedError, match="holds a sweep already; add resume=true"):
        start(config)
    monkeypatch.setenv(RESUME, "1")
    SweepStart().on_multirun_start(config)
    assert current_sweep() == tmp_path / "sweep"


@pytest.mark.parametrize("hydras_record", [None, "", "hydra:\n  overr", "[1]", "\0"])
def test_a_sweep_is_not_resumed_with_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydras_record: str | None
) -> None:
    """Breaks if two sweeps are mixed in one directory, also if a kill cut Hydra's record off."""
    start(config_of(tmp_path / "sweep", "data=digits", "seed=0,1"))
    begin_a_run(tmp_path / "sweep")
    if hydras_record is not None:
        (tmp_path / "sweep" / "multirun.yaml").write_text(hydras_record)
    monkeypatch.setenv(RESUME, "1")
    with pytest.raises(RefusedError) as refused:
        SweepStart().on_multirun_start(config_of(tmp_path / "sweep", "data=moons", "seed=0,1,2"))
    assert str(refused.value) == (
        f"'{tmp_path / 'sweep'}' holds runs that cannot be compared with these (data=digits there and data=moons here); "
        "make them equal, sweep over both values, or choose another hydra.sweep.dir."
    )
    assert current_sweep() is None
    start(config_of(tmp_path / "sweep", "data=digits", "seed=0,1,2"))


def test_a_foreign_sweeper_goes_on_with_the_same_options_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the trials of two searches are mixed: their sweeper takes up no runs."""
    config = config_of(tmp_path, "seed=0,1")
    config.hydra.sweeper = {"_target_": "hydra_plugins.hydra_optuna_sweeper.OptunaSweeper"}
    start(config)
    begin_a_run(tmp_path)
    monkeypatch.setenv(RESUME, "1")
    start(config)
    config.hydra.overrides.task = ["seed=0,1,2"]
    with pytest.raises(RefusedError, match=r"holds another sweep \(seed=0,1\); with this sweeper"):
        start(config)


def test_a_sweep_that_only_hydra_recorded_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if sweeps that are older than our own record cannot be resumed."""
    begin_a_run(tmp_path)
    OmegaConf.save(config_of(tmp_path, "seed=0,1"), tmp_path / "multirun.yaml")
    monkeypatch.setenv(RESUME, "1")
    with pytest.raises(RefusedError, match=r"no data there and data=digits here"):
        start(config_of(tmp_path, "seed=0,1", "data=digits"))
    start(config_of(tmp_path, "seed=0,1"))


@pytest.mark.parametrize("record", ["", "hydra:\n  overr", "[1]", "hydra: 1", "\0"])
def test_an_unreadable_record_is_said_and_the_sweep_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], record: str
) -> None:
    """Breaks if a sweep can never be resumed, or its failed jobs end with status 0, unreported."""
    begin_a_run(tmp_path)
    (tmp_path / "multirun.yaml").write_text(record)
    monkeypatch.setenv(RESUME, "1")
    SweepStart().on_multirun_start(config_of(tmp_path, "seed=0,1"))
    assert current_sweep() == tmp_path
    assert "does not say with which options its sweep was started" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sweep.json", "multirun.yaml"])
def test_a_record_is_not_written_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Breaks if a sweep in a foreign directory overwrites a file of the user."""
    sweep, victim = tmp_path / "sweep", tmp_path / "victim"
    victim.write_text("precious")
    begin_a_run(sweep)
    (sweep / name).symlink_to(victim)
    monkeypatch.setenv(RESUME, "1")
    start(config_of(sweep, "seed=0,1"))
    OmegaConf.save({"hydra": {}}, sweep / "multirun.yaml")  # what Hydra does next
    assert victim.read_text() == "precious"
    assert json.loads((sweep / "sweep.json").read_text())["overrides"] == ["seed=0,1"]


@pytest.mark.parametrize("name", ["sweep.json", "multirun.yaml"])
def test_a_pipe_in_the_place_of_a_record_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Breaks if a sweep in a foreign directory waits for ever, reading or writing."""
    begin_a_run(tmp_path)
    os.mkfifo(tmp_path / name)
    monkeypatch.setenv(RESUME, "1")
    start(config_of(tmp_path, "seed=0,1"))
    assert not (tmp_path / name).is_fifo()


@pytest.mark.parametrize("name", ["sweep.json", "multirun.yaml"])
def test_a_folder_in_the_place_of_a_record_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Breaks if Hydra's own error ends a sweep whose record cannot be written."""
    begin_a_run(tmp_path)
    (tmp_path / name).mkdir()
    monkeypatch.setenv(RESUME, "1")
    with pytest.raises(RefusedError) as refused:
        start(config_of(tmp_path, "seed=0,1"))
    assert str(refused.value) == (
        f"Is a directory: '{tmp_path / name}'; check the path, or choose another hydra.run.dir."
    )


def test_a_sweep_without_a_run_gives_way_to_the_corrected_command(tmp_path: Path) -> None:
    """Breaks if a mistyped option takes the directory from the command that is right."""
    start(config_of(tmp_path / "sweep", "weighting=nope,fixed"))
    start(config_of(tmp_path / "sweep", "weighting=dwa,fixed"))
    forget_empty_sweep(tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_with_a_run_is_not_forgotten(tmp_path: Path) -> None:
    """Breaks if a sweep that is stopped before its first summary cannot be resumed."""
    start(config_of(tmp_path / "sweep", "seed=0,1"))
    begin_a_run(tmp_path / "sweep")
    forget_empty_sweep(tmp_path / "sweep")
    assert (tmp_path / "sweep" / "sweep.json").exists()


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """Breaks if Hydra swallows the error and the sweep goes on without a record."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RefusedError, match="file"):
        start(config_of(tmp_path / "file" / "sweep"))


def test_an_empty_directory_is_refused() -> None:
    """Breaks if a run is written into the working directory, among the user's files."""
    with pytest.raises(RefusedError, match=r"hydra\.run\.dir is empty; give the directory a name"):
        SweepStart().on_run_start(config_of(""))
    with pytest.raises(RefusedError, match=r"hydra\.sweep\.dir is empty"):
        SweepStart().on_multirun_start(config_of(" "))


@pytest.mark.parametrize("name", ["../../x", "a/../../..", "..", "..\\x"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """Breaks if the config of somebody else's run, repeated, writes outside of outputs/."""
    with pytest.raises(RefusedError, match="name must not lead out of its folder"):
        SweepStart().on_run_start(config_of(tmp_path / "run", name=name))
    SweepStart().on_run_start(config_of(tmp_path / "run", name="group/v1..v2"))


def test_a_refusal_ends_hydra() -> None:
    """Breaks if Hydra, which swallows ordinary exceptions of its callbacks, starts the jobs."""
    assert not issubclass(RefusedError, Exception)
