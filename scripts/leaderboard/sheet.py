"""The committed tables of the leaderboard: a row per cell, per method and per problem."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from entries import OUTPUT, PROBLEMS, Cell, Method
from judging import Row
from summary import Standing

from mtl_runner.errors import ConfigError
from mtl_runner.files import write_atomic

CELLS, STANDINGS, COMMANDS = (
    "leaderboard.csv",
    "leaderboard_methods.csv",
    "leaderboard_problems.csv",
)
COMMAND = "# python scripts/leaderboard --budget 60m"
CELL_COLUMNS = (
    "problem", "method", "verdict", "change %", "low", "high", "by seed %", "relative loss", "lr",
    "runs", "failed", "trained", "CPU s", "backward passes", "definition", "reason",
)  # fmt: skip
PROBLEM_COLUMNS = ("problem", "what it is", "command")
STANDING_COLUMNS = (
    "method", "problems", "IQM of change %", "low", "high", "mean rank", "rank low", "rank high",
    "better", "no difference", "hurts", "undecided", "failed", "not applicable", "CPU",
)  # fmt: skip


def write_rows(folder: Path, rows: Iterable[Row], methods: Sequence[Method]) -> None:
    """Write ``leaderboard.csv``, problem by problem.

    Args:
        folder: The folder of the tables.
        rows: A row per cell.
        methods: All methods, in the order of their rows.
    """
    problems = [problem.name for problem in PROBLEMS]
    names = [method.name for method in methods]
    ordered = sorted(rows, key=lambda row: (problems.index(row.problem), names.index(row.method)))
    _write(folder / CELLS, CELL_COLUMNS, [_cells(row) for row in ordered])


def read_rows(folder: Path) -> list[Row]:
    """Read ``leaderboard.csv``; no rows if there is none.

    Raises:
        ConfigError: If it is not a table that :func:`write_rows` wrote.
    """
    path = folder / CELLS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    reader = csv.DictReader(lines[1:])
    if tuple(reader.fieldnames or ()) != CELL_COLUMNS:
        raise ConfigError(
            f"{path} has other columns than the leaderboard writes; remove it to start from scratch."
        )
    return [_row(row) for row in reader]


def write_standings(folder: Path, standings: Sequence[Standing]) -> None:
    """Write ``leaderboard_methods.csv``, in the given order."""
    _write(folder / STANDINGS, STANDING_COLUMNS, [_standing(s) for s in standings])


def write_problems(folder: Path) -> None:
    """Write ``leaderboard_problems.csv``, with the command of each problem for any ``METHOD``."""
    method = Method("METHOD", ("weighting=METHOD",))
    rows = [
        (problem.name, problem.about, shlex.join(Cell(problem, method).command(OUTPUT)))
        for problem in PROBLEMS
    ]
    _write(folder / COMMANDS, PROBLEM_COLUMNS, rows)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    text.write(f"{COMMAND}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue().encode())


def _cells(row: Row) -> list[str]:
    return [
        row.problem,
        row.method,
        row.verdict,
        *map(_percent, (row.change, row.low, row.high)),
        " ".join(map(_percent, row.by_seed)),
        _number(row.loss, 4),
        row.lr,
        str(row.seeds),
        str(row.failed),
        row.trained,
        _number(row.cpu_seconds, 3),
        _number(row.backward_passes, 4),
        row.definition,
        row.reason,
    ]


def _row(cells: dict[str, str]) -> Row:
    change, low, high = (_fraction(cells[name]) for name in ("change %", "low", "high"))
    return Row(
        problem=cells["problem"],
        method=cells["method"],
        verdict=cells["verdict"],
        change=change,
        low=low,
        high=high,
        by_seed=tuple(map(_fraction, cells["by seed %"].split())),
        loss=_known(cells["relative loss"]),
        lr=cells["lr"],
        seeds=int(cells["runs"]),
        failed=int(cells["failed"]),
        trained=cells["trained"],
        cpu_seconds=_known(cells["CPU s"]),
        backward_passes=_known(cells["backward passes"]),
        definition=cells["definition"],
        reason=cells["reason"],
    )


def _standing(standing: Standing) -> list[str]:
    counts = standing.verdicts
    return [
        standing.method,
        str(standing.problems),
        *(_number(100 * value, 3) for value in standing.change),
        *(_number(value, 3) for value in standing.rank),
        *(
            str(counts[kind])
            for kind in (
                "better than equal weights",
                "no difference",
                "hurts",
                "undecided",
                "failed",
                "not applicable",
            )
        ),
        _number(standing.cost, 3),
    ]


def _percent(fraction: float) -> str:
    return _number(100 * fraction, 4)


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def _known(text: str) -> float:
    return float(text) if text else math.nan


def _fraction(text: str) -> float:
    return _known(text) / 100
