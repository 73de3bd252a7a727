"""One run in its directory: claim it, build, train, record; every failure becomes one sentence and a status on disk."""

from __future__ import annotations

import logging
import os
import shlex
from dataclasses import replace

from mtl_runner.errors import RunDirectoryError
from mtl_runner.errors.wording import run_message
from mtl_runner.experiment.build import build
from mtl_runner.runs import directory as run_directory
from mtl_runner.runs.lifecycle import (
    begin,
    end,
    outcome_if_finished,
    record_failure,
    shown,
    write_status,
)
from mtl_runner.runs.logs import logging_to
from mtl_runner.runs.request import Outcome, Request
from mtl_runner.runs.summary import table, verdict
from mtl_runner.train.interruption import Interrupted, gracefully
from mtl_runner.train.progress import Progress
from mtl_runner.train.trainer import Trainer

log = logging.getLogger("mtl_runner")


def run(request: Request) -> Outcome:
    """Do one run, from the start or from where it stopped.

    What goes wrong in it is in the outcome and in summary.json. Raises ``RunDirectoryError`` if the directory is another run's or
    cannot be written, and anything if HYDRA_FULL_ERROR=1 asks for it.
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
                error=f"Stopped; go on with: mtl-run resume={shlex.quote(shown(directory))}",
                exit_code=130,
                interrupted=True,
            )
        except KeyboardInterrupt:
            write_status(request, "interrupted", "stopped by Ctrl-C")
            how = (
                f"resume={shlex.quote(shown(directory))}"
                if (directory / "checkpoint.pt").exists()
                else f"repeat={shlex.quote(shown(directory))}"
            )
            return Outcome(
                error=f"Stopped at once; go on from the last evaluated epoch with: mtl-run {how}",
                exit_code=130,
                interrupted=True,
            )
        except Exception as error:  # the border: what a user's model, data or machine can raise is not ours to list
            if os.environ.get("MTL_RUNNER_FULL_ERROR"):
                write_status(request, "failed", run_message(error))
                raise
            return replace(record_failure(error, request), cause=error)


def _run_claimed(request: Request) -> Outcome:
    done = outcome_if_finished(request)
    if done is not None:
        summary = run_directory.read_summary(request.directory)
        log.info("This run is finished already: %s", shown(request.directory))
        log.info("%s\n%s", table(summary), verdict(summary))
        return done
    return end(_train(begin(request), request), request)


def _train(trainer: Trainer, request: Request) -> Trainer:
    """The plain loop, or the same compiled, as a stack of one."""
    if (
        trainer.compiled
        if trainer.resumed
        else trainer.settings.trainer.compiles(
            1, trainer.settings.trainer.epochs * trainer.batches.count
        )
    ):
        from mtl_runner.train.stack import run_compiled

        reason = run_compiled(trainer)
        if not reason:
            return trainer
        if trainer.settings.trainer.compile is True:
            log.warning(
                "trainer.compile=true has no effect: the step cannot be compiled, since %s.", reason
            )
        header, trainer = (
            trainer.best.header,
            Trainer(build(request.config), request.directory),
        )  # the attempt drew batches
        trainer.best.header = header
    with Progress(trainer), gracefully(trainer):
        trainer.run()
    return trainer
