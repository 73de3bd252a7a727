"""A recorder leaves a run directory that everything else takes as one of ours."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import mtl_runner
from mtl_runner import Recorder, Task
from mtl_runner.cli import _obey
from mtl_runner.errors import ConfigError, RunDirectoryError
from mtl_runner.experiment.build import build
from mtl_runner.results.records.run import read_run
from mtl_runner.runs.records import read_summary
from mtl_runner.runs.runner import run
from mtl_runner.runs.summary import monitor_line
from tests.unit.runs.small_runs import tiny_request

TASKS = [Task("a", metrics=("mae",)), Task("b", metrics=("mae",))]
CONFIG = {"data": "rooms", "weighting": "dwa", "seed": 3, "optimizer": {"lr": 0.1}}


def tensors(value: float) -> dict[str, torch.Tensor]:
    """Return outputs, or targets, of both tasks."""
    return {"a": torch.full((2, 1), value), "b": torch.full((2, 1), value)}


def recorded(folder: Path, *values: float, **options: Any) -> Path:
    """Return the directory of a finished run with one evaluation per value; the targets are 0."""
    recorder = Recorder(folder, TASKS, CONFIG, plots=False, **options)
    for value in values:
        recorder.log(losses=[value, value], weights=[1.0, 2.0])
        recorder.log("val", outputs=tensors(value), targets=tensors(0.0))
    recorder.log("test", outputs=tensors(values[-1]), targets=tensors(0.0))
    recorder.finish()
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv."""
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_evaluation_has_the_numbers_of_our_own(tmp_path: Path) -> None:
    """Breaks if a foreign run is measured by another rule than ours, and compared with it."""
    request = tiny_request(tmp_path / "ours", "data=toy_mixed", "trainer.epochs=2")
    assert not run(request).error
    trained = mtl_runner.load(tmp_path / "ours")
    data = build(request.config).data
    config = {"data": "toy_mixed", "weighting": "mine"}
    targets = data.splits["train"].targets
    plain = [Task(task.name, task.kind, classes=task.classes) for task in data.tasks]
    tasks = [
        Task(p.name, p.kind, classes=p.classes, offset=t.offset, scale=t.scale)
        for p, t in zip(plain, data.tasks, strict=True)
    ]
    recorder = Recorder(tmp_path / "mine", tasks, config, targets=targets, plots=False)
    with torch.no_grad():
        for name in ("val", "test"):
            split = data.splits[name]
            for batch in split.batches(77):
                recorder.log(name, outputs=trained.model(batch.inputs), targets=batch.targets)
    recorder.finish()
    ours, recorded_tasks = (read_summary(tmp_path / name)["tasks"] for name in ("ours", "mine"))
    for task in data.tasks:
        for split in ("val", "test"):
            expected = ours[task.name]["best"][split]
            measured = recorded_tasks[task.name]["final"][split]
            assert measured == pytest.approx(expected, rel=1e-5), (task.name, split)
        assert recorded_tasks[task.name]["metrics"] == ours[task.name]["metrics"]


def test_the_files_are_those_of_a_run(tmp_path: Path) -> None:
    """Breaks if a reader of run directories meets another format."""
    folder = recorded(tmp_path / "run", 3.0, 1.0, 2.0)
    read = read_run(folder)
    assert read.status == "finished", read.reason
    assert read.choices == {"data": "rooms", "weighting": "dwa"}
    assert read.overrides == {
        "data": "rooms",
        "weighting": "dwa",
        "seed": "3",
        "optimizer.lr": "0.1",
    }
    assert (read.summary.seed, read.summary.epochs, read.summary.own_loop) == (3, 3, True)
    assert read.summary.monitor.best_epoch == 2
    assert read.summary.monitor.final == pytest.approx(4.0)
    assert read.summary.tasks["a"].at("final", "test")["mae"] == pytest.approx(2.0)
    lines = rows(folder)
    assert [(r["epoch"], r["step"], r["split"], r["task"]) for r in lines[:6]] == [
        ("1", "1", split, task) for split in ("train", "val") for task in ("a", "b", "total")
    ]
    assert [row["weight"] for row in lines[:2]] == ["1.0", "2.0"]
    assert [row["split"] for row in lines[-3:]] == ["test"] * 3


def test_the_best_model_can_be_the_one_that_is_tested(tmp_path: Path) -> None:
    """Breaks if the test numbers of the best model are taken for the last one's."""
    folder = recorded(tmp_path / "run", 3.0, 1.0, 2.0, judge="best")
    task = read_run(folder).summary.tasks["a"]
    assert set(task.values["best"]) == {"val", "test"}
    assert set(task.values["final"]) == {"val"}
    assert {row["epoch"] for row in rows(folder) if row["split"] == "test"} == {"2"}


def test_pictures_are_drawn(tmp_path: Path) -> None:
    """Breaks if a recorded run has no pictures."""
    with Recorder(tmp_path / "run", TASKS, CONFIG) as recorder:
        for _ in range(2):
            recorder.log(losses=[1.0, 1.0], weights=[1.0, 2.0], sigmas=[1.0, 1.0])
            recorder.log("val", outputs=tensors(1.0), targets=tensors(0.0))
    names = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert names == {"losses.png", "weights.png", "sigmas.png"}


def test_a_comparison_takes_it_as_one_of_ours(tmp_path: Path) -> None:
    """Breaks if the verdict does not name a foreign strategy, or pools it with ours."""
    for name, value in (("fixed", 2.0), ("mine", 1.0)):
        config = {"data": "rooms", "weighting": name, "seed": 0}
        recorder = Recorder(tmp_path / name, TASKS, config, plots=False)
        recorder.log("val", outputs=tensors(value), targets=tensors(0.0))
        recorder.finish()
    comparison = mtl_runner.compare(tmp_path)
    assert list(comparison.strategies["strategy"]) == ["fixed", "mine"]
    assert "mine is undecided with 1 seed: 50 % better than equal weights" in comparison.text()


def test_a_mean_of_losses_is_not_called_relative(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if raw losses of a loop without targets= are compared as relative ones."""
    folder = recorded(tmp_path / "raw", 3.0, 1.0)
    monitor = read_summary(folder)["monitor"]
    assert (monitor["name"], monitor["final"]) == ("mean_loss", 1.0)
    assert {row["relative_loss"] for row in rows(folder)} == {""}
    (warning,) = caplog.messages
    assert warning.endswith("give Recorder targets=<the training targets>.")
    assert "mean_loss" in mtl_runner.compare(tmp_path).text()
    train = {"a": torch.tensor([[1.0], [3.0]]), "b": torch.tensor([[2.0], [4.0]])}
    relative = recorded(tmp_path / "relative", 3.0, 1.0, targets=train)
    assert read_summary(relative)["monitor"]["name"] == "relative_loss"
    assert len(caplog.messages) == 1
    text = mtl_runner.compare(tmp_path).text()
    assert "relative_loss" in text, "numbers of two monitors do not stand in one column"
    assert "monitor" not in text


def test_a_whole_epoch_is_shown_as_one(tmp_path: Path) -> None:
    """Breaks if the best epoch of a loop is 3.00."""
    summary = read_summary(recorded(tmp_path / "run", 3.0, 2.0, 1.0))
    assert monitor_line(summary) == "mean_loss 1 at the end; best 1 at epoch 3"


def test_what_needs_a_model_or_config_of_ours_says_whose_run_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if advice that cannot work is given about a run of somebody's loop."""
    folder, stopped = recorded(tmp_path / "run", 1.0), tmp_path / "stopped"
    Recorder(stopped, TASKS, CONFIG).fail(KeyboardInterrupt())
    sentence = "recorded by a loop of your own .* no model and no config of mtl-run's"
    commands = (
        lambda: mtl_runner.load(folder),
        lambda: mtl_runner.load(stopped),
        lambda: _obey([f"repeat={folder}"]),
        lambda: _obey([f"resume={stopped}"]),
        lambda: _obey([f"resume={folder}", "trainer.epochs=9"]),
    )
    for number, command in enumerate(commands):
        with pytest.raises(RunDirectoryError, match=sentence):
            assert command() != 1, number
    with caplog.at_level("INFO"):
        assert _obey([f"resume={folder}"]) == 0
    assert "recorded by a loop of your own" in caplog.text
    assert "repeat=" not in caplog.text


def test_a_failure_is_recorded(tmp_path: Path) -> None:
    """Breaks if a run that died looks like one that is running."""

    def loop() -> None:
        with Recorder(tmp_path / "run", TASKS, CONFIG) as recorder:
            recorder.log(losses=[1.0, 1.0])
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        loop()
    read = read_run(tmp_path / "run")
    assert (read.status, read.reason) == ("failed", "ValueError: broken")


def test_an_unfinished_run_is_begun_anew_and_a_finished_one_is_safe(tmp_path: Path) -> None:
    """Breaks if a second start mixes two runs, or loses a finished one."""
    first = Recorder(tmp_path / "run", TASKS, CONFIG, plots=False)
    first.log("val", outputs=tensors(9.0), targets=tensors(0.0))
    first.fail(KeyboardInterrupt())
    assert read_run(tmp_path / "run").status == "interrupted"
    recorded(tmp_path / "run", 1.0)
    assert {row["epoch"] for row in rows(tmp_path / "run")} == {"1"}
    with pytest.raises(RunDirectoryError, match="holds a finished run; choose another directory"):
        Recorder(tmp_path / "run", TASKS, CONFIG)


def test_a_process_that_does_not_write_leaves_nothing(tmp_path: Path) -> None:
    """Breaks if the processes of one run write over each other."""
    recorded(tmp_path / "run", 1.0, writes=False)
    assert not (tmp_path / "run").exists()


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    """Breaks if a wrong call is a traceback from within."""
    with pytest.raises(ConfigError, match=r"config\['seed'\] must be a whole number; found '0'"):
        Recorder(tmp_path / "a", TASKS, {"seed": "0"})
    with pytest.raises(ConfigError, match="judge='last' is unknown"):
        Recorder(tmp_path / "b", TASKS, judge="last")
    recorder = Recorder(tmp_path / "c", TASKS)
    with pytest.raises(ConfigError, match="A training step needs losses"):
        recorder.log()
    with pytest.raises(ConfigError, match="split='valid' is unknown"):
        recorder.log("valid")
    with pytest.raises(ConfigError, match=r"call log\('val', \.\.\.\) before finish"):
        recorder.finish()
    recorder.log("val", outputs=tensors(1.0), targets=tensors(0.0))
    recorder.finish()
    recorder.finish()
    with pytest.raises(ConfigError, match="nothing can be logged after finish"):
        recorder.log(losses=[1.0, 1.0])
