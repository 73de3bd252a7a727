"""Runs on road scenes, with a target at every pixel.

A strategy of each family trains, alone and staged, stopped and resumed, and leaves its files.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score, jaccard_score

import mtl_runner
from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.experiment.build import build
from mtl_runner.runs import runner
from mtl_runner.runs.request import Request
from tests.oracles.methods.runs import compose, finish, prepare, read, start, stop_after
from tests.support.commands import Command

SCENES = (
    "data=scenes",
    "data.n=12",
    "data.n_val=6",
    "data.n_test=6",
    "data.height=16",
    "data.width=16",
    "data.batch_size=4",
    "model.width=4",
    "model.depth=1",
    "trainer.epochs=2",
    "trainer.threads=1",
)
FAMILIES = ("fixed", "uncertainty", "dwa", "gradnorm", "upgrad", "per_task_adam", "single_task")
ALL_TASKS = "data.tasks=[segmentation,instance,depth,normal]"
METRICS = {
    "segmentation": ("miou", "pixel_accuracy"),
    "instance": ("instance_error",),
    "depth": ("abs_err", "rel_err"),
    "normal": ("angle_mean", "angle_median", "within_11", "within_22", "within_30"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The option that keeps drawn scenes for all tests of this file."""
    return f"data.cache={tmp_path_factory.mktemp('scenes')}"


def prepare_scenes(directory: Path, *options: str) -> Path:
    """Return a run directory with the config of a run on scenes, without pictures."""
    return prepare(directory, *SCENES, *options, "record.plots=none")


@pytest.mark.long
@pytest.mark.parametrize("schedule", ["all", "staged"])
@pytest.mark.parametrize("weighting", FAMILIES)
def test_a_strategy_of_each_family_trains_and_resumes_to_the_same_bytes(
    tmp_path: Path, cache: str, weighting: str, schedule: str
) -> None:
    """Breaks if a strategy cannot train dense tasks that start late, or forgets a state.

    Some batches hold no instance at all.
    """
    if weighting == "upgrad":
        pytest.importorskip("torchjd")
    options = (cache, f"weighting={weighting}", f"schedule={schedule}", "data.noise.depth=0.02")
    expected = finish(prepare_scenes(tmp_path / "undisturbed", *options))
    stopped = prepare_scenes(tmp_path / "stopped", *options)
    stop_after(stopped, 1)
    assert finish(stopped) == expected
    rows = read(tmp_path / "undisturbed")
    tasks = ("segmentation", "instance", "depth")
    for split in ("val", "test"):
        row_of = {row["task"]: row for row in rows if row["split"] == split and row["epoch"] == "2"}
        assert set(row_of) == {*tasks, "total"}
        assert all(
            math.isfinite(float(row_of[task][name]))
            for task in tasks
            for name in ("loss", *METRICS[task])
        )
    if schedule == "staged":
        active = [
            float(row["active"])
            for row in rows
            if row["split"] == "train" and row["task"] == "depth"
        ]
        assert active[0] < active[-1] == 1


@pytest.mark.parametrize(
    "options",
    [
        ("weighting=uncertainty", ALL_TASKS),
        ("weighting=uncertainty_exact", ALL_TASKS),
        ("weighting=heteroscedastic", "data.tasks=[segmentation,depth]"),
        ("weighting=adatask", "data.tasks=[depth,normal]"),
        ("weighting=fixed", "data.tasks=[normal]"),
    ],
    ids=" ".join,
)
def test_normals_and_noise_scales_train_and_resume_too(
    tmp_path: Path, cache: str, options: tuple[str, ...]
) -> None:
    """Breaks if a direction, which has no likelihood, or a noise per pixel stops a run."""
    expected = finish(prepare_scenes(tmp_path / "undisturbed", cache, *options))
    stopped = prepare_scenes(tmp_path / "stopped", cache, *options)
    stop_after(stopped, 1)
    assert finish(stopped) == expected


def test_every_pair_of_tasks_trains(tmp_path: Path, cache: str) -> None:
    """Breaks if a pair of dense tasks cannot train together, as in the paper's table of pairs."""
    names = list(METRICS)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            directory = prepare_scenes(
                tmp_path / f"{first}_{second}",
                cache,
                f"data.tasks=[{first},{second}]",
                "trainer.epochs=1",
            )
            start(directory).run()
            assert {row["task"] for row in read(directory)} == {first, second, "total"}


def test_a_run_leaves_its_files_its_columns_and_a_model_that_answers(
    tmp_path: Path, cache: str
) -> None:
    """Breaks if a dense run lacks panel.png, a metric's column, predictions or a model to load."""
    composed = compose(
        *SCENES, cache, ALL_TASKS, "weighting=uncertainty", "record.predictions=true"
    )
    config = OmegaConf.create(OmegaConf.to_container(composed))
    outcome = runner.run(Request(config, tmp_path / "run"))
    assert outcome.error == ""
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {
        "metrics.csv",
        "summary.json",
        "best.pt",
        "checkpoint.pt",
        "panel.png",
        "losses.png",
        "predictions.csv",
    } <= files
    assert (tmp_path / "run" / "panel.png").stat().st_size > 5000
    rows = read(tmp_path / "run")
    for row in rows:
        for task, names in METRICS.items():
            for name in names:
                filled = row[name] != ""
                assert filled == (row["task"] == task and row["split"] != "train"), (
                    row["task"],
                    row["split"],
                    name,
                )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "finished"
    split = build(config).data.splits["test"]
    answers = mtl_runner.load(tmp_path / "run").predict(split.inputs)
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        "segmentation": (6, 16, 16),
        "instance": (6, 2, 16, 16),
        "depth": (6, 1, 16, 16),
        "normal": (6, 3, 16, 16),
    }
    with (tmp_path / "run" / "predictions.csv").open() as file:
        written = [row for row in csv.DictReader(file) if row["split"] == "test"]
    assert len(written) == 6
    for row, labels, offsets in zip(
        written, split.targets["segmentation"], split.targets["instance"], strict=True
    ):
        assert [
            int(row[f"segmentation.{i}.target"]) for i in range(256)
        ] == labels.flatten().tolist()
        assert [
            row[f"instance.{i}.target"] == "" for i in range(512)
        ] == offsets.isnan().flatten().tolist()


def test_recorded_metrics_are_those_of_scikit_learn(tmp_path: Path, cache: str) -> None:
    """Breaks if a recorded metric is of another split, model or epoch."""
    directory = prepare_scenes(tmp_path / "run", cache)
    trainer = start(directory)
    trainer.run()
    trainer.finish()
    row = next(r for r in read(directory) if (r["split"], r["task"]) == ("test", "segmentation"))
    split = trainer.experiment.data.splits["test"]
    trainer.learner.model.eval()
    with torch.no_grad():
        labels = trainer.learner.model(split.inputs)["segmentation"].argmax(1).flatten()
    true = split.targets["segmentation"].flatten()
    miou = jaccard_score(true, labels, average="macro")
    assert float(row["miou"]) == pytest.approx(miou, rel=1e-6)
    assert float(row["pixel_accuracy"]) == pytest.approx(accuracy_score(true, labels), rel=1e-6)


def test_the_first_line_of_the_config_is_a_command_that_runs(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the example that users copy fails, or a wrong noise gets no sentence."""
    line = (conf_directory() / "data" / "scenes.yaml").read_text().splitlines()[1]
    assert line.startswith("# mtl-run ")
    done = mtl(
        *line.removeprefix("# ").split(), *SCENES[1:], "data.cache=cache", "hydra.run.dir=run"
    )
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "panel.png").exists()
    assert len(list((tmp_path / "cache").glob("scenes-*.pt"))) == 1
    wrong = mtl(
        "mtl-run", *SCENES, "data.cache=cache", "data.noise.segmentation=2", "hydra.run.dir=wrong"
    )
    assert wrong.code == 1
    assert wrong.last_line.endswith("data.noise.segmentation must be a share from 0 to 1; found 2.")


def test_a_metric_of_pixels_can_judge_a_run(tmp_path: Path, cache: str) -> None:
    """Breaks if the direction of a dense metric, such as miou or instance_error, is mistaken."""
    for monitor, sign in (("segmentation.miou", max), ("instance.instance_error", min)):
        directory = prepare_scenes(
            tmp_path / monitor, cache, f"trainer.monitor={monitor}", "trainer.epochs=4"
        )
        trainer = start(directory)
        trainer.run()
        task, name = monitor.split(".")
        values = [
            float(row[name])
            for row in read(directory)
            if (row["split"], row["task"]) == ("val", task)
        ]
        assert trainer.best.latest_epoch == 1 + values.index(sign(values))
