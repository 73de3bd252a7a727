"""``trainer.devices``: any number of processes trains like one, for every method."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.oracles.methods.runs import METHODS, compose, ignore_solver_warnings
from tests.support.builders import assert_near
from tests.support.lengths import long_but
from tests.support.rank_group import RankGroup, Trained, Uneven, train

# Whose solvers make more of a rounding error.
SOLVERS = ("upgrad", "dualproj", "cagrad", "nash", "fairgrad", "mgda", "sdmgrad", "config")
STEPS_CONFIG = (
    "model=mlp",
    "trainer.epochs=4",
    "trainer.evaluate_every=4",
    "model.hidden=[8]",
    "model.dropout=0",
    "trainer.device=cpu",
    "record.plots=none",
    "optimizer.lr=0.01",
)
# What a schedule adds where a method has none of its own.
STAGED = ("schedule=staged", "schedule.start={label: 1, tags: 2}")


@pytest.fixture(scope="module")
def pair() -> Iterator[RankGroup]:
    """Return a group of two processes."""
    group = RankGroup(2)
    yield group
    group.close()


@pytest.fixture(scope="module")
def groups(pair: RankGroup) -> Iterator[dict[int, RankGroup]]:
    """Return groups of two and of three processes."""
    three = RankGroup(3)
    yield {2: pair, 3: three}
    three.close()


def config_of(
    *options: str, gaps: bool = False, dataset: str = "Uneven", **data: Any
) -> DictConfig:
    """Return the config of a short run on three tasks, whose batches come out uneven."""
    config = compose(*STEPS_CONFIG, *options).copy()
    node = {
        "_target_": f"tests.support.rank_group.{dataset}",
        "gaps": gaps,
        "batch_size": 23,
        "tasks": None,
        "losses": {},
    }
    config.data = OmegaConf.create({**node, **data})
    return config


def check(config: DictConfig, group: RankGroup, tolerance: float) -> None:
    """Assert that all processes of a group come to the same bits, and to those of one process."""
    alone = train(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    results = group.train(config)
    assert len({result.bits for result in results}) == 1
    compare(results[0], alone, tolerance)


def compare(result: Trained, alone: Trained, tolerance: float) -> None:
    """Assert that two results agree."""
    assert_near(result.parameters, alone.parameters, tolerance)
    for means, expected in zip(result.means, alone.means, strict=True):
        assert means == pytest.approx(expected, rel=1e-5, abs=1e-7, nan_ok=True)
    for task, values in alone.metrics.items():
        assert result.metrics[task] == pytest.approx(values, rel=1e-5, abs=1e-7, nan_ok=True)


def tolerance_of(options: tuple[str, ...]) -> float:
    """Return the bar of a method in double precision."""
    return 1e-8 if any(name in option for name in SOLVERS for option in options) else 1e-12


@ignore_solver_warnings
@pytest.mark.long
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("staged", [False, True], ids=["alone", "staged"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_several_processes_as_on_one(
    groups: dict[int, RankGroup], method: str, staged: bool, gaps: bool
) -> None:
    """Breaks if a weighting sees the losses of a process, or a gradient is not the batch's."""
    options = METHODS[method]
    has_schedule = any("schedule" in option for option in options) or method == "staged"
    if staged and has_schedule:
        pytest.skip("the method has a schedule of its own")
    if (staged or gaps) and method in ("krum", "trimmed_mean"):
        pytest.skip("needs three active tasks in every step")
    options = (*options, *(STAGED if staged else ()), "trainer.precision=float64")
    config = config_of(*options, gaps=gaps)
    for group in groups.values():
        check(config, group, tolerance_of(options))


FEW: dict[str, tuple[str, ...]] = {
    "uncertainty": ("weighting=uncertainty",),
    "famo": ("weighting=famo", *STAGED),
    "gradnorm": ("weighting=gradnorm",),
    "fresh": ("weighting=fixed", "update=per_task", "update.gradients=fresh"),
    "upgrad": ("weighting=upgrad",),
    "homoscedastic": ("weighting=fixed", "likelihood=homoscedastic"),
    "representation": ("weighting=mgda", "update.at=representation"),
}


@pytest.mark.parametrize("method", long_but(list(FEW)[::2], FEW))
def test_a_method_of_each_family_does_with_missing_labels(pair: RankGroup, method: str) -> None:
    """Breaks if a process whose rows have no label, or that has no row, counts for something."""
    config = config_of(*FEW[method], "trainer.precision=float64", gaps=True)
    check(config, pair, tolerance_of(FEW[method]))


OPTIONS: dict[str, tuple[str, ...]] = {
    "clip": ("weighting=uncertainty", "trainer.clip=0.5", "optimizer=adamw"),
    "clip_of_groups": ("weighting=fixed", "update=per_task", "trainer.clip=0.5"),
    "parts": ("weighting=uncertainty", "trainer.accumulate=3"),
    "parts_of_known_weights": ("weighting=dwa", "trainer.accumulate='4 rows'"),
    "parts_of_famo": ("weighting=famo", "trainer.accumulate='5 rows'"),
    "average": ("weighting=uncertainty", "trainer.ema=0.9"),
    "optimizers": ("weighting=fixed", "optimizer.parts={shared: {lr: 0.003}, tags: {lr: 0.1}}"),
    "conflicts": ("weighting=pcgrad", "record.gradients=true"),
    "signs": ("weighting=graddrop", "update.at=representation"),
    "warm_up": ("weighting=fixed", "trainer.warmup=3 steps", "trainer.lr_scheduler_per=step"),
    "predicted_noise": ("weighting=uncertainty", "likelihood=heteroscedastic"),
    "sums": ("weighting=fixed", "likelihood=homoscedastic", "likelihood.reduce=mean"),
    "copies": ("weighting=single_task",),
    "steps": ("weighting=uncertainty", "data.steps_per_epoch=2"),
    "inside": ("weighting=dwa", "trainer.evaluate_every='2 steps'"),
    "patience": ("weighting=uncertainty", "trainer.patience=1", "trainer.evaluate_every=1"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_a_step_means_the_same(groups: dict[int, RankGroup], name: str) -> None:
    """Breaks if an option looks at the gradients or rows of one process."""
    options = [option for option in OPTIONS[name] if "steps_per_epoch" not in option]
    data = {"steps_per_epoch": 2} if name == "steps" else {}
    config = config_of(*options, "trainer.precision=float64", gaps=True, **data)
    for group in groups.values():
        check(config, group, 1e-12)


@pytest.mark.long
@pytest.mark.parametrize("method", ["uncertainty", "famo", "upgrad", "fresh"])
@pytest.mark.parametrize(
    "data",
    [
        {"dataset": "UnevenItems"},
        {"dataset": "UnevenItems", "loader": {"workers": 1}},
        {"dataset": "UnevenItems", "iterable": True, "steps_per_epoch": 3},
    ],
    ids=["items", "items_of_a_worker", "iterable"],
)
def test_rows_that_are_read_one_by_one_are_shared_out(
    groups: dict[int, RankGroup], method: str, data: dict[str, Any]
) -> None:
    """Breaks if a process reads other rows than its own of the common order."""
    config = config_of(*FEW[method], gaps=True, **data)
    for group in groups.values():
        check(config, group, 5e-6)


@pytest.mark.long
def test_the_rows_of_a_streamed_table_are_shared_out(
    groups: dict[int, RankGroup], tmp_path: Path
) -> None:
    """Breaks if a process cuts other rows out of the windows of a table."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="a table that is streamed is a Parquet file")
    table = pd.DataFrame({"x": range(100), "a": [i % 7 for i in range(100)]})
    table["b"] = [None if i % 3 else i % 5 for i in range(100)]
    table.to_parquet(tmp_path / "t.parquet", row_group_size=9)
    config = config_of("weighting=uncertainty")
    config.data = OmegaConf.create(
        {
            "_target_": "mtl_runner.data.Table",
            "path": str(tmp_path / "t.parquet"),
            "targets": {"a": "regression", "b": "regression"},
            "stream": True,
            "shuffle_rows": 20,
            "batch_size": 23,
            "tasks": None,
            "losses": {},
        }
    )
    for group in groups.values():
        check(config, group, 5e-6)


@pytest.mark.parametrize("method", ["uncertainty", "upgrad", "famo"])
def test_batch_normalisation_sees_all_rows(pair: RankGroup, method: str) -> None:
    """Breaks if the statistics are those of a process, or a row that counts nothing is in them."""
    config = config_of(*FEW[method], "trainer.precision=float64", rows=48)
    config.model = OmegaConf.create({"_target_": "tests.support.rank_group.Normalised"})
    check(config, pair, 1e-7)


@pytest.mark.long
@pytest.mark.parametrize("val", [1, 20])
def test_every_metric_is_measured_together(groups: dict[int, RankGroup], val: int) -> None:
    """Breaks if a metric is that of a process, or one without rows has no word."""
    config = config_of("weighting=uncertainty", "trainer.precision=float64", val=val)
    metrics = {
        task.name: [metric.name for metric in (*task.spec.metrics, *task.spec.more_metrics)]
        for task in Uneven().tasks
    }
    OmegaConf.update(config, "data.metrics", metrics, force_add=True)
    for group in groups.values():
        check(config, group, 1e-12)


@pytest.mark.long
def test_a_loss_term_that_is_a_mean_over_rows_is_that_of_the_batch(
    groups: dict[int, RankGroup],
) -> None:
    """Breaks if a process with few rows counts as much as one with many."""
    config = config_of("weighting=uncertainty", "trainer.precision=float64")
    config.data.losses = {"small": {"_target_": "tests.support.rank_group.size_of_values"}}
    for group in groups.values():
        check(config, group, 1e-12)


@pytest.mark.long
@pytest.mark.parametrize(
    "options", [("weighting=uncertainty",), ("weighting=upgrad",), ("update=adatask",)], ids=str
)
def test_a_part_that_is_frozen_at_first_stands_still_in_every_process(
    groups: dict[int, RankGroup], options: tuple[str, ...]
) -> None:
    """Breaks if a frozen weight travels as a gradient of 0, on which weight decay then acts."""
    decay = ("optimizer.weight_decay=0.1", "trainer.precision=float64")
    config = config_of(*options, *decay, gaps=True, batch_size=20)
    config.model = {
        "_target_": "tests.oracles.test_frozen_parts.Layers",
        "freeze": ["first"],
        "until": "3 steps",
    }
    for group in groups.values():
        check(config, group, 1e-7)  # batch normalisation over processes sums in another order
