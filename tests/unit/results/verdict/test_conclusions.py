"""The verdicts of recorded runs as columns, tables and lines."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.verdict.conclusions import ONE_TASK, Conclusions, conclude
from tests.unit.results.run_builders import METRICS, write_run, write_study


def metrics(factor: float) -> dict[str, dict[str, float]]:
    """Return the metrics of both tasks, multiplied."""
    return {task: {m: factor * v for m, v in row.items()} for task, row in METRICS.items()}


@pytest.fixture(scope="module")
def conclusions(tmp_path_factory: pytest.TempPathFactory) -> Conclusions:
    """Return the conclusions on equal weights, a worse strategy and fixed weights, four seeds."""
    folder = tmp_path_factory.mktemp("sweep")
    for seed in range(4):
        write_run(folder, f"e{seed}", metrics(1), seed=seed)
        worse = metrics(1.5 + seed / 100)
        write_run(folder, f"s{seed}", worse, seed=seed, weighting="dwa")
        weights = {"weighting.weights.a": 2}
        write_run(folder, f"f{seed}", metrics(1.1), seed=seed, overrides=weights, monitor=0.6)
    return conclude(Records.read([folder]))


def test_sentences_begin_with_the_answer(conclusions: Conclusions) -> None:
    """Breaks if the terminal lists verdicts without an answer, or the points of the sweep."""
    first, *lines = conclusions.sentences("d")
    assert first == "No strategy helps on d: dwa hurts."
    assert [line.split(" hurts")[0] for line in lines] == ["dwa"]
    assert conclusions.quantity("d") == "mean relative loss"
    assert conclusions.sentences("another") == []


def test_columns_are_those_of_the_verdict(conclusions: Conclusions) -> None:
    """Breaks if comparison.csv shows the verdict of another strategy, or one without any."""
    columns = conclusions.columns("d", "dwa")
    assert columns["verdict"] == "hurts"
    assert columns["versus_equal.mean"] == pytest.approx(0.515, abs=0.001)
    assert conclusions.columns("d", "fixed, a=default") == {}
    assert conclusions.columns("another", "dwa") == {}


def test_the_tables_hold_a_row_per_verdict_and_per_metric(
    conclusions: Conclusions, tmp_path: Path
) -> None:
    """Breaks if a file lacks a metric or a strategy, or differs from the table in memory."""
    verdict_table, differences = conclusions.tables
    assert verdict_table["strategy"].tolist() == ["dwa"]
    assert math.isnan(verdict_table["versus_twin.mean"][0])
    compared = {"dwa", "fixed, a=2"}
    assert set(differences["strategy"]) == compared
    assert len(differences) == len(compared) * sum(map(len, METRICS.values()))
    assert set(differences["against"]) == {"fixed, a=default"}
    conclusions.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == conclusions.files
    written = pd.read_csv(tmp_path / "differences.csv")
    assert written["mean"].to_numpy() == pytest.approx(differences["mean"].to_numpy(), rel=1e-12)


def test_without_equal_weights_nothing_is_written(tmp_path: Path) -> None:
    """Breaks if a sweep without a baseline leaves empty tables."""
    write_run(tmp_path / "runs", "0", METRICS, weighting="dwa")
    conclusions = conclude(Records.read([tmp_path / "runs"]))
    assert conclusions.files == []
    assert all(table.empty for table in conclusions.tables)
    (tmp_path / "output").mkdir()
    conclusions.write(tmp_path / "output")
    assert not list((tmp_path / "output").iterdir())


def test_what_is_missing_is_listed_once_with_the_studys_notes(tmp_path: Path) -> None:
    """Breaks if one task is judged as if weights could matter, or a note is lost."""
    write_run(tmp_path, "0", {"a": METRICS["a"]}, weighting="dwa")
    write_study(tmp_path, {"0": {"strategy": "dwa"}}, notes=["A note."])
    conclusions = conclude(Records.read([tmp_path]))
    lines = conclusions.missing(conclusions.records.datasets[0])
    assert len(lines) == len(set(lines))
    assert lines[-2:] == [ONE_TASK, "A note."]
    assert lines[0].startswith("No verdict: ")


def test_the_users_margin_outweighs_the_studys(tmp_path: Path) -> None:
    """Breaks if --margin is ignored, or the study's is not the default."""
    write_run(tmp_path, "0", METRICS)
    write_study(tmp_path, {}, margin=0.1)
    records = Records.read([tmp_path])
    assert conclude(records).margins == {"d": 0.1}
    assert conclude(records, margin=0.05).margins == {"d": 0.05}
