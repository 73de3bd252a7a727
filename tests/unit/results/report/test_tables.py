"""The table of the strategies of a report, and how far learning rates move a result."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.report.content import Content
from mtl_runner.results.report.tables import LISTED, strategies_table
from mtl_runner.results.strategies_table import strategy_rows
from tests.unit.results.report.parsed_page import Page, report
from tests.unit.results.report.studies import write_made_study
from tests.unit.results.run_builders import write_run, write_study, write_trained_run

TABLE = 'class="sortable strategies"'


def test_the_table_holds_every_strategy_and_marks_the_best(page: Page) -> None:
    """Breaks if a strategy is missing, or the best of a column is not the least error."""
    names = [
        data.strip()
        for tag, data in page.texts
        if tag == "span" and re.fullmatch(r"\w+, lr=0\.\d+", data.strip())
    ]
    expected = {f"{w}, lr={r}" for w in ("fixed", "uncertainty", "famo") for r in ("0.001", "0.01")}
    assert expected <= set(names)
    bold = re.findall(r'<td class="num best" data-value="([^"]+)"><strong>', page.source)
    cells = re.findall(r'<td class="num[^"]*" data-value="([^"]+)"><?', page.source)
    assert bold
    assert set(bold) <= set(cells)


def test_the_best_mean_of_a_column_is_marked(tmp_path: Path) -> None:
    """Breaks if the largest error or the lowest accuracy is bold, or the table is not sorted."""
    for name, error, accuracy in (("fixed", 3.0, 0.7), ("dwa", 1.0, 0.6), ("famo", 2.0, 0.9)):
        tasks = {"a": {"rmse": error}, "b": {"accuracy": accuracy}}
        write_run(tmp_path, name, tasks, weighting=name, monitor=error)
        summary = tmp_path / name / "summary.json"
        content = json.loads(summary.read_text())
        content["tasks"]["b"]["kind"] = "classification"
        summary.write_text(json.dumps(content))
    section = Content.of(Records.read([tmp_path]), "final").sections[0]
    table = strategies_table(section, strategy_rows(section.data, "final"), "final", "val")
    assert [row.line.name for row in table.rows] == ["dwa", "famo", "fixed"]
    best = {
        head.title: [row.line.name for row in table.rows if row.cells[i].best]
        for i, head in enumerate(table.heads[1:])
    }
    assert best == {"a": ["dwa"], "b": ["famo"], "all tasks": ["dwa"], "mean rank": ["famo"]}
    assert [head.sort for head in table.heads[1:3]] == ["low", "high"]


def test_a_cost_has_no_best_value(page: Page) -> None:
    """Breaks if the time of a run, which the size of a stack decides, is marked as a merit."""
    table = page.table(TABLE)
    assert "s per run" in table
    costs = [row.rsplit("<td", 1)[1] for row in table.split("</tr>")[1:-1]]
    assert costs
    assert not any("best" in cell for cell in costs)
    assert "Runs of one stack share its time." in page.words


def test_backward_passes_are_shown_where_they_differ(tmp_path: Path) -> None:
    """Breaks if a method with a backward pass per task looks as cheap as one with one."""
    for name, passes in (("fixed", 1), ("famo", 2)):
        summary = write_trained_run(tmp_path / name, name) / "summary.json"
        values = json.loads(summary.read_text())
        summary.write_text(
            json.dumps(values | {"time": {"seconds": 1.0, "backward_passes": passes}})
        )
    assert "backward passes / step" in report(tmp_path).words


def test_a_study_shows_how_far_learning_rates_and_seeds_move_a_result(tmp_path: Path) -> None:
    """Breaks if a difference cannot be held against what a sparse grid of rates would have done."""
    jobs: dict[str, Any] = {}
    for i in range(6):
        write_trained_run(
            tmp_path / f"tune_{i}",
            "fixed",
            0,
            optimizer__lr=10 ** (i / 2 - 4),
            loss_factor=1 + i / 10,
        )
        jobs[f"tune_{i}"] = {
            "phase": 1,
            "strategy": "equal",
            "role": "equal",
            "final": False,
            "lr": 10 ** (i / 2 - 4),
        }
    for seed in range(3):
        write_trained_run(tmp_path / f"final_{seed}", "fixed", 10 + seed, optimizer__lr=1e-4)
        jobs[f"final_{seed}"] = {
            "phase": 4,
            "strategy": "equal",
            "role": "equal",
            "final": True,
            "lr": 1e-4,
        }
    write_study(tmp_path, jobs)
    table = report(tmp_path).table('aria-label="Spreads"')
    numbers = [float(value) for value in re.findall(r'data-value="([^"]+)"', table)]
    assert len(numbers) == 2
    assert all(value > 0 for value in numbers)


def test_a_long_table_shows_of_a_sweep_over_fixed_weights_only_the_best(tmp_path: Path) -> None:
    """Breaks if a reader has to look for the methods among dozens of fixed weights."""
    table = report(write_made_study(tmp_path, methods=7)).table(TABLE)
    rows = table.split("<tr")[2:]
    assert len(rows) == 19
    assert not any("method" in row and "more" in row for row in rows)
    assert [("fixed y1" in row, 'class="more minor"' in row) for row in rows].count(
        (True, True)
    ) == 8
    assert sum('class="more' in row for row in rows) == 8


def test_a_strategy_that_was_asked_for_is_never_hidden(tmp_path: Path) -> None:
    """Breaks if the worst of twenty methods, the one a reader looks for, is behind a button."""
    for i in range(20):
        for rate in ("0.1", "0.01"):
            factor = 1 + i / 10 + float(rate)
            folder = tmp_path / f"{i}_{rate}"
            write_trained_run(folder, f"m{i}", loss_factor=factor, optimizer__lr=rate)
    rows = report(tmp_path).table(TABLE).split("<tr")[2:]
    shown = [row for row in rows if "more" not in row.split(">")[0]]
    assert len(rows) == 40
    assert len({name for row in shown for name in re.findall(r"m\d+(?=, lr)", row)}) == 20
    assert len(shown) < 40


def test_very_many_strategies_are_thinned_and_the_caption_says_so(tmp_path: Path) -> None:
    """Breaks if a search of a thousand settings makes a table that no browser opens."""
    for i in range(LISTED + 30):
        overrides = {"optimizer.lr": 1e-4 * (i + 1)}
        write_run(tmp_path, str(i), {"a": {"rmse": 1.0 + i}}, monitor=1.0 + i, overrides=overrides)
    write_run(tmp_path, "worst", {"a": {"rmse": 1e9}}, weighting="dwa", monitor=1e9)
    section = Content.of(Records.read([tmp_path]), "final").sections[0]
    table = strategies_table(section, strategy_rows(section.data, "final"), "final", "val")
    assert len(table.rows) == LISTED
    assert table.rows[-1].line.name.startswith("dwa")
    assert f"{LISTED} of {LISTED + 31} strategies: the best; comparison.csv" in table.caption
