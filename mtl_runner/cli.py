"""The commands ``mtl-run``, ``mtl-compare`` and the like: compose the config, run, report.

This module imports neither torch nor pandas nor matplotlib, so that ``--help`` answers at once.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

# Imports that take time stand in the functions: a Ctrl-C before `main` begins is a traceback.
if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

_exit_code = 0


def main() -> None:
    """Run the command ``mtl-run``: one run, or with ``-m`` a sweep."""
    # Collecting garbage during the imports would cost a tenth of the start-up.
    gc.disable()
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    if full_error:
        os.environ["MTL_RUNNER_FULL_ERROR"] = full_error
    # Hydra then raises its errors, instead of printing them, and we word them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        from mtl_runner.train.interruption import take_signals

        take_signals()
        code = _obey_together(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        _exit(*_stopped(interrupt))
    except BrokenPipeError:
        _end_unread()
    except Exception as error:
        if full_error:
            raise
        from mtl_runner.errors.messages import cli_message

        _exit(cli_message(error), 1)
    sys.exit(code)


def _obey_together(arguments: list[str]) -> int:
    """Obey; of the processes of ``torchrun`` the first one does, and the others follow it."""
    if int(os.environ.get("WORLD_SIZE", "1") or "1") < 2:
        return _obey(arguments)
    from mtl_runner.runs.devices import torchrun

    launched = torchrun()
    if launched is None:
        return _obey(arguments)
    if launched.rank:
        from mtl_runner.config.working_directory import search_in_run, search_working_directory
        from mtl_runner.runs.runner import run_as_rank

        search_working_directory()
        search_in_run()
        launched.follow(run_as_rank)
        return 0
    try:
        return _obey(arguments)
    finally:
        launched.end()


def _obey(arguments: list[str]) -> int:
    """Answer a question, resume a run, or start what is asked for; return the exit status."""
    from pathlib import Path

    from mtl_runner.config.working_directory import search_in_run, search_working_directory
    from mtl_runner.errors import ConfigError
    from mtl_runner.launch.explain import answer, is_question

    if is_question(arguments):
        search_working_directory()
        print(answer(arguments))
        return 0
    if "--prune" in arguments:
        from mtl_runner.runs.prune_command import main as prune

        return prune(arguments)
    resume, arguments = _take_option(arguments, "resume")
    repeat, arguments = _take_option(arguments, "repeat")
    for key, value in (("resume", resume), ("repeat", repeat)):
        if value == "":
            raise ConfigError(f"{key}= needs a run directory, e.g. {key}=outputs/my_run.")
    if resume is not None and resume.lower() not in ("true", "false"):
        search_working_directory()
        search_in_run()
        return _resume(Path(resume), arguments)
    if resume is not None and resume.lower() == "true":
        from mtl_runner.launch.start import RESUME

        os.environ[RESUME] = "1"
    _compose_and_run(arguments, Path(repeat) if repeat is not None else None)
    return _exit_code


def _stopped(interrupt: KeyboardInterrupt) -> tuple[str, int]:
    """Return the sentence and the exit status of a command that a signal stopped."""
    from mtl_runner.train.interruption import exit_code, in_words, signal_of

    number = signal_of(interrupt)
    # An import that the signal has cut short cannot always be repeated.
    start = getattr(sys.modules.get("mtl_runner.launch.start"), "SweepStart", None)
    code, sweep = exit_code(number), start.directory if start else None
    if sweep is None:
        return ("Stopped." if code == 130 else f"Stopped by {in_words(number)}."), code
    go_on = f"go on with the same command and hydra.sweep.dir={sweep} resume=true."
    return f"Stopped by {in_words(number)}; {go_on}", code


def _compose_and_run(arguments: list[str], repeat: Path | None) -> None:
    """Hand the arguments to Hydra, which calls :func:`job`, and report on a sweep at its end."""
    import json

    import hydra

    from mtl_runner.config.conf_directory import conf_directory
    from mtl_runner.config.open_keys import override_or_add
    from mtl_runner.config.working_directory import search_working_directory
    from mtl_runner.launch import current_sweep, register, report_sweeps
    from mtl_runner.launch.overrides import check_overrides, with_multirun
    from mtl_runner.launch.start import forget_empty_sweep

    arguments = with_multirun(arguments)
    check_overrides(arguments)
    register()
    report_sweeps()
    search_working_directory()
    # A killed joblib worker leaves semaphores; the warning about them would follow our last line.
    os.environ["PYTHONWARNINGS"] = ",".join(
        filter(None, (os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"))
    )
    repeat_folder = None
    config_path = str(conf_directory())
    if repeat is not None:
        from mtl_runner.launch.repeat import prepare_repeat

        repeat_folder, arguments = prepare_repeat(repeat, arguments, conf_directory())
        if repeat_folder is not None:
            from mtl_runner.launch.hydra_request import REPEATED_RUN
            from mtl_runner.runs.records import read_identity

            config_path = repeat_folder.name
            os.environ[REPEATED_RUN] = json.dumps(read_identity(repeat))
    # argparse wants all overrides in one piece: -m may stand anywhere.
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    sys.argv = [
        "mtl-run",
        *flags,
        *[override_or_add(argument) for argument in arguments if argument not in flags],
    ]
    try:
        hydra.main(config_path=config_path, config_name="config", version_base="1.3")(job)()
    finally:
        if repeat_folder is not None:
            repeat_folder.cleanup()
        sweep = current_sweep()
        # There is no summary if the jobs could not even be composed.
        if sweep is not None and any(sweep.glob("*/summary.json")):
            _report(sweep)
        elif sweep is not None:
            forget_empty_sweep(sweep)


def job(config: DictConfig) -> float:
    """Train one run, as Hydra's task function.

    A run that fails does not raise, so that the other jobs of a sweep go on.

    Args:
        config: The composed config, without Hydra's own node.

    Returns:
        ``trainer.monitor`` as it is judged, for Hydra's sweepers; NaN if the run failed.

    Raises:
        MtlError: In a sweep, if the run directory holds something else.
        StoppedBySignal: In a sweep, after Ctrl-C or SIGTERM.
    """
    from mtl_runner.config.working_directory import search_in_run
    from mtl_runner.errors.messages import cli_message
    from mtl_runner.launch.hydra_request import is_sweeping, report_failure, request_of_job
    from mtl_runner.launch.overrides import sweeping_choice
    from mtl_runner.train.interruption import StoppedBySignal, take_signals

    search_in_run()
    # This may be the process of a worker.
    take_signals()
    from mtl_runner.runs.runner import run

    _end_of_imports()
    sweeping = is_sweeping()
    if reason := sweeping_choice(config):
        _print_error(reason, 1)
        return float("nan")
    try:
        outcome = run(request_of_job(config))
    except Exception as error:
        # The run directory holds something else, or the config cannot be resolved. Hydra would
        # print a line of its own before ours.
        if sweeping or os.environ.get("MTL_RUNNER_FULL_ERROR"):
            raise
        _print_error(cli_message(error), 1)
        return float("nan")
    if sweeping and outcome.stopped_by is not None:
        raise StoppedBySignal(outcome.stopped_by)
    if outcome.error and sweeping:
        report_failure(outcome.error)
    elif outcome.error:
        _print_error(outcome.error, outcome.exit_code)
    return outcome.monitor


def _end_of_imports() -> None:
    """Switch garbage collection on again, without the imported modules, which stay to the end."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _resume(directory: Path, arguments: list[str]) -> int:
    """Resume a run from its recorded config, without Hydra; return the exit status."""
    from dataclasses import replace

    from omegaconf import OmegaConf

    if directory.suffix == ".json" and directory.is_file():
        from mtl_runner.runs.process import label_of_process
        from mtl_runner.runs.recorded_stack import train_recorded_stack

        label_of_process()
        _end_of_imports()
        return train_recorded_stack(directory)
    from mtl_runner.errors import ConfigError, RunDirectoryError
    from mtl_runner.errors.option_keys import WITHOUT_EFFECT, is_among
    from mtl_runner.runs.records import own_loop, read_config, read_result

    config = read_config(directory)
    foreign = own_loop(directory)
    if foreign is not None and read_result(directory) is None:
        raise RunDirectoryError(foreign)
    longer: int | None = None
    for argument in arguments:
        key = argument.partition("=")[0]
        if key == "trainer.epochs":
            longer = OmegaConf.from_dotlist([argument]).trainer.epochs
            continue
        if not is_among(key, WITHOUT_EFFECT):
            raise ConfigError(
                f"resume= goes on with the recorded config and takes no other option but trainer.epochs, {', '.join(WITHOUT_EFFECT)} (found {argument!r}); use repeat={directory} to change something."
            )
        config.merge_with_dotlist([argument])
    from mtl_runner.runs.process import label_of_process
    from mtl_runner.runs.queued import recorded_request
    from mtl_runner.runs.runner import run

    _end_of_imports()
    request = recorded_request(directory, label_of_process())
    outcome = run(replace(request, config=config, longer=longer))
    if outcome.error:
        _print_error(outcome.error, outcome.exit_code)
    return outcome.exit_code


def _report(sweep: Path) -> None:
    """Write and print the comparison of a sweep; a failed job makes the exit status 1."""
    from mtl_runner.errors.words import counted
    from mtl_runner.results.compare import compare_directories

    comparison = compare_directories([sweep], output=sweep)
    best = [run.directory for run in comparison.best if run.summary.plots == "best"]
    if best:
        from mtl_runner.config.working_directory import working_directory_searched
        from mtl_runner.runs.lifecycle import draw_again

        with working_directory_searched():
            for directory in best:
                draw_again(directory)
    # A probe has said what its short runs say; of strategies they judge none.
    if not (sweep / "probe.json").exists():
        print(comparison.text(output=sweep))
    if comparison.failed:
        failed, interrupted = comparison.failed - comparison.interrupted, comparison.interrupted
        ends = [f"{failed} of {counted(comparison.total, 'run')} failed"] if failed else []
        if interrupted:
            of_all = "" if failed else f" of {counted(comparison.total, 'run')}"
            ends.append(f"{interrupted}{of_all} {'was' if interrupted == 1 else 'were'} stopped")
        _print_error(f"{' and '.join(ends)}; the reasons are above and in {sweep / 'runs.csv'}.", 1)


def close_sweep(directory: str) -> None:
    """Record how the jobs of a sweep on a cluster ended, and compare its runs.

    Args:
        directory: The directory of the sweep.
    """
    from pathlib import Path

    from mtl_runner.launch.slurm_queue import record_ends

    record_ends(Path(directory))
    _report(Path(directory))


def compare() -> None:
    """Run the command ``mtl-compare``: tables and pictures of finished runs, from their files."""
    _run_command("mtl_runner.results.command")


def predict() -> None:
    """Run the command ``mtl-predict``: the answers of a trained model to new data."""
    _run_command("mtl_runner.runs.predict_command")


def export() -> None:
    """Run the command ``mtl-export``: a trained model for other programs."""
    _run_command("mtl_runner.runs.export_command")


def conform() -> None:
    """Run the command ``mtl-conform``: the laws of a method, checked on any implementation."""
    _run_command("mtl_runner.conform.command")


def _run_command(module: str) -> None:
    """Hand the arguments to the ``main`` of a module, and word its errors.

    What ``main`` returns is the exit status; None is 0.
    """
    try:
        from importlib import import_module

        code = import_module(module).main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        _exit("Stopped.", 130)
    except BrokenPipeError:
        _end_unread()
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        from mtl_runner.errors.messages import cli_message

        _exit(cli_message(error), 1)
    if code:
        sys.exit(code)


def _take_option(arguments: list[str], key: str) -> tuple[str | None, list[str]]:
    """Return the value of ``key=value``, if given, and the arguments without it."""
    import re

    is_option = re.compile(rf"\+*{key}=").match
    values = [argument.split("=", 1)[1] for argument in arguments if is_option(argument)]
    kept = [argument for argument in arguments if not is_option(argument)]
    return (values[-1] if values else None), kept


def _print_error(sentence: str, code: int) -> None:
    """Print a sentence to the error output, and remember the exit status for the end."""
    global _exit_code
    _exit_code = code
    _print_sentence(sentence)


def _exit(sentence: str, code: int) -> NoReturn:
    """Print a sentence to the error output, and end the process."""
    _print_sentence(sentence)
    sys.exit(code)


def _end_unread() -> NoReturn:
    """End quietly, as other commands do: the reader of the output (``| head``) has seen enough."""
    # The interpreter flushes once more at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 1)


def _print_sentence(sentence: str) -> None:
    """Print a sentence to the error output; that nobody reads it any more is no error."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
