"""Entry points ``mtl-run`` and ``mtl-compare``. Thin: compose, run, report. Imports neither torch nor pandas nor matplotlib."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from pathlib import Path

from omegaconf import DictConfig

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.config.open_keys import opened
from mtl_runner.errors import ConfigError, MtlError

_exit_code = 0


def main() -> None:
    """``mtl-run``: one run, or with ``-m`` a sweep."""
    gc.disable()  # until the imports are over: collections in between cost a tenth of the start-up
    arguments = sys.argv[1:]
    sys.path.insert(0, str(Path.cwd()))  # `_target_: my_module.MyClass`
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    if full_error:
        os.environ["MTL_RUNNER_FULL_ERROR"] = full_error
    os.environ["HYDRA_FULL_ERROR"] = (
        "1"  # Hydra raises instead of printing: the errors are ours to word
    )
    try:
        resume, arguments = _take(arguments, "resume")
        repeat, arguments = _take(arguments, "repeat")
        if resume is not None and resume.lower() not in ("true", "false"):
            sys.exit(_resume(Path(resume), arguments))
        if resume is not None and resume.lower() == "true":
            from mtl_runner.launch.start import RESUME

            os.environ[RESUME] = "1"
        _compose_and_run(arguments, Path(repeat) if repeat is not None else None)
        code = _exit_code
    except KeyboardInterrupt:
        from mtl_runner.launch import current_sweep

        sweep = current_sweep()
        _fail(
            f"Stopped by Ctrl-C; go on with the same command and hydra.sweep.dir={sweep} resume=true."
            if sweep
            else "Stopped.",
            130,
        )
    except Exception as error:
        if full_error:
            raise
        from mtl_runner.errors.wording import cli_message

        _fail(cli_message(error), 1)
    sys.exit(code)


def _compose_and_run(arguments: list[str], repeat: Path | None) -> None:
    import hydra

    from mtl_runner.launch import current_sweep, register

    register()
    # A killed joblib worker leaves semaphores; the warning about them, from a process of its own, would come after our last line.
    os.environ["PYTHONWARNINGS"] = ",".join(
        filter(None, (os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"))
    )
    recorded = None
    config = str(conf_directory())
    if repeat is not None:
        from mtl_runner.launch.repeat import repeated

        recorded, arguments = repeated(repeat, arguments, conf_directory())
        if recorded is not None:
            from mtl_runner.launch.request import REPEATED
            from mtl_runner.runs.directory import read_identity

            config = recorded.name
            os.environ[REPEATED] = json.dumps(read_identity(repeat))
    # argparse wants all overrides in one piece: -m may stand anywhere.
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    sys.argv = [
        "mtl-run",
        *flags,
        *[opened(argument) for argument in arguments if argument not in flags],
    ]
    try:
        hydra.main(config_path=config, config_name="config", version_base="1.3")(job)()
    finally:
        if recorded is not None:
            recorded.cleanup()
        sweep = current_sweep()
        if sweep is not None and any(
            sweep.glob("*/summary.json")
        ):  # none if the jobs could not even be composed
            _report(sweep)


def job(config: DictConfig) -> float:
    """Hydra's task function: one run. Never raises for what went wrong in it, so that the rest of a sweep goes on."""
    from hydra.core.hydra_config import HydraConfig

    from mtl_runner.launch.request import request_of

    cwd = HydraConfig.get().runtime.cwd
    if cwd not in sys.path:
        sys.path.insert(0, cwd)
    from mtl_runner.runs.runner import run

    _started()
    request = request_of(config)
    sweeping = bool(request.job)
    if "study" in config:
        _note(
            "A study is many runs: write mtl-run -m +study=fair ..., with the sweeper that it brings.",
            1,
        )
        return float("nan")
    try:
        outcome = run(request)
    except MtlError as error:  # the directory is not ours to write into
        if sweeping:
            raise
        _note(str(error), 1)
        return float("nan")
    if sweeping and outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.error and not sweeping:
        _note(outcome.error, outcome.exit_code)
    elif outcome.error:
        print(f"  failed: {outcome.error}", file=sys.stderr)
    return outcome.monitor


def _started() -> None:
    """The modules are there to stay: the collector need not look at them again and again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _resume(directory: Path, arguments: list[str]) -> int:
    """Go on with a run from its recorded config, without Hydra."""
    from mtl_runner.runs.directory import read_config, read_identity

    config = read_config(directory)
    if arguments:
        raise ConfigError(
            f"resume= goes on with the recorded config and takes no other option (found {arguments[0]!r}); use repeat={directory} to change something."
        )
    from mtl_runner.runs.request import Request
    from mtl_runner.runs.runner import run

    _started()
    request = Request(config, directory.absolute(), **read_identity(directory))
    outcome = run(request)
    if outcome.error:
        _note(outcome.error, outcome.exit_code)
    return outcome.exit_code


def _report(sweep: Path) -> None:
    """Tables and picture of a sweep; a failed job makes the exit status 1."""
    from mtl_runner.results.compare import compare_directories

    comparison = compare_directories([sweep], output=sweep)
    best = [run.directory for run in comparison.best if run.summary.get("plots") == "best"]
    if best:
        from mtl_runner.runs.lifecycle import draw_again

        for directory in best:
            draw_again(directory)
    print(comparison.text(output=sweep))
    if comparison.failed:
        _note(
            f"{comparison.failed} of {comparison.total} runs failed; the reasons are above and in {sweep / 'runs.csv'}.",
            1,
        )


def compare() -> None:
    """``mtl-compare``: tables and pictures of finished runs, from files alone."""
    from mtl_runner.results.command import main as compare_main

    try:
        compare_main(sys.argv[1:])
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        from mtl_runner.errors.wording import cli_message

        _fail(cli_message(error), 1)


def _take(arguments: list[str], key: str) -> tuple[str | None, list[str]]:
    """Take ``key=value`` out of the arguments."""
    values = [
        argument.split("=", 1)[1] for argument in arguments if re.match(rf"\+*{key}=", argument)
    ]
    rest = [argument for argument in arguments if not re.match(rf"\+*{key}=", argument)]
    return (values[-1] if values else None), rest


def _note(sentence: str, code: int) -> None:
    global _exit_code
    _exit_code = code
    print(sentence, file=sys.stderr)


def _fail(sentence: str, code: int) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
