"""One run in its directory: claim it, build, train, record.

Every failure becomes one sentence for the user and a status on disk.
"""

from __future__ import annotations

import logging
import os
import shlex
from dataclasses import replace

from mtl_runner.errors import RunDirectoryError
from mtl_runner.errors.messages import run_message
from mtl_runner.experiment.build import build
from mtl_runner.runs import directory as run_directory
from mtl_runner.runs.lifecycle import (
    begin,
    display_path,
    end,
    outcome_if_finished,
    record_failure,
    write_status,
)
from mtl_runner.runs.logs import logging_to
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.summary import monitor_line, task_table
from mtl_runner.train.interruption import Interrupted, graceful_interruption
from mtl_runner.train.progress import ProgressBar
from mtl_runner.train.trainer import Trainer

log = logging.getLogger("mtl_runner")


def run(request: Request) -> Outcome:
    """Train one run, from the start or from where it stopped.

    Args:
        request: The run that is asked for.

    Returns:
        How it ended. A failure is recorded in the outcome and in summary.json, not raised, unless
        ``HYDRA_FULL_ERROR=1`` asks for the exception.

    Raises:
        RunDirectoryError: If the directory holds another run or cannot be written.
    """
    directory = request.directory
    try:
        run_directory.claim(
            directory, request.config, request.overrides, request.choices, request.hydra
        )
    except OSError as error:
        raise RunDirectoryError(run_message(error)) from error
    with run_directory.locked(directory), logging_to(directory):
        if request.job:
            log.info("[%s]", request.job)
        try:
            return _run_claimed(request)
        except Interrupted:
            write_status(request, "interrupted", "stopped by Ctrl-C")
            return Outcome(
                error=f"Stopped; go on with: mtl-run resume={shlex.quote(display_path(directory))}",
                exit_code=130,
                interrupted=True,
            )
        except KeyboardInterrupt:
            write_status(request, "interrupted", "stopped by Ctrl-C")
            key = "resume" if (directory / "checkpoint.pt").exists() else "repeat"
            option = f"{key}={shlex.quote(display_path(directory))}"
            return Outcome(
                error=f"Stopped at once; go on from the last evaluated epoch with: mtl-run {option}",
                exit_code=130,
                interrupted=True,
            )
        except Exception as error:
            # A user's model, data or machine can raise anything.
            if os.environ.get("MTL_RUNNER_FULL_ERROR"):
                write_status(request, "failed", run_message(error))
                raise
            return replace(record_failure(error, request), cause=error)


def _run_claimed(request: Request) -> Outcome:
    """Train a run in its claimed directory, or report the result it left there before."""
    recorded = outcome_if_finished(request)
    if recorded is not None:
        summary = run_directory.read_summary(request.directory)
        log.info("This run is finished already: %s", display_path(request.directory))
        log.info("%s\n%s", task_table(summary), monitor_line(summary))
        return recorded
    return end(_train(begin(request), request), request)


def _train(trainer: Trainer, request: Request) -> Trainer:
    """Train by the plain loop, or compiled, as a stack of one; return the trainer that did it."""
    if _is_compiled(trainer):
        from mtl_runner.train.stack import run_compiled

        reason = run_compiled(trainer)
        if not reason:
            return trainer
        if trainer.settings.trainer.compile is True:
            log.warning(
                "trainer.compile=true has no effect: the step cannot be compiled, since %s.", reason
            )
        # The attempt has drawn batches, so the plain loop starts from a new trainer.
        header = trainer.best.header
        trainer = Trainer(build(request.config), request.directory)
        trainer.best.header = header
    with ProgressBar(trainer), graceful_interruption(trainer):
        trainer.run()
    return trainer


def _is_compiled(trainer: Trainer) -> bool:
    """Return whether a run is, or before an interruption was, trained with compiled steps."""
    if trainer.resumed:
        return trainer.compiled
    options = trainer.settings.trainer
    return options.should_compile(1, options.epochs * trainer.batches.count)
