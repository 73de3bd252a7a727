"""A sweep shows a line per run, notices once, a bar on a terminal and none in a pipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.commands import QUICK, Command, Result, Server
from tests.support.screen import shown

# Six runs, two of which diverge and two of which have a notice.
SWEEP = (
    "mtl-run",
    "-m",
    "data=toy_regression",
    *QUICK,
    "trainer.device=cpu",
    "weighting=fixed,uncertainty_simplified",
    "optimizer=sgd",
    "optimizer.lr=1e9,1e-4,1e-3",
)
LINE = re.compile(
    r"\[. of 6\] (\d: weighting=\w+ optimizer\.lr=\S+) +(relative_loss [\d.]+, [\d.]+ s|failed: .*)$"
)


def lines_of_runs(lines: list[str]) -> dict[str, str]:
    """Return what the lines of runs say, by the runs' names."""
    matches = filter(None, map(LINE.match, lines))
    return {match[1]: match[2] for match in matches}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sweeps of this module."""
    return tmp_path_factory.mktemp("lines")


@pytest.fixture(scope="module")
def piped(server: Server, folder: Path) -> Result:
    """The sweep in a pipe."""
    return server.run(*SWEEP, "hydra.sweep.dir=piped", cwd=folder, env={})


def test_a_sweep_has_a_line_per_run_and_each_notice_once(piped: Result) -> None:
    """Breaks if a sweep of six runs prints seventy lines, or hides why some failed."""
    before_the_table = piped.out.split("toy_regression (validation")[0].splitlines()
    notes = [line for line in before_the_table if line.startswith("note, first in ")]
    runs = [line for line in before_the_table if line not in notes]
    assert len(runs) == 4
    failed = piped.err.splitlines()
    assert len(failed) == 3
    results = lines_of_runs([*runs, *failed])
    assert len(results) == 6
    assert sum(result.startswith("failed: The loss of ") for result in results.values()) == 2
    assert sorted(line.split("]")[0] for line in [*runs, *failed[:-1]]) == [
        f"[{count} of 6" for count in range(1, 7)
    ]
    assert len(notes) == len({re.sub(r"[\d.]+", "#", note.split(": The ")[1]) for note in notes})
    assert len(notes) >= 1


def test_a_failing_sweep_ends_with_exit_1_and_how_many_runs_failed(piped: Result) -> None:
    """Breaks if a script takes a failing sweep for a good one."""
    assert piped.code == 1
    assert piped.last_line.startswith("2 of 6 runs failed; the reasons are above and in ")


def test_a_pipe_gets_lines_and_no_control_characters(piped: Result) -> None:
    """Breaks if the log file of a batch job fills with bars."""
    assert not re.search(r"[\r\x1b█]", piped.out + piped.err)


def test_the_log_of_each_run_holds_its_full_text(piped: Result, folder: Path) -> None:
    """Breaks if what the terminal does not show any more is lost."""
    (run,) = (folder / "piped").glob("5_*")
    log = (run / "run.log").read_text()
    for text in ("starting, 3 epochs of 5 steps", "val loss  relative_loss", "The log-variance"):
        assert text in log


def test_a_terminal_shows_the_same_lines_and_a_bar(
    piped: Result, server: Server, folder: Path
) -> None:
    """Breaks if the bar is missing, or a notice or a result begins on its line."""
    result = server.run_on_terminal(*SWEEP, "hydra.sweep.dir=terminal", cwd=folder, env={})
    assert result.code == 1
    assert "█" in result.out
    assert re.search(r"4 of 6, 2 failed, \d+ s left", result.out)
    lines = shown(result.out)
    assert not any("█" in line for line in lines), "the bar is gone at the end"
    results = lines_of_runs(lines)
    expected = lines_of_runs([*piped.out.splitlines(), *piped.err.splitlines()])
    assert results.keys() == expected.keys(), repr(result.out)
    for line in lines:
        assert "note, first in" not in line or line.startswith("note, first in")
        assert " of 6] " not in line or LINE.match(line)


@pytest.mark.parametrize(
    "launcher",
    [
        "stacked",
        pytest.param("gpus", marks=pytest.mark.long),
        pytest.param("joblib", marks=pytest.mark.long),
    ],
)
def test_every_launcher_shows_the_same_lines(
    piped: Result, server: Server, folder: Path, launcher: str
) -> None:
    """Breaks if a way of running a sweep says nothing for minutes, or says it in other words."""
    options = (f"hydra/launcher={launcher}", f"hydra.sweep.dir={launcher}")
    result = server.run(*SWEEP, *options, cwd=folder, env={})
    assert result.code == 1
    results = lines_of_runs([*result.out.splitlines(), *result.err.splitlines()])
    expected = lines_of_runs([*piped.out.splitlines(), *piped.err.splitlines()])
    assert results.keys() == expected.keys()
    for name, text in results.items():
        # A stack rounds otherwise.
        assert text[:20] == expected[name][:20]
    assert result.out.count("note, first in ") == piped.out.count("note, first in ")
    unknown_lines = [
        line
        for line in result.out.split("toy_regression (validation")[0].splitlines()
        if not LINE.match(line) and not line.startswith("note, first in ")
    ]
    assert all("one by one" in line or "at a time on" in line for line in unknown_lines), (
        unknown_lines
    )


def test_a_single_run_shows_its_monitor_and_whole_notices(server: Server, folder: Path) -> None:
    """Breaks if the bar of a run shows its objective only, or a notice begins on its line."""
    result = server.run_on_terminal(
        "mtl-run",
        "data=toy_regression",
        "data.noise={y1: 0.001, y2: 0.001}",
        *("likelihood=homoscedastic", "likelihood.lr=0.2", "weighting=fixed"),
        *("optimizer.lr=0.02", "model.hidden=[16]", "record.plots=none", "trainer.device=cpu"),
        *("trainer.epochs=120", "hydra.run.dir=run"),
        cwd=folder,
        env={},
    )
    assert result.code == 0, result.out
    assert re.search(r"\d/120 \[.*, val relative_loss [\d.e-]+, best [\d.e-]+, total", result.out)
    lines = shown(result.out)
    (notice,) = (line for line in lines if "The total loss is negative" in line)
    assert notice.startswith("The total loss is negative")
    assert not any("|" in line for line in lines)


@pytest.mark.long
def test_a_metric_that_is_maximised_has_its_own_sign(server: Server, folder: Path) -> None:
    """Breaks if anybody reads `digit.accuracy -0.94`."""
    options = ("data=digits", *QUICK, "trainer.monitor=digit.accuracy", "trainer.epochs=1")
    single = server.run("mtl-run", *options, "hydra.run.dir=accuracy", cwd=folder, env={})
    assert re.search(r"^digit\.accuracy 0\.\d+ at the end; best 0\.", single.out, re.MULTILINE)
    assert "starting, 1 epoch of 20 steps" in single.out
    sweep = ("-m", "seed=0,1", "hydra.sweep.dir=accuracies")
    several = server.run("mtl-run", *options, *sweep, cwd=folder, env={})
    assert several.out.count("  digit.accuracy 0.") == 2


def test_a_resumed_sweep_counts_on(mtl: Command, folder: Path, piped: Result) -> None:
    """Breaks if a sweep that goes on lists what it has, or counts from 1."""
    resumed = mtl(*SWEEP, "hydra.sweep.dir=piped", "resume=true", cwd=folder)
    assert resumed.code == piped.code
    assert resumed.out.startswith("reused 4 runs, 2 to do, 2 of which failed before\n")
    assert [line.split("]")[0] for line in resumed.err.splitlines()[:2]] == ["[5 of 6", "[6 of 6"]
