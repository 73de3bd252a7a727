"""The beginning and end of a run in a claimed directory: status, summary, pictures, messages."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from mtl_runner.config.code_folders import folders_of_code
from mtl_runner.config.kept_files import KEPT_FILES, SHARDS
from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import InputTensors
from mtl_runner.errors import ConfigError, DataError, ModelError, RunDirectoryError
from mtl_runner.errors.checks import is_whole_number
from mtl_runner.errors.messages import run_message
from mtl_runner.errors.words import counted
from mtl_runner.experiment.build import Experiment, build
from mtl_runner.experiment.dataset import Datasets
from mtl_runner.files import open_regular, write_json
from mtl_runner.gradients.ranks import current_ranks
from mtl_runner.models.backbone import options_to_rebuild
from mtl_runner.results.records.summary import FORMAT, as_float
from mtl_runner.runs import directory as run_directory
from mtl_runner.runs.interference import measure_interference
from mtl_runner.runs.predictions import write_predictions
from mtl_runner.runs.predictor import task_from_plain
from mtl_runner.runs.records import judged_epoch, kept_files, read_config, read_result, read_summary
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.safetensors_file import check_safetensors, write_safetensors
from mtl_runner.runs.summary import monitor_line, summarize, task_table
from mtl_runner.runs.trackers.base import ENDS
from mtl_runner.runs.trackers.session import Trackers, end_trackers
from mtl_runner.train import checkpoint
from mtl_runner.train.advice import advice_on_best, advice_on_log_variances, advice_on_setup
from mtl_runner.train.trainer import Trainer
from mtl_runner.write_group import once_written

log = logging.getLogger("mtl_runner")

REFUSALS = (ConfigError, DataError, ModelError)  # of a request, whatever its strategy is worth


def outcome_if_finished(request: Request) -> Outcome | None:
    """Return the recorded outcome of a run that finished before, else None.

    Args:
        request: The run that is asked for.

    Raises:
        RunDirectoryError: If a newer version wrote it.
    """
    summary = read_result(request.directory)
    if summary is None:
        return None
    return Outcome(as_float(summary["monitor"].get(judged_epoch(summary))))


@contextlib.contextmanager
def claimed_for(request: Request) -> Iterator[None]:
    """Hold the directory of a run, as long as the run is at work in it.

    Args:
        request: The run that is asked for.

    Raises:
        RunDirectoryError: If the directory holds another run, or cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                run_directory.claimed(
                    request.directory,
                    request.config,
                    request.overrides,
                    request.choices,
                    request.hydra,
                )
            )
        except OSError as error:
            raise RunDirectoryError(run_message(error)) from error
        yield


def begin(request: Request, datasets: Datasets | None = None) -> Trainer:
    """Build a run, or restore it from its checkpoint, in a directory that is claimed.

    Logs what will be trained, and a warning for each choice that may not do what it seems to.

    Args:
        request: The run that is asked for.
        datasets: Datasets that were built before, by their configs; new ones are added.

    Returns:
        The trainer, ready to run.
    """
    ranks = current_ranks()
    if ranks is None or ranks.writes:
        write_status(request, "running")
    torch.autograd.set_detect_anomaly(bool(request.config.get("debug", False)))
    # A package that is not installed is missed before the data are read.
    trackers = Trackers(request) if ranks is None or ranks.writes else None
    experiment = build(request.config, datasets)
    if experiment.settings.record.safetensors:
        check_safetensors()
    trainer = Trainer(experiment, request.directory)
    trainer.config = (
        run_directory.trained_config(request.directory, trainer.config)
        if trainer.resumed
        else run_directory.plain_config(request.config)
    )
    trainer.best.header = _header(request, experiment)
    log.info("%s", _start_line(trainer))
    if trackers is not None:
        trackers.start()
        trainer.on_save = trackers.follow
    record = trainer.settings.record
    if not request.job and record.checkpoints != "both":
        kept = " and ".join(KEPT_FILES[record.checkpoints]) or "no checkpoint"
        log.info("Once finished, it keeps %s (record.checkpoints=%s).", kept, record.checkpoints)
    for lesson in [] if trainer.resumed else advice_on_setup(experiment):
        log.warning("%s", lesson)
    for name in experiment.schedule.never_active():
        log.warning("Task %r never takes part in this run; check its times under schedule.", name)
    return trainer


def end(trainer: Trainer, request: Request) -> Outcome:
    """Evaluate a trained run, write its files and log its result.

    Args:
        trainer: The trained run.
        request: The request that it answers.

    Returns:
        Its outcome, with the signal that asked to stop meanwhile, if any: a sweep stops then even
        if this run came to its end.
    """
    experiment, directory = trainer.experiment, request.directory
    if experiment.schedule.last_start() == math.inf:
        log.warning(
            "Not every task has started: the losses before it were still getting better; train longer, or lower schedule.patience."
        )
    if trainer.means is not None:
        for lesson in advice_on_log_variances(trainer.learner, trainer.means):
            log.warning("%s", lesson)
    final, best = trainer.finish()
    # Where the model is sharded, the first process needs the others to use it.
    is_sharded = experiment.parameters.shards is not None
    if not (trainer.writes or is_sharded):
        return Outcome(trainer.best.value)
    summary = {**_summary_head(request, "finished"), **summarize(trainer, final, best)}
    if experiment.settings.record.interference:
        measured = measure_interference(trainer)
        summary |= {"interference": measured} if measured else {}
    if experiment.settings.record.predictions:
        with trainer.judged():
            write_predictions(trainer)
    if experiment.settings.record.safetensors:
        write_safetensors(trainer)
    if trainer.writes:
        write_json(directory / "summary.json", summary)
    if experiment.settings.record.plots == "all" or (
        experiment.settings.record.plots == "best" and not request.job
    ):
        draw(trainer, summary, directory)
    if not trainer.writes:
        return Outcome(trainer.best.value)
    end_trackers(directory, "finished")
    log.info("%s", task_table(summary))
    log.info("%s", monitor_line(summary))
    options, best_value = trainer.settings.trainer, (trainer.best.value, trainer.best.latest_epoch)
    at_the_end = summary["monitor"]["final"]
    for lesson in advice_on_best(options, trainer.monitor, best_value, at_the_end, trainer.epoch):
        log.warning("%s", lesson)
    if trainer.epoch < options.epochs:
        log.info("%s", _why_it_ended(trainer))
    # Not before the summary says that the run has finished: it could not go on without them.
    once_written(lambda: checkpoint.keep_only(directory, kept_files(summary)))
    log.info("%s", display_path(directory))
    monitor = trainer.best.value if trainer.judges_best else summary["monitor"]["final"]
    return Outcome(monitor, stopped_by=trainer.stop_signal if trainer.stop else None)


def _why_it_ended(trainer: Trainer) -> str:
    """Return why a run ended before its last epoch."""
    monitor, patience = trainer.monitor, trainer.settings.trainer.patience
    if trainer.gives_up():
        return f"Given up after epoch {trainer.epoch}: the best {monitor.text(trainer.best.value)} is worse than trainer.give_up wants."
    return f"Stopped early after epoch {trainer.epoch}: no better {monitor.name} for {counted(patience or 0, 'epoch')}."


def draw(trainer: Trainer, summary: dict[str, Any], directory: Path) -> None:
    """Draw the pictures of a run; where that fails, a warning says why.

    Args:
        trainer: The trained run.
        summary: The content of its summary.json.
        directory: Where the pictures go.
    """
    from mtl_runner.results.pictures.panel import plot_panel
    from mtl_runner.results.pictures.run import plot_run
    from mtl_runner.results.pictures.solution import plot_solutions
    from mtl_runner.runs.fit_curve import fit_curve
    from mtl_runner.runs.panel import validation_panel
    from mtl_runner.runs.solution import solutions_on_grid

    with _warning_instead_of_failure(), trainer.judged():
        figures = trainer.settings.record.figures or ""
        fit, panel = fit_curve(trainer), validation_panel(trainer)
        solutions = solutions_on_grid(trainer)
        if trainer.writes:
            plot_run(directory, summary, fit, figures)
            if panel is not None:
                plot_panel(directory / "panel.png", panel, figures)
            if solutions:
                plot_solutions(directory / "solution.png", solutions, figures)


def draw_from_files(directory: Path, summary: dict[str, Any]) -> None:
    """Draw the pictures of a run that can be drawn without its model.

    Where that fails, a warning says why.

    Args:
        directory: The run directory.
        summary: The content of its summary.json.
    """
    from mtl_runner.results.pictures.run import plot_run

    with _warning_instead_of_failure():
        plot_run(directory, summary, {})


def draw_again(directory: Path) -> None:
    """Draw the pictures of a run that finished before (``record.plots=best``).

    Where that fails, a warning says why.

    Args:
        directory: Its run directory.
    """
    # A copy, since restoring a run cuts its metrics.csv back to the checkpoint.
    with _warning_instead_of_failure(), tempfile.TemporaryDirectory() as folder:
        for name in ("checkpoint.pt", "best.pt", "metrics.csv"):
            with (
                os.fdopen(open_regular(directory / name), "rb") as source,
                (Path(folder) / name).open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
        if (directory / SHARDS).is_dir():
            shutil.copytree(directory / SHARDS, Path(folder) / SHARDS)
        trainer = Trainer(build(read_config(directory)), Path(folder))
        draw(trainer, read_summary(directory), directory)


@contextlib.contextmanager
def _warning_instead_of_failure() -> Iterator[None]:
    """Turn an error into a warning, since the numbers are recorded and no picture is worth them."""
    try:
        yield
    except Exception as error:
        log.warning("The run is complete, but not its pictures: %s", run_message(error))
        trace = "".join(traceback.format_exception(error))
        logging.getLogger("mtl_runner.file").info("%s", trace)


def _start_line(trainer: Trainer) -> str:
    """Return the first line of a run: its tasks, rows, parameters and steps."""
    experiment, settings = trainer.experiment, trainer.settings
    sizes = ", ".join(f"{name} {len(split)}" for name, split in experiment.data.splits.items())
    trained = sum(p.numel() for p in experiment.parameters.tensors)
    shared = sum(p.numel() for p in experiment.parameters.shared)
    start = f"resuming after {trainer.position}" if trainer.resumed else "starting"
    return (
        f"{', '.join(t.name for t in trainer.tasks)}: {sizes} rows; {counted(trained, 'parameter')}, {shared:,} shared; "
        f"{start}, {counted(settings.trainer.epochs, 'epoch')} of {counted(trainer.batches.count, 'step')} on {_devices(experiment)}"
    )


def _devices(experiment: Experiment) -> str:
    """Return the device of a run, or how many of them it has."""
    if experiment.ranks is None:
        return str(experiment.device)
    sharded = ", a part of the model each" if experiment.parameters.shards is not None else ""
    return f"{experiment.ranks.size} processes ({experiment.device.type}){sharded}"


def _header(request: Request, experiment: Experiment) -> dict[str, Any]:
    """Return, as plain values, what ``mtl_runner.load`` needs beside the weights."""
    train = experiment.data.splits["train"]
    shape = train.shape
    example = train.rows(slice(0, 1)) if isinstance(train, Split) else train.example
    tasks = [task.plain() for task in experiment.data.tasks if task.has_target]
    # A user's kind of task that cannot be restored is an error now, not after the training.
    for task in tasks:
        task_from_plain(task)
    config = OmegaConf.to_container(request.config, resolve=True)
    assert isinstance(config, dict)
    model = {**config["model"], **options_to_rebuild(experiment.learner.model)}
    code = folders_of_code([model, config["likelihood"], *(task["kind"] for task in tasks)])
    return {
        **({"code": code} if code else {}),
        "model": model,
        "share": experiment.settings.share,
        "likelihood": config["likelihood"],
        "tasks": tasks,
        "input_shape": {name: list(sizes) for name, sizes in shape.items()}
        if isinstance(shape, dict)
        else list(shape),
        "input_dtypes": {
            name: str(tensor.dtype).removeprefix("torch.")
            for name, tensor in InputTensors(example.inputs).tensors.items()
        },
        "preprocessing": experiment.data.preprocessing,
    }


def _summary_head(request: Request, status: str, reason: str = "") -> dict[str, Any]:
    """Return the part of summary.json that is known before a run ends: status, name, options."""
    config = request.config
    seed = config.get("seed")
    return {
        "format": FORMAT,
        "status": status,
        "reason": reason,
        "name": str(config.get("name", request.directory.name)),
        "seed": seed if is_whole_number(seed) else None,  # the reason of a failure says what it was
        "choices": dict(request.choices),
        "overrides": list(request.overrides),
    }


def write_status(request: Request, status: str, reason: str = "", refused: bool = False) -> None:
    """Write the summary.json of a run that is not finished.

    Args:
        request: The run.
        status: ``"running"``, ``"interrupted"`` or ``"failed"``.
        reason: One sentence that says why it failed or stopped.
        refused: Whether its options do not fit the problem, so that its failure says nothing about
            the strategy.
    """
    head = _summary_head(request, status, reason)
    write_json(request.directory / "summary.json", {**head, "refused": True} if refused else head)
    if status in ENDS:
        end_trackers(request.directory, status)


def record_failure(error: BaseException, request: Request) -> Outcome:
    """Write why a run failed into its run.log and summary.json.

    Args:
        error: What was raised.
        request: The run.

    Returns:
        The outcome, with the sentence for the user.
    """
    text = run_message(error)
    # The disk may be full; the sentence still reaches the terminal.
    with contextlib.suppress(OSError):
        logging.getLogger("mtl_runner.file").error("%s", "".join(traceback.format_exception(error)))
        write_status(request, "failed", text, isinstance(error, REFUSALS))
    return Outcome(error=text, exit_code=1)


def display_path(path: Path) -> str:
    """Return the path as short as it can be typed from the working directory.

    Example:
        >>> display_path(Path.cwd() / "outputs" / "run")
        'outputs/run'
    """
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
