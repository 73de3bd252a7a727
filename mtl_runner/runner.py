"""One run in its directory: claim it, build, train, record; every failure becomes one sentence and a status on disk."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from mtl_runner import directory as run_directory
from mtl_runner.build import Experiment, build
from mtl_runner.errors import MtlError, RunDirectoryError
from mtl_runner.files import write_json
from mtl_runner.lessons import lessons_at_the_end, lessons_of_setup
from mtl_runner.predictions import write_predictions
from mtl_runner.progress import Progress
from mtl_runner.summary import summarize, table, verdict
from mtl_runner.train import Interrupted, Trainer

log = logging.getLogger("mtl_runner")


@dataclass(frozen=True)
class Request:
    """One run as the command line asks for it."""

    config: DictConfig
    directory: Path
    overrides: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    hydra: DictConfig | None = None
    job: str = ""  # "3/24: weighting=fixed seed=0" in a sweep


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the monitor's best value, or the sentence that says why not."""

    monitor: float = float("nan")
    error: str = ""
    exit_code: int = 0
    interrupted: bool = False


def run(request: Request) -> Outcome:
    """Do one run, from the start or from where it stopped.

    What goes wrong in it is in the outcome and in summary.json. Raises ``RunDirectoryError`` if the directory is another run's or
    cannot be written, and anything if HYDRA_FULL_ERROR=1 asks for it.
    """
    directory = request.directory
    try:
        run_directory.claim(directory, request.config, request.overrides, request.choices, request.hydra)
    except OSError as error:
        raise RunDirectoryError(sentence(error)) from error
    with run_directory.held(directory), _logging(directory):
        if request.job:
            log.info("[%s]", request.job)
        try:
            return _run_claimed(request)
        except Interrupted:
            _write_status(request, "interrupted", "stopped by Ctrl-C")
            return Outcome(
                error=f"Stopped; go on with: mtl-run resume={shlex.quote(_shown(directory))}", exit_code=130, interrupted=True
            )
        except KeyboardInterrupt:
            _write_status(request, "interrupted", "stopped by Ctrl-C")
            how = (
                f"resume={shlex.quote(_shown(directory))}"
                if (directory / "checkpoint.pt").exists()
                else f"repeat={shlex.quote(_shown(directory))}"
            )
            return Outcome(
                error=f"Stopped at once; go on from the last evaluated epoch with: mtl-run {how}",
                exit_code=130,
                interrupted=True,
            )
        except Exception as error:  # the border: what a user's model, data or machine can raise is not ours to list
            if os.environ.get("MTL_RUNNER_FULL_ERROR"):
                _write_status(request, "failed", sentence(error))
                raise
            return _failed(error, request)


def _run_claimed(request: Request) -> Outcome:
    directory = request.directory
    summary = run_directory.read_summary(directory)
    if summary.get("status") == "finished":
        log.info("This run is finished already: %s", _shown(directory))
        log.info("%s", table(summary))
        log.info("%s", verdict(summary))
        best = summary["monitor"]["best"]
        return Outcome(float("nan") if best is None else float(best))
    _write_status(request, "running")
    torch.autograd.set_detect_anomaly(bool(request.config.get("debug", False)))
    experiment = build(request.config)
    trainer = Trainer(experiment, directory)
    trainer.best.header = _header(request, experiment)
    log.info("%s", _opening(trainer))
    for lesson in [] if trainer.resumed else lessons_of_setup(experiment):
        log.warning("%s", lesson)
    for name in experiment.schedule.never():
        log.warning("Task %r never takes part in this run; check its times under schedule.", name)
    with Progress(trainer), _graceful_interrupt(trainer):
        trainer.run()
    if experiment.schedule.last_start() == math.inf:
        log.warning(
            "Not every task has started: the losses before it were still getting better; train longer, or lower schedule.patience."
        )
    if trainer.means is not None:
        for lesson in lessons_at_the_end(trainer.learner, trainer.means):
            log.warning("%s", lesson)
    final, best = trainer.finish()
    summary = {**_identity(request, "finished"), **summarize(trainer, final, best)}
    if experiment.settings.plots == "all":
        _plot(trainer, summary)
    if experiment.settings.predictions:
        write_predictions(trainer)
    write_json(directory / "summary.json", summary)
    log.info("%s", table(summary))
    log.info("%s", verdict(summary))
    if trainer.settings.patience and trainer.epoch < trainer.settings.epochs:
        log.info(
            "Stopped early after epoch %d: no better %s for %d epochs.",
            trainer.epoch,
            trainer.settings.monitor,
            trainer.settings.patience,
        )
    log.info("%s", _shown(directory))
    return Outcome(trainer.best.value, interrupted=trainer.stop)  # a sweep stops even if this run came to its end


def _plot(trainer: Trainer, summary: dict[str, Any]) -> None:
    from mtl_runner.fit import fit_curve
    from mtl_runner.results.plots import plot_run

    plot_run(trainer.directory, summary, fit_curve(trainer))


def _opening(trainer: Trainer) -> str:
    experiment, settings = trainer.experiment, trainer.settings
    sizes = ", ".join(f"{name} {len(split)}" for name, split in experiment.data.splits.items())
    trained = sum(p.numel() for p in experiment.parameters.tensors)
    shared = sum(p.numel() for p in experiment.parameters.shared)
    start = f"resuming after epoch {trainer.epoch}" if trainer.resumed else "starting"
    return (
        f"{', '.join(t.name for t in trainer.tasks)}: {sizes} rows; {trained:,} parameters, {shared:,} shared; "
        f"{start}, {settings.epochs} epochs of {trainer.batches.count} steps on {experiment.device}"
    )


def _header(request: Request, experiment: Experiment) -> dict[str, Any]:
    """What `mtl_runner.load` needs beside the weights, as plain values."""
    inputs = experiment.data.splits["train"].inputs
    shape = {k: list(v.shape[1:]) for k, v in inputs.items()} if isinstance(inputs, dict) else list(inputs.shape[1:])
    tasks = [
        {key: value for key, value in vars(task).items() if key != "loss_term"}
        for task in experiment.data.tasks
        if task.has_target
    ]
    config = OmegaConf.to_container(request.config, resolve=True)
    assert isinstance(config, dict)
    return {
        "model": config["model"],
        "share": experiment.settings.share,
        "likelihood": config["likelihood"],
        "tasks": tasks,
        "input_shape": shape,
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


def _write_status(request: Request, status: str, reason: str = "") -> None:
    write_json(request.directory / "summary.json", _identity(request, status, reason))


def _failed(error: BaseException, request: Request) -> Outcome:
    text = sentence(error)
    with contextlib.suppress(OSError):  # the disk may be full; the sentence still reaches the terminal
        logging.getLogger("mtl_runner.file").error("%s", "".join(traceback.format_exception(error)))
        _write_status(request, "failed", text)
    return Outcome(error=text, exit_code=1)


def sentence(error: BaseException) -> str:
    """What is wrong and what would be right, in one sentence, for anything that can be raised."""
    if isinstance(error, MtlError):
        return str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return "Out of memory; lower data.batch_size or model.hidden, or choose another trainer.device."
    if isinstance(error, OSError):
        return _os_sentence(error)
    place = traceback.extract_tb(error.__traceback__)
    where = f" (raised in {Path(place[-1].filename).name}, line {place[-1].lineno})" if place else ""
    reason = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {reason}{where}; run.log holds the traceback, HYDRA_FULL_ERROR=1 shows it."


def _os_sentence(error: OSError) -> str:
    path = f" {str(error.filename)!r}" if error.filename else " the run directory"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"The disk is full (writing{path}); free some space and go on with mtl-run resume=<run directory>."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"Cannot write{path}: {error.strerror}; choose a directory you may write to with hydra.run.dir=..."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"Cannot make the directory{path}: a file of that name is in the way; choose another hydra.run.dir."
    return f"{error.strerror or error}{f':{path}' if error.filename else ''}; check the path, or choose another hydra.run.dir."


@contextlib.contextmanager
def _graceful_interrupt(trainer: Trainer) -> Iterator[None]:
    """First Ctrl-C: go on to the next evaluated epoch, save, stop. Second: stop at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request_stop(signum: int, frame: Any) -> None:
        del signum, frame
        if trainer.stop:
            raise KeyboardInterrupt
        trainer.stop = True
        log.info("Stopping at the next evaluated epoch; press Ctrl-C again to stop at once.")

    previous = signal.signal(signal.SIGINT, request_stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


class _RunLog(logging.FileHandler):
    """run.log; a full disk must not hide what the terminal still shows."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record


@contextlib.contextmanager
def _logging(directory: Path) -> Iterator[None]:
    """To the terminal and to run.log; tracebacks only to run.log."""
    root = logging.getLogger("mtl_runner")
    root.setLevel(logging.INFO)
    root.propagate = False
    terminal = logging.StreamHandler(sys.stdout)
    terminal.addFilter(lambda record: record.name != "mtl_runner.file")
    handlers: list[logging.Handler] = [terminal]
    with contextlib.suppress(OSError):
        handlers.append(_RunLog(directory / "run.log"))
    for handler in handlers:
        root.addHandler(handler)
    logging.getLogger("mtl_runner.file").info("%s", time.strftime("%Y-%m-%d %H:%M:%S"))
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            with contextlib.suppress(OSError):
                handler.close()


def _shown(path: Path) -> str:
    """The path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
