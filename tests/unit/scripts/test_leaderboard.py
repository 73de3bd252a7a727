"""The leaderboard: its cells, its verdicts, its tables, and a run that is cut and goes on."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scipy.stats import rankdata

from mtl_runner.errors import ConfigError
from mtl_runner.files import write_json
from mtl_runner.launch.catalog import Catalog
from tests.support.paths import CONF, ROOT, SCRIPTS
from tests.support.whole_runs import compose_config
from tests.unit.results.run_builders import write_run

MODULES = ("entries", "bundled", "training", "judging", "summary", "sheet", "board")


@pytest.fixture(scope="module")
def lb() -> Iterator[Any]:
    """The modules of scripts/leaderboard by their names."""
    folder = str(SCRIPTS / "leaderboard")
    sys.path.insert(0, folder)
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in MODULES})
    finally:
        sys.path.remove(folder)
        for name in MODULES:
            sys.modules.pop(name, None)


def cell_of(lb: Any, method: str, problem: str = "toy_regression") -> Any:
    """Return a cell of the board."""
    return lb.entries.Cell(
        lb.entries.problems_named([problem])[0], lb.entries.methods_named([method])[0]
    )


def write_cell(
    cell: Any,
    output: Path,
    results: dict[str, tuple[float, Sequence[float]]],
    failed: Sequence[int] = (),
) -> None:
    """Write a trained cell: at each learning rate a monitor, and a relative loss per seed."""
    folder = cell.folder(output)
    for number, (rate, (monitor, losses)) in enumerate(results.items()):
        for seed, loss in enumerate(losses):
            write_run(
                folder,
                f"{number * len(losses) + seed}_run",
                {task: {"rmse": loss, "loss": loss, "relative_loss": loss} for task in "ab"},
                weighting=cell.method.name,
                seed=seed,
                monitor=monitor,
                status="failed" if seed in failed else "finished",
                overrides={"optimizer.lr": rate},
                backward_passes=1,
            )
    record = {"definition": cell.definition, "finished": True, "cpu_seconds": 3.0}
    write_json(folder / "cell.json", record)
    (folder / "terminal.log").write_text("[ 1 of 15] 0: ...\n")


EQUAL = {"0.009": (0.9, [0.5] * 5), "0.03": (0.4, [1.0, 1.1, 1.2, 1.0, 1.1])}


def test_learning_rates_are_chosen_on_validation_and_verdicts_are_about_test(
    lb: Any, tmp_path: Path
) -> None:
    """Breaks if the rate that is luckiest on test is taken, for a method or for equal weights."""
    write_cell(cell_of(lb, "fixed"), tmp_path, EQUAL)
    halves = [loss / 2 for loss in EQUAL["0.03"][1]]
    write_cell(cell_of(lb, "dwa"), tmp_path, {"0.009": (0.3, halves), "0.03": (0.6, [0.01] * 5)})
    row = lb.judging.judge(cell_of(lb, "dwa"), tmp_path)
    assert (row.lr, row.verdict, row.seeds) == ("0.009", "better than equal weights", 5)
    assert row.change == pytest.approx(-0.5)
    assert row.by_seed == pytest.approx([-0.5] * 5)
    reference = lb.judging.judge(cell_of(lb, "fixed"), tmp_path)
    assert (reference.lr, reference.verdict) == ("0.03", "reference")
    assert reference.loss == pytest.approx(1.08)
    assert (reference.cpu_seconds, reference.trained) == (3.0, "stacked")


def test_survivors_are_not_chosen_and_failed_seeds_count_as_the_worst(
    lb: Any, tmp_path: Path
) -> None:
    """Breaks if a rate at which half of the runs diverge wins, or a failed seed is forgotten."""
    write_cell(cell_of(lb, "fixed"), tmp_path, EQUAL)
    dwa = cell_of(lb, "dwa")
    write_cell(dwa, tmp_path, {"0.09": (0.1, [0.1] * 5)}, failed=(0, 1))
    assert lb.judging.judge(dwa, tmp_path).by_seed[:2] == (math.inf, math.inf)
    folder = dwa.folder(tmp_path)
    for seed in range(5):
        (folder / f"{seed}_run").rename(folder / f"{seed + 5}_run")
    write_cell(dwa, tmp_path, {"0.03": (0.4, [1.0, 1.1, 1.2, 1.0, 1.1])})
    row = lb.judging.judge(dwa, tmp_path)
    assert (row.lr, row.failed, row.verdict) == ("0.03", 0, "no difference")


def test_a_method_that_fails_is_told_from_one_that_is_refused(lb: Any, tmp_path: Path) -> None:
    """Breaks if a method that needs more tasks looks as if it had diverged, or the other way."""
    write_cell(cell_of(lb, "fixed"), tmp_path, EQUAL)
    krum, dwa = cell_of(lb, "krum"), cell_of(lb, "dwa")
    for cell in (krum, dwa):
        write_cell(cell, tmp_path, {"0.03": (0.4, [1.0] * 5)}, failed=range(5))
    for path in krum.folder(tmp_path).glob("*/summary.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"refused": True}))
    refused, failed = (lb.judging.judge(cell, tmp_path) for cell in (krum, dwa))
    assert (refused.verdict, refused.lr, refused.by_seed) == ("not applicable", "", ())
    assert (failed.verdict, failed.by_seed) == ("failed", (math.inf,) * 5)
    assert failed.reason == "The loss of task 'a' became nan in epoch 3."
    assert math.isnan(failed.change)


def row_of(lb: Any, problem: str, method: str, **fields: Any) -> Any:
    """Return a row of the board."""
    row = lb.judging.Row(
        problem=problem,
        method=method,
        verdict="no difference",
        change=0.01,
        low=-0.01,
        high=0.02,
        by_seed=(0.01,) * 5,
        loss=0.5,
        lr="0.03",
        seeds=5,
        failed=0,
        trained="stacked",
        cpu_seconds=2.0,
        backward_passes=1.0,
        definition=cell_of(lb, method, problem).definition,
    )
    return replace(row, **fields)


def test_ranks_are_scipys_with_failed_methods_last(lb: Any) -> None:
    """Breaks if ties do not share, failures rank well, or a refused method takes part."""
    changes = {"fixed": 0.0, "dwa": -0.1, "famo": 0.0, "cov": 0.3}
    rows = [row_of(lb, "digits", method, change=change) for method, change in changes.items()]
    rows.append(row_of(lb, "digits", "mgda", change=math.nan, verdict="failed"))
    rows.append(row_of(lb, "digits", "krum", change=math.nan, verdict="not applicable"))
    ranks = lb.summary.ranks_of(rows)
    expected = rankdata([*changes.values(), 1e9])
    assert [ranks["digits", method] for method in (*changes, "mgda")] == list(expected)
    assert ("digits", "krum") not in ranks


def test_a_standing_counts_verdicts_and_compares_costs_with_equal_weights(lb: Any) -> None:
    """Breaks if problems on which a method cannot run count, or costs are not of one problem."""
    problems = ("digits", "wine", "diabetes")
    rows = [
        row_of(lb, problem, "fixed", change=0.0, by_seed=(0.0,) * 5, cpu_seconds=seconds)
        for problem, seconds in zip(problems, (1.0, 2.0, 4.0), strict=True)
    ]
    rows += [
        row_of(lb, "digits", "krum", change=-0.2, by_seed=(-0.2,) * 5, cpu_seconds=3.0),
        row_of(lb, "wine", "krum", change=-0.1, by_seed=(-0.1,) * 5, cpu_seconds=10.0),
        row_of(lb, "diabetes", "krum", change=math.nan, by_seed=(), verdict="not applicable"),
    ]
    first, second = lb.summary.standings(rows)
    assert (first.method, second.method) == ("krum", "fixed")
    assert (first.problems, first.cost, first.rank[0]) == (2, 4.0, 1.0)
    assert math.isnan(first.rank[1])
    assert first.verdicts == {"no difference": 2, "not applicable": 1}
    assert first.change[0] == pytest.approx(math.sqrt(0.8 * 0.9) - 1)


def test_a_method_with_cells_to_train_comes_last(lb: Any) -> None:
    """Breaks if a method that was only tried on the problems that suit it is called the best."""
    rows = [row_of(lb, problem, "fixed", change=0.0) for problem in ("digits", "wine")]
    rows.append(row_of(lb, "digits", "dwa", change=-0.9, by_seed=(-0.9,) * 5))
    assert [s.method for s in lb.summary.standings(rows)] == ["fixed", "dwa"]
    rows.append(row_of(lb, "wine", "dwa", change=math.nan, by_seed=(), verdict="not applicable"))
    assert [s.method for s in lb.summary.standings(rows)] == ["dwa", "fixed"]


def test_rows_are_read_as_they_were_written(lb: Any, tmp_path: Path) -> None:
    """Breaks if a board that goes on loses or changes what was there."""
    rows = [
        row_of(lb, "toy_regression", "fixed"),
        row_of(lb, "digits", "dwa", by_seed=(0.015, math.inf), reason="It said, 'no'."),
    ]
    lb.sheet.write_rows(tmp_path, rows[::-1], lb.entries.methods())
    assert lb.sheet.read_rows(tmp_path) == [
        replace(row, by_seed=pytest.approx(row.by_seed)) for row in rows
    ]
    text = (tmp_path / "leaderboard.csv").read_text()
    assert text.startswith("# python scripts/leaderboard --budget 60m\nproblem,method,verdict,")
    assert ",dwa,no difference,1,-1,2,1.5 inf,0.5,0.03,5,0,stacked,2,1," in text


def test_rows_of_another_definition_are_trained_again(lb: Any, tmp_path: Path) -> None:
    """Breaks if a changed problem keeps old verdicts, or a row without runs stops the others."""
    cells = lb.board.cells_of(["digits"], ["dwa", "famo"])
    rows = [
        row_of(lb, "digits", "fixed"),
        row_of(lb, "digits", "dwa", definition="of old"),
        row_of(lb, "digits", "famo"),
    ]
    lb.sheet.write_rows(tmp_path, rows, lb.entries.methods())
    board = lb.board.Board(tmp_path / "cells", tmp_path)
    assert [cell.method.name for cell in cells] == ["fixed", "dwa", "famo"]
    assert [board.is_done(cell) for cell in cells] == [True, False, True]
    # The row of equal weights is there, but the runs that dwa is judged against are not.
    assert [cell.method.name for cell in board.to_train(cells)] == ["fixed", "dwa"]
    write_cell(cells[0], tmp_path / "cells", EQUAL)
    assert [cell.method.name for cell in board.to_train(cells)] == ["dwa"]
    board.write()
    assert [row.method for row in lb.sheet.read_rows(tmp_path)] == ["fixed", "famo"]


def test_cells_can_be_forgotten(lb: Any, tmp_path: Path) -> None:
    """Breaks if a board cannot be made from scratch."""
    cell = cell_of(lb, "fixed", "digits")
    write_cell(cell, tmp_path / "cells", EQUAL)
    board = lb.board.Board(tmp_path / "cells", tmp_path)
    board.enter(cell)
    assert board.is_done(cell)
    board.forget(cell)
    assert not board.is_done(cell)
    assert not cell.folder(tmp_path / "cells").exists()


def test_no_cell_begins_when_the_time_is_up(
    lb: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a budget is exceeded by as many cells as there are."""
    cells = lb.board.cells_of(["digits", "wine"], ["dwa"])
    assert lb.board.train(lb.board.Board(tmp_path, tmp_path), cells, 0.0) == 0
    assert capsys.readouterr().out.splitlines() == [
        "4 cells: 0 done, 4 to train",
        "The time is up; 4 cells to train.",
    ]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("60m", 3600.0), ("1.5h", 5400.0)])
def test_a_budget_is_a_time(lb: Any, text: str, seconds: float) -> None:
    """Breaks if minutes are taken for seconds."""
    assert lb.board.seconds_of(text) == seconds


def test_wrong_arguments_have_a_sentence(lb: Any, tmp_path: Path) -> None:
    """Breaks if a typing mistake trains everything, or is answered with a traceback."""
    with pytest.raises(ConfigError) as error:
        lb.board.seconds_of("60")
    assert str(error.value) == (
        "--budget='60' is no time; give seconds, minutes or hours (90s, 60m, 2h)."
    )
    for problems, methods, sentence in (
        (["digit"], [], "'digit' is no problem of the leaderboard; did you mean 'digits'?"),
        ([], ["fama"], "'fama' is no method of the leaderboard; did you mean 'famo'?"),
    ):
        with pytest.raises(ConfigError) as error:
            lb.board.cells_of(problems, methods)
        assert str(error.value).startswith(sentence)
    (tmp_path / "leaderboard.csv").write_text("# me\na,b\n1,2\n")
    with pytest.raises(ConfigError) as error:
        lb.board.Board(tmp_path, tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'leaderboard.csv'} has other columns than the leaderboard writes; remove it to start from scratch."
    )


def test_every_weighting_is_on_the_board(lb: Any) -> None:
    """Breaks if a new method has to be added by hand, or cheap ones do not come first."""
    names = [method.name for method in lb.entries.methods()]
    options = [option.name for option in Catalog([CONF]).options("weighting")]
    assert sorted(names) == sorted([*options, "fixed_auto"])
    assert names[:2] == ["fixed", "fixed_auto"]
    assert names.index("dwa") < names.index("mgda") < names.index("fairgrad")


def test_a_cell_is_one_command(lb: Any) -> None:
    """Breaks if the tables name another command than the one that is run."""
    command = cell_of(lb, "famo", "digits").command(Path("outputs/leaderboard"))
    assert shlex.join(command) == (
        "mtl-run -m hydra/launcher=stacked data=digits data.batch_size=128 'model.hidden=[64]' "
        "weighting=famo optimizer.lr=0.009,0.03,0.09 'seed=range(0,5)' trainer.epochs=8 "
        "trainer.evaluate_every=2 record.plots=none record.checkpoints=none "
        "hydra.sweep.dir=outputs/leaderboard/digits/famo resume=true"
    )


def test_the_options_of_every_problem_exist(lb: Any, tmp_path: Path) -> None:
    """Breaks if a problem is refused an hour after the board has begun."""
    lb.bundled.write_tables(tmp_path / "data")
    for problem in lb.entries.PROBLEMS:
        options = [o.replace("=DATA/", f"={tmp_path}/data/") for o in problem.options]
        config = compose_config(*options, f"trainer.epochs={problem.epochs}")
        assert problem.epochs % 4 == 0
        if config.data.get("path"):
            head = Path(config.data.path).read_text().partition("\n")[0].split(",")
            assert set(config.data.targets) <= set(head)


def test_the_committed_rows_are_of_the_problems_as_they_are(lb: Any) -> None:
    """Breaks if a problem or the grid is changed, and the rows of before stay on the site."""
    rows = lb.sheet.read_rows(ROOT / "docs" / "tables")
    board = lb.board.Board(Path("nowhere"), ROOT / "docs" / "tables")
    current = board.current_rows()
    assert [(row.problem, row.method) for row in rows] == [
        (row.problem, row.method) for row in current
    ]
    assert {row.problem for row in rows if row.method == "fixed"} == {row.problem for row in rows}


def run_script(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the script in a folder of its own."""
    return subprocess.Popen(
        [sys.executable, "-u", str(SCRIPTS / "leaderboard"), "--csv", "tables", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.long
def test_a_board_that_is_killed_goes_on(lb: Any, tmp_path: Path) -> None:
    """Breaks if a kill loses finished cells, leaves a process behind, or mixes up what it cut."""
    arguments = ("--methods", "dwa,krum", "--problems", "toy_mixed", "--budget", "10m")
    killed = run_script(tmp_path, *arguments)
    cell = tmp_path / "outputs/leaderboard/toy_mixed/dwa"
    deadline = time.monotonic() + 120
    while not any(cell.glob("*/.hydra")) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    time.sleep(1)
    runs = sorted(path.name for path in cell.glob("*/*"))
    time.sleep(1)
    assert sorted(path.name for path in cell.glob("*/*")) == runs
    assert not lb.training.is_trained(
        cell_of(lb, "dwa", "toy_mixed"), tmp_path / "outputs/leaderboard"
    )
    again = run_script(tmp_path, *arguments)
    text, _ = again.communicate(timeout=300)
    assert again.returncode == 0, text
    assert text.startswith("3 cells: 1 done, 2 to train\n[1 of 2] dwa on toy_mixed: "), text
    rows = {row.method: row for row in lb.sheet.read_rows(tmp_path / "tables")}
    assert (rows["fixed"].verdict, rows["krum"].verdict) == ("reference", "not applicable")
    assert rows["dwa"].seeds == 5
    assert math.isnan(rows["dwa"].cpu_seconds)
    assert rows["fixed"].cpu_seconds > 0
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        "leaderboard.csv",
        "leaderboard_methods.csv",
        "leaderboard_problems.csv",
    }
    done = run_script(tmp_path, *arguments)
    text, _ = done.communicate(timeout=60)
    assert text == "3 cells: 3 done, 0 to train\n"
