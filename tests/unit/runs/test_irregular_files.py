"""A pipe, device or link in the place of a file: nothing waits, fills memory or writes there."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import MtlError, RunDirectoryError
from mtl_runner.launch.repeat import prepare_repeat
from mtl_runner.results.compare import compare_directories
from mtl_runner.runs.predictor import load
from mtl_runner.runs.records import read_config, read_identity
from mtl_runner.runs.request import Request
from mtl_runner.runs.result import RunResult
from mtl_runner.runs.runner import run
from mtl_runner.train import checkpoint
from mtl_runner.train.trainer import Trainer
from tests.unit.runs.small_runs import tiny_request

SECONDS = 60  # nothing here takes one, but machines are busy
OBSTACLES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a directory": os.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a circle": lambda path: path.symlink_to(path.name),
}
CONFIG, OPTIONS, IDENTITY = (
    f".hydra/{name}" for name in ("config.yaml", "overrides.yaml", "run.json")
)
RECORDS = (CONFIG, OPTIONS, IDENTITY)
RESULTS = (
    "best.pt",
    "checkpoint.pt",
    "metrics.csv",
    "predictions.csv",
    "run.log",
    "summary.json",
    "losses.png",
    checkpoint.PREVIOUS,
)
LOCK = ".hydra/lock"
SWEEP = ("sweep.json", "study.json", "multirun.yaml")
# A run cannot do without these; a circle of links is a file that is missing.
NEEDED = {
    *((name, obstacle) for name in (CONFIG, "best.pt") for obstacle in OBSTACLES),
    *(("checkpoint.pt", obstacle) for obstacle in OBSTACLES if obstacle != "a circle"),
    # A pipe can be locked, too.
    *((LOCK, obstacle) for obstacle in OBSTACLES if obstacle != "a pipe"),
    # What a folder may hold is not thrown away.
    *((name, "a directory") for name in ("summary.json", "predictions.csv")),
}


@contextmanager
def in_time() -> Iterator[None]:
    """Fail if something waits for a pipe, or reads a device that never ends."""

    def fail(*_: object) -> None:
        raise AssertionError(f"nothing came back within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was stopped after its first of three epochs."""
    directory = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        evaluate = Trainer.evaluate

        def stop(self: Trainer, split: str) -> object:
            self.stop = True
            return evaluate(self, split)

        patch.setattr(Trainer, "evaluate", stop)
        run(tiny_request(directory, "trainer.epochs=3", "record.predictions=true"))
    assert (directory / "checkpoint.pt").exists()
    return directory


@pytest.fixture(scope="module")
def finished_run(stopped_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the same run, resumed to its end."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(stopped_run, directory)
    assert resume(directory) == ""
    return directory


def obstructed(source: Path, target: Path, name: str, obstacle: str) -> Path:
    """Copy a run, and put something else in the place of one of its files."""
    shutil.copytree(source, target)
    (target / name).unlink(missing_ok=True)
    OBSTACLES[obstacle](target / name)
    return target


def resume(directory: Path) -> str:
    """Resume a run as the command does; return its sentence, empty if it came to its end."""
    with in_time():
        try:
            config = read_config(directory)
            request = Request(config, directory, **read_identity(directory))
            return run(request).error
        except MtlError as error:
            return str(error)


def is_a_sentence(text: str, path: Path) -> bool:
    """Return whether an error names the file, in one line that is not Python's own."""
    return path.name in text and "\n" not in text and "Error" not in text


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("name", [LOCK, *RECORDS, *RESULTS])
def test_a_run_goes_on_or_says_what_is_in_the_way(
    stopped_run: Path, tmp_path: Path, name: str, obstacle: str
) -> None:
    """Breaks if resume= hangs, fills memory, or ends in an error of Python."""
    directory = obstructed(stopped_run, tmp_path / "run", name, obstacle)
    sentence = resume(directory)
    if (name, obstacle) in NEEDED:
        assert is_a_sentence(sentence, directory / name), sentence
    else:
        assert sentence == ""
        assert RunResult(directory).summary["status"] == "finished"


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_a_run_whose_options_nothing_tells_is_not_resumed(
    stopped_run: Path, tmp_path: Path, obstacle: str
) -> None:
    """Breaks if a run goes on without the options that its records are to name."""
    directory = obstructed(stopped_run, tmp_path / "run", IDENTITY, obstacle)
    (directory / "summary.json").unlink()
    os.mkfifo(directory / "summary.json")
    assert is_a_sentence(resume(directory), directory / IDENTITY)


@pytest.mark.parametrize("name", [*RECORDS, *RESULTS])
def test_a_run_writes_through_no_link(stopped_run: Path, tmp_path: Path, name: str) -> None:
    """Breaks if resume= of a foreign run overwrites, empties or lengthens a file of the user."""
    directory, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(stopped_run, directory)
    outside.mkdir()
    victim = outside / "victim"
    if (directory / name).exists():
        (directory / name).rename(victim)
    elif name == checkpoint.PREVIOUS:
        victim.mkdir()
        checkpoint.save(victim / "checkpoint.pt", {"epoch": 1})
        (victim / checkpoint.STACK_IS_SAVING).touch()
    else:
        victim.write_text("precious")
    (directory / name).symlink_to(victim)
    before = {path: path.is_dir() or path.read_bytes() for path in outside.rglob("*")}
    assert resume(directory) == ""
    assert {path: path.is_dir() or path.read_bytes() for path in outside.rglob("*")} == before
    assert RunResult(directory).summary["status"] == "finished"


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_loading_says_what_is_in_the_way(stopped_run: Path, tmp_path: Path, obstacle: str) -> None:
    """Breaks if `mtl_runner.load` of a foreign run hangs, or fills memory."""
    directory = obstructed(stopped_run, tmp_path / "run", "best.pt", obstacle)
    with in_time(), pytest.raises(RunDirectoryError) as refused:
        load(directory)
    assert is_a_sentence(str(refused.value), directory / "best.pt")


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize(
    ("name", "option"), [(CONFIG, "seed=1"), (CONFIG, "weighting=dwa"), (OPTIONS, "weighting=dwa")]
)
def test_repeating_says_what_is_in_the_way(
    stopped_run: Path, tmp_path: Path, name: str, option: str, obstacle: str
) -> None:
    """Breaks if repeat= of a foreign run hangs, or repeats it without its options."""
    directory = obstructed(stopped_run, tmp_path / "run", name, obstacle)
    with in_time(), pytest.raises(RunDirectoryError) as refused:
        prepare_repeat(directory, [option], conf_directory())
    assert is_a_sentence(str(refused.value), directory / name)


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("name", [*RECORDS, *RESULTS, *SWEEP])
def test_a_comparison_goes_on_without_what_is_in_the_way(
    finished_run: Path, tmp_path: Path, name: str, obstacle: str
) -> None:
    """Breaks if one odd file of a foreign sweep costs the comparison."""
    sweep = tmp_path / "sweep"
    shutil.copytree(finished_run, sweep / "0_whole")
    if name in SWEEP:
        shutil.copytree(finished_run, sweep / "1_odd")
        OBSTACLES[obstacle](sweep / name)
    else:
        obstructed(finished_run, sweep / "1_odd", name, obstacle)
    before = sorted(sweep.rglob("*"))
    with in_time():
        comparison = compare_directories([sweep], tmp_path / "out", plots=False)
    assert comparison.total == 2
    broken = comparison.runs[comparison.runs["status"] == "broken"]
    problem = (
        "too many levels of symbolic links" if obstacle == "a circle" else "it is no regular file"
    )
    needed = ("summary.json", "metrics.csv")
    assert broken["reason"].tolist() == [f"{name}: {problem}"] * (name in needed)
    assert "Error" not in comparison.text()
    assert sorted(sweep.rglob("*")) == before


def test_a_result_waits_for_no_pipe(stopped_run: Path, tmp_path: Path) -> None:
    """Breaks if a notebook hangs that shows a foreign run."""
    for name in ("metrics.csv", "losses.png"):
        directory = obstructed(stopped_run, tmp_path / name, name, "a pipe")
        with in_time(), pytest.raises(OSError, match="It is no regular file"):
            _ = (
                RunResult(directory).metrics
                if name == "metrics.csv"
                else RunResult(directory)._repr_html_()
            )
