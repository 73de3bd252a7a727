"""The script that ranks weights and learning rates over widths: its sweeps and its numbers."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from scipy.stats import kendalltau, spearmanr

from mtl_runner.results.records.run import find_runs
from tests.support.whole_runs import compose_config
from tests.unit.results.run_builders import write_run
from tests.unit.scripts.script_modules import load_script


@pytest.fixture(scope="module")
def transfer() -> ModuleType:
    """Return scripts/reproduce/transfer.py as a module."""
    return load_script("reproduce/transfer.py")


def noisy(transfer: ModuleType, order: list[float], noise: float, seed: int) -> object:
    """Return a grid of four seeds whose weightings have these losses, and two rates."""
    draw = np.random.default_rng(seed)
    losses = np.array(order)[:, None, None] * np.array([1.0, 1.5])[None, :, None]
    monitors = losses + noise * draw.standard_normal((len(order), 2, 4))
    return transfer.Grid((0.001, 0.01), monitors, monitors + 1.0)


def test_the_sweeps_can_be_composed(transfer: ModuleType, tmp_path: Path) -> None:
    """Breaks if an option is misspelt that is met an hour later, or a sweep begins anew."""
    for problem in transfer.PROBLEMS:
        options = [o for o in transfer.options(problem, 32, tmp_path) if o != "-m"]
        swept = [
            o
            for o in OverridesParser.create().parse_overrides(options)
            if o.is_sweep_override() and o.key_or_group != "seed"
        ]
        counts = {o.key_or_group: len(list(o.sweep_string_iterator())) for o in swept}
        assert counts == {"weighting.weights": 8, "optimizer.lr": 5}
        plain = {o.input_line for o in swept} | {o for o in options if o.startswith("hydra")}
        config = compose_config(*(o for o in options if o not in plain and "range" not in o))
        assert config.model.hidden == [32, 32]
    wide = transfer.options("related", 1024, tmp_path)
    assert "optimizer.lr=0.0005,0.002,0.008,0.032" in wide
    assert "resume=true" not in wide
    (tmp_path / "related" / "1024").mkdir(parents=True)
    assert "resume=true" in transfer.options("related", 1024, tmp_path)


def test_a_grid_is_read_from_runs(transfer: ModuleType, tmp_path: Path) -> None:
    """Breaks if a run is put at another place, or one that failed counts as a result."""
    for place, (weights, lr, seed) in enumerate(
        [("{a:1}", "0.1", 0), ("{a:1}", "0.1", 1), ("{a:2}", "0.1", 0), ("{a:2}", "0.1", 1)]
    ):
        task = {"loss": 1.0, "rmse": 1.0, "relative_loss": 0.1 * place}
        overrides = {"weighting.weights": weights, "optimizer.lr": lr}
        write_run(
            tmp_path,
            str(place),
            {"y1": task, "y2": {**task, "relative_loss": 0.3}},
            seed=seed,
            monitor=float(place),
            overrides=overrides,
            status="failed" if place == 3 else "finished",
        )
    grid = transfer.grid_of(find_runs([tmp_path]))
    assert grid.monitors[:, 0].tolist() == [[0.0, 1.0], [2.0, math.inf]]
    assert grid.test[0, 0].tolist() == pytest.approx([0.15, 0.2])
    assert grid.chosen() == (0, 0.1)


def test_correlations_are_those_of_scipy_over_weightings_at_their_best_rates(
    transfer: ModuleType,
) -> None:
    """Breaks if weightings are compared at one rate, or ranks of rates mix the weightings."""
    narrow = noisy(transfer, [1.0, 2.0, 3.0, 4.0, 5.0], 0.8, 0)
    wide = noisy(transfer, [1.0, 2.0, 3.0, 5.0, 4.0], 0.8, 1)
    a, b = (grid.monitors.mean(axis=2) for grid in (narrow, wide))  # type: ignore[attr-defined]
    for ours, scipys in ((transfer.spearman, spearmanr), (transfer.kendall, kendalltau)):
        expected = scipys(a.min(axis=1), b.min(axis=1)).statistic
        assert transfer.of_weights(ours)(narrow, wide) == pytest.approx(expected)
        of_rows = [scipys(x, y).statistic for x, y in zip(a, b, strict=True)]
        assert transfer.of_rates(ours)(narrow, wide) == pytest.approx(np.mean(of_rows))


def test_the_noise_ceiling_is_one_without_noise_and_low_with_nothing_else(
    transfer: ModuleType,
) -> None:
    """Breaks if the ceiling compares seeds with themselves, which always agree."""
    order = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    clean = noisy(transfer, order, 0.0, 0)
    assert transfer.of_halves(clean, clean) == pytest.approx(1.0)
    pure = noisy(transfer, [1.0] * 8, 1.0, 0)
    assert transfer.of_halves(pure, pure) < 0.8


def test_the_bootstrap_holds_the_correlation_and_narrows_without_noise(
    transfer: ModuleType,
) -> None:
    """Breaks if intervals resample weightings instead of seeds, or say nothing of noise."""
    order = [1.0, 2.0, 3.0, 4.0, 5.0]
    clean, rough = noisy(transfer, order, 0.0, 0), noisy(transfer, order, 1.0, 1)
    correlation = transfer.of_weights(transfer.spearman)
    assert transfer.bootstrap(correlation, clean, clean, 50) == pytest.approx((1.0, 1.0))
    low, high = transfer.bootstrap(correlation, rough, clean, 200)
    assert low < correlation(rough, clean) <= high + 1e-9


def test_a_row_tells_what_a_choice_at_one_width_costs_at_the_largest(
    transfer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the loss of another width is shown, or a rate that diverges there has a number."""
    monkeypatch.setattr(transfer, "RESAMPLES", 5)
    rates = (0.001, 0.01)
    losses = np.array([[1.0, 2.0], [3.0, 1.5]])[:, :, None] * np.ones(4)
    wide = transfer.Grid(rates, losses, losses)
    narrow = transfer.Grid(rates, losses[:, ::-1], losses)  # best: weighting 0 at the other rate
    more = np.concatenate([losses, 0.5 * losses[:, :1]], axis=1)
    missing = transfer.Grid((*rates, 0.1), more, more)  # best: a rate that is too large for 32
    table = transfer.table(list(transfer.rows("p", {8: narrow, 16: missing, 32: wide})))
    rows = list(csv.DictReader(io.StringIO(table)))
    loss, rate = transfer.COLUMNS[5:7]
    assert [row["width"] for row in rows] == ["8", "16", "32"]
    assert [row[loss] for row in rows] == ["0", "0", "0"]
    assert [row[rate] for row in rows] == ["100", "diverged", "0"]
    assert rows[2]["weights: Spearman"] == "", "the largest width has a ceiling alone"
    of_four = [row for row in rows if row["4 times as wide: Spearman"]]
    assert [
        (row["width"], row["4 times as wide: loss of its weights (+%)"]) for row in of_four
    ] == [("8", "0")]
