"""One run in its directory: claim it, build, train, record.

Every failure becomes one sentence for the user and a status on disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import replace

from mtl_runner.data.items.loading import workers_ended
from mtl_runner.errors import OtherRankError
from mtl_runner.errors.messages import run_message
from mtl_runner.experiment.build import build
from mtl_runner.gradients.ranks import RankFailure, Ranks
from mtl_runner.runs.devices import count_devices, joined_with_device, torchrun, train_on_devices
from mtl_runner.runs.lifecycle import (
    begin,
    claimed_for,
    display_path,
    end,
    outcome_if_finished,
    record_failure,
    write_status,
)
from mtl_runner.runs.logs import logging_to
from mtl_runner.runs.longer import can_be_longer, make_longer
from mtl_runner.runs.records import kept_files, not_kept, read_summary
from mtl_runner.runs.request import Outcome, Request, Shown
from mtl_runner.runs.summary import monitor_line, task_table
from mtl_runner.runs.sweep_report import SweepReport
from mtl_runner.runs.trackers.session import catch_up
from mtl_runner.train import checkpoint
from mtl_runner.train.interruption import (
    Interrupted,
    StoppedBySignal,
    exit_code,
    graceful_interruption,
    in_words,
    signal_of,
)
from mtl_runner.train.progress import ProgressBar
from mtl_runner.train.trainer import Trainer

log = logging.getLogger("mtl_runner")

BAR_NAME = 40  # letters of the name of a run in front of its bar


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
    launched = torchrun()
    if launched is not None:
        request = launched.with_devices(request)
    epochs = request.longer
    with claimed_for(request), _logging(request), workers_ended():
        if request.job:
            log.info("[%s]", request.job)
        if epochs is None or not can_be_longer(request.directory, request.config, epochs):
            return _recorded(request, lambda: _run_claimed(request))
        write_status(request, "interrupted", f"goes on to epoch {epochs}")
        return _recorded(request, lambda: _run_claimed(make_longer(request, epochs)))


def run_as_rank(request: Request, ranks: Ranks) -> Outcome:
    """Train a run as one of several processes; another one has claimed its directory.

    Args:
        request: The run that is asked for.
        ranks: This process.

    Returns:
        How it ended. Only the first process records it.
    """
    if not ranks.writes:
        with contextlib.suppress(Exception, KeyboardInterrupt):
            _train_with(request, ranks)
        return Outcome()
    if torchrun() is not None:  # then this is the process that was asked for the run
        return _train_with(request, ranks)
    with _logging(request):
        return _recorded(request, lambda: _train_with(request, ranks))


def _logging(request: Request) -> contextlib.AbstractContextManager[None]:
    """Send the messages of a run to its run.log, and those that it shows to the terminal."""
    return logging_to(request.directory, bool(request.job), request.shown == "all")


def _train_with(request: Request, ranks: Ranks) -> Outcome:
    """Train a run with the other processes, and tell them why if it fails here."""
    try:
        with joined_with_device(request, ranks), workers_ended(), ranks.others_in_words():
            return end(_train(begin(request), request), request)
    except Interrupted:
        raise
    except KeyboardInterrupt as interrupt:
        number = signal_of(interrupt)
        ranks.reports.fail(RankFailure(f"Stopped by {in_words(number)}.", number))
        raise
    except OtherRankError as error:
        if error.signal:
            raise StoppedBySignal(signal.Signals(error.signal)) from error
        raise
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        if os.environ.get("MTL_RUNNER_FULL_ERROR"):
            print(trace, file=sys.stderr, flush=True)
        ranks.reports.fail(RankFailure(run_message(error), trace=trace))
        raise


def _recorded(request: Request, work: Callable[[], Outcome]) -> Outcome:
    """Return how a run ended; a failure is recorded in its directory."""
    try:
        return work()
    except KeyboardInterrupt as interrupt:
        return _stopped(interrupt, request)
    except Exception as error:
        # A user's model, data or machine can raise anything.
        if os.environ.get("MTL_RUNNER_FULL_ERROR"):
            write_status(request, "failed", run_message(error))
            raise
        return replace(record_failure(error, request), cause=error)


def _stopped(interrupt: KeyboardInterrupt, request: Request) -> Outcome:
    """Record that a signal stopped a run; return the outcome, which says how to go on."""
    number = signal_of(interrupt)
    by = in_words(number)
    write_status(request, "interrupted", f"stopped by {by}")
    stopped = "Stopped" if number == signal.SIGINT else f"Stopped by {by}"
    saved = (request.directory / "checkpoint.pt").exists()
    command = (
        f"mtl-run {'resume' if saved else 'repeat'}={shlex.quote(display_path(request.directory))}"
    )
    if isinstance(interrupt, Interrupted):
        error = f"{stopped}; go on with: {command}"
    else:
        error = f"{stopped} at once; go on from the last evaluated epoch with: {command}"
    return Outcome(error=error, exit_code=exit_code(number), stopped_by=number)


def _run_claimed(request: Request) -> Outcome:
    """Train a run in its claimed directory, or report the result it left there before."""
    recorded = outcome_if_finished(request)
    if recorded is not None:
        summary = read_summary(request.directory)
        log.info("This run is finished already: %s", display_path(request.directory))
        log.info("%s\n%s", task_table(summary), monitor_line(summary))
        # A kill may have come between the end of the run and this.
        catch_up(request)
        checkpoint.keep_only(request.directory, kept_files(summary))
        missing = not_kept(request.directory)
        if missing is not None:
            log.info("%s", missing)
        return recorded
    launched = torchrun()
    if launched is not None:
        return run_as_rank(request, launched.tell(request))
    devices = count_devices(request)
    if devices == 1:
        return end(_train(begin(request), request), request)
    # Two processes cannot share out a terminal between their bars.
    shown: Shown = "nothing" if request.shown == "bar" else request.shown
    outcome = train_on_devices(replace(request, shown=shown), devices, run_as_rank)
    if outcome.error and read_summary(request.directory).get("status") == "running":
        # The first process had no time to record it.
        write_status(request, "failed", outcome.error)
    return outcome


def _train(trainer: Trainer, request: Request) -> Trainer:
    """Train by the plain loop, or compiled, as a stack of one; return the trainer that did it."""
    if _is_compiled(trainer):
        from mtl_runner.train.stack import run_compiled

        reason = run_compiled(trainer, _bar_name(request), request.shown != "nothing")
        if not reason:
            return trainer
        if trainer.settings.trainer.compile is True:
            log.warning(
                "trainer.compile=true has no effect: the step cannot be compiled, since %s.", reason
            )
        # The attempt has drawn batches, so the plain loop starts from a new trainer.
        header, config, on_save = trainer.best.header, trainer.config, trainer.on_save
        trainer = Trainer(build(request.config), request.directory)
        trainer.best.header, trainer.config, trainer.on_save = header, config, on_save
    shown = trainer.writes and request.shown != "nothing"
    with ProgressBar(trainer, _bar_name(request), shown), graceful_interruption(trainer):
        trainer.run()
    return trainer


def _bar_name(request: Request) -> str | None:
    """Return what the bar of a run in a sweep begins with; None for a single run."""
    if not request.job:
        return None
    number = request.job.partition(":")[0]
    report = SweepReport.current
    name = report.name_of(int(number)) if report and number.isdecimal() else request.job
    return textwrap.shorten(name, BAR_NAME, placeholder=" ...")


def _is_compiled(trainer: Trainer) -> bool:
    """Return whether a run is, or before an interruption was, trained with compiled steps."""
    options = trainer.settings.trainer
    if trainer.ranks is not None:
        if options.compile is True:
            log.warning(
                "trainer.compile=true has no effect: the step cannot be compiled, since several processes take it together."
            )
        return False
    if trainer.resumed:
        return trainer.compiled
    return options.should_compile(1, options.epochs * trainer.batches.count)
