"""The beginning and the end of a run in a directory that is claimed: status, summary, pictures, and what is said."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from mtl_runner.data.inputs import InputTensors
from mtl_runner.errors.wording import run_message
from mtl_runner.experiment.build import Datasets, Experiment, build
from mtl_runner.files import write_json
from mtl_runner.runs import directory as run_directory
from mtl_runner.runs.predictions import write_predictions
from mtl_runner.runs.predictor import task_from
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.summary import summarize, table, verdict
from mtl_runner.train.advice import lessons_at_the_end, lessons_of_setup
from mtl_runner.train.trainer import Trainer

log = logging.getLogger("mtl_runner")


def outcome_if_finished(request: Request) -> Outcome | None:
    """The outcome of a run that came to its end before."""
    summary = run_directory.read_summary(request.directory)
    if summary.get("status") != "finished":
        return None
    best = summary["monitor"]["best"]
    return Outcome(float("nan") if best is None else float(best))


def begin(request: Request, datasets: Datasets | None = None) -> Trainer:
    """Build a run, or take it up from its checkpoint, in a directory that is claimed; says what it is and what to mind."""
    write_status(request, "running")
    torch.autograd.set_detect_anomaly(bool(request.config.get("debug", False)))
    experiment = build(request.config, datasets)
    trainer = Trainer(experiment, request.directory)
    trainer.best.header = _header(request, experiment)
    log.info("%s", _opening(trainer))
    for lesson in [] if trainer.resumed else lessons_of_setup(experiment):
        log.warning("%s", lesson)
    for name in experiment.schedule.never_active():
        log.warning("Task %r never takes part in this run; check its times under schedule.", name)
    return trainer


def end(trainer: Trainer, request: Request) -> Outcome:
    """The evaluation, the files and the last lines of a run that has been trained."""
    experiment, directory = trainer.experiment, request.directory
    if experiment.schedule.last_start() == math.inf:
        log.warning(
            "Not every task has started: the losses before it were still getting better; train longer, or lower schedule.patience."
        )
    if trainer.means is not None:
        for lesson in lessons_at_the_end(trainer.learner, trainer.means):
            log.warning("%s", lesson)
    final, best = trainer.finish()
    summary = {**_identity(request, "finished"), **summarize(trainer, final, best)}
    if experiment.settings.record.plots == "all" or (
        experiment.settings.record.plots == "best" and not request.job
    ):
        draw(trainer, summary, directory)
    if experiment.settings.record.predictions:
        write_predictions(trainer)
    write_json(directory / "summary.json", summary)
    log.info("%s", table(summary))
    log.info("%s", verdict(summary))
    if trainer.settings.trainer.patience and trainer.epoch < trainer.settings.trainer.epochs:
        log.info(
            "Stopped early after epoch %d: no better %s for %d epochs.",
            trainer.epoch,
            trainer.settings.trainer.monitor,
            trainer.settings.trainer.patience,
        )
    log.info("%s", shown(directory))
    return Outcome(
        trainer.best.value, interrupted=trainer.stop
    )  # a sweep stops even if this run came to its end


def draw(trainer: Trainer, summary: dict[str, Any], directory: Path) -> None:
    """The pictures of a run, into its directory."""
    from mtl_runner.results.panel_plot import plot_panel
    from mtl_runner.results.plots import plot_run
    from mtl_runner.runs.fit_curve import fit_curve
    from mtl_runner.runs.panel import panel

    plot_run(directory, summary, fit_curve(trainer))
    images = panel(trainer)
    if images is not None:
        plot_panel(directory / "panel.png", images)


def draw_again(directory: Path) -> None:
    """The pictures of a run that came to its end before (``record.plots=best``)."""
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # taking a run up cuts its metrics.csv back to the checkpoint
        for name in ("checkpoint.pt", "best.pt", "metrics.csv"):
            shutil.copy2(directory / name, folder)
        draw(
            Trainer(build(run_directory.read_config(directory)), Path(folder)),
            run_directory.read_summary(directory),
            directory,
        )


def _opening(trainer: Trainer) -> str:
    experiment, settings = trainer.experiment, trainer.settings
    sizes = ", ".join(f"{name} {len(split)}" for name, split in experiment.data.splits.items())
    trained = sum(p.numel() for p in experiment.parameters.tensors)
    shared = sum(p.numel() for p in experiment.parameters.shared)
    start = f"resuming after epoch {trainer.epoch}" if trainer.resumed else "starting"
    return (
        f"{', '.join(t.name for t in trainer.tasks)}: {sizes} rows; {trained:,} parameters, {shared:,} shared; "
        f"{start}, {settings.trainer.epochs} epochs of {trainer.batches.count} steps on {experiment.device}"
    )


def _header(request: Request, experiment: Experiment) -> dict[str, Any]:
    """What `mtl_runner.load` needs beside the weights, as plain values."""
    shape = InputTensors(experiment.data.splits["train"].inputs).shape
    tasks = [task.plain() for task in experiment.data.tasks if task.has_target]
    for task in tasks:
        task_from(
            task
        )  # a kind of the user's that cannot be made again is an error now, not after the training
    config = OmegaConf.to_container(request.config, resolve=True)
    assert isinstance(config, dict)
    return {
        "model": config["model"],
        "share": experiment.settings.share,
        "likelihood": config["likelihood"],
        "tasks": tasks,
        "input_shape": {name: list(each) for name, each in shape.items()}
        if isinstance(shape, dict)
        else list(shape),
        "preprocessing": experiment.data.preprocessing,
    }


def _identity(request: Request, status: str, reason: str = "") -> dict[str, Any]:
    config = request.config
    return {
        "status": status,
        "reason": reason,
        "name": str(config.get("name", request.directory.name)),
        "seed": config.get("seed"),
        "choices": dict(request.choices),
        "overrides": list(request.overrides),
    }


def write_status(request: Request, status: str, reason: str = "") -> None:
    """summary.json of a run that is not finished."""
    write_json(request.directory / "summary.json", _identity(request, status, reason))


def record_failure(error: BaseException, request: Request) -> Outcome:
    """Write down why a run failed."""
    text = run_message(error)
    with contextlib.suppress(
        OSError
    ):  # the disk may be full; the sentence still reaches the terminal
        logging.getLogger("mtl_runner.file").error("%s", "".join(traceback.format_exception(error)))
        write_status(request, "failed", text)
    return Outcome(error=text, exit_code=1)


def shown(path: Path) -> str:
    """The path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
