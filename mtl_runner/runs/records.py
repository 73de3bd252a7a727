"""The records of a run in its directory, as they are read: config, options, result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mtl_runner.compat.omegaconf_yaml import read_yaml
from mtl_runner.config.kept_files import KEPT_FILES
from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.records.reading import (
    NewerFormatError,
    UnreadableError,
    read_json,
    read_options,
)
from mtl_runner.results.records.summary import check_format, check_summary

CONFIG = Path(".hydra") / "config.yaml"


IDENTITY = Path(".hydra") / "run.json"


OVERRIDES = Path(".hydra") / "overrides.yaml"


TRACKERS = Path(".hydra") / "trackers.json"


# Ours, and Hydra's.
SWEEP_RECORDS = ("sweep.json", "multirun.yaml")


def read_config(directory: Path) -> DictConfig:
    """Return the recorded config of a run.

    Args:
        directory: A run directory.

    Raises:
        RunDirectoryError: If the directory holds a sweep or no run, or the config cannot be read.
    """
    if any((directory / name).exists() for name in SWEEP_RECORDS):
        raise RunDirectoryError(
            f"{str(directory)!r} is a sweep; start the same command again with hydra.sweep.dir={directory} resume=true."
        )
    if not (directory / CONFIG).exists():
        problem = "holds no run (no .hydra/config.yaml)" if directory.is_dir() else "does not exist"
        raise RunDirectoryError(
            f"The run directory {str(directory)!r} {problem}; give the path that mtl-run printed."
        )
    try:
        config = read_yaml(directory / CONFIG)
        if not isinstance(config, DictConfig):
            raise ValueError("it holds no config")
    except (OSError, ValueError) as error:
        raise _unreadable(directory / CONFIG, error) from error
    return config


def read_summary(directory: Path) -> dict[str, Any]:
    """Return summary.json, or ``{}`` if there is none yet or it is not readable.

    Raises:
        RunDirectoryError: If a newer version wrote it.

    Example:
        >>> read_summary(Path("no/such/run"))
        {}
    """
    path = directory / "summary.json"
    try:
        summary = read_json(path)
        check_format(summary)
    except NewerFormatError as error:
        raise RunDirectoryError(f"{str(path)!r} cannot be used: {error}.") from error
    except (FileNotFoundError, UnreadableError):
        return {}
    return summary


def read_result(directory: Path) -> dict[str, Any] | None:
    """Return summary.json of a run that finished; None of any other.

    A run whose summary is damaged has not finished either: it is made anew from its checkpoint.

    Args:
        directory: A run directory.

    Raises:
        RunDirectoryError: If a newer version wrote it.

    Example:
        >>> read_result(Path("no/such/run"))
    """
    summary = read_summary(directory)
    if summary.get("status") != "finished":
        return None
    try:
        check_summary(summary)
    except UnreadableError:
        return None
    return summary


def read_recorded_options(directory: Path) -> list[str]:
    """Return the options that a run was started with, as Hydra has them; empty without a record.

    Args:
        directory: A run directory.

    Raises:
        RunDirectoryError: If the record cannot be read.
    """
    try:
        return read_options(directory / OVERRIDES)
    except FileNotFoundError:
        return []
    except UnreadableError as error:
        raise _unreadable(directory / OVERRIDES, error) from error


def judged_epoch(summary: dict[str, Any]) -> str:
    """Return at which epoch a run is judged, ``"best"`` or ``"final"``.

    Args:
        summary: The content of summary.json; older ones do not say it, and mean the last epoch.

    Example:
        >>> judged_epoch({"judge": "best"}), judged_epoch({})
        ('best', 'final')
    """
    return str(summary.get("judge", "final"))


def kept_files(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which of checkpoint.pt and best.pt a finished run was to keep.

    Args:
        summary: The content of summary.json; older ones do not say it, and kept both.

    Example:
        >>> kept_files({"checkpoints": "best"}), kept_files({})
        (('best.pt',), ('checkpoint.pt', 'best.pt'))
    """
    return KEPT_FILES.get(str(summary.get("checkpoints")), KEPT_FILES["both"])


def own_loop(directory: Path) -> str | None:
    """Return that a run is one of a loop of the user's own, as a sentence; None of our runs.

    Args:
        directory: A run directory.

    Raises:
        RunDirectoryError: If a newer version wrote the run.

    Example:
        >>> own_loop(Path("no/such/run"))
    """
    if read_summary(directory).get("recorder") is not True:
        return None
    return f"{str(directory)!r} was recorded by a loop of your own (mtl_runner.Recorder), and has no model and no config of mtl-run's; load or train it with that loop."


def not_kept(directory: Path, files: Sequence[str] = KEPT_FILES["both"]) -> str | None:
    """Return which of these files a finished run was not to keep, as a sentence with the remedy.

    Args:
        directory: A run directory.
        files: The files that somebody wants to use.

    Returns:
        The sentence; None if the run was to keep them all, or has not finished.

    Raises:
        RunDirectoryError: If a newer version wrote the run.

    Example:
        >>> not_kept(Path("no/such/run"))
    """
    summary = read_summary(directory)
    missing = [name for name in files if name not in kept_files(summary)]
    if summary.get("status") != "finished" or not missing:
        return None
    return own_loop(directory) or (
        f"{str(directory)!r} has finished and kept no {' and no '.join(missing)} (record.checkpoints={summary['checkpoints']}); "
        f"to have {'it' if len(missing) == 1 else 'them'}, train anew with mtl-run repeat={directory} record.checkpoints=both."
    )


def read_identity(directory: Path) -> dict[str, Any]:
    """Return what the command line of a run asked for.

    Returns:
        ``overrides``, as they were typed, and ``choices``, the option of each config group; both
        empty if they were not recorded.

    Raises:
        RunDirectoryError: If the record cannot be read, and summary.json does not tell them either.
    """
    fault: UnreadableError | None = None
    readers: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: read_json(directory / IDENTITY),
        lambda: read_summary(directory),
    )
    for read in readers:
        try:
            record = read()
            identity: dict[str, Any] = {
                key: record[key] for key in ("overrides", "choices") if key in record
            }
            check_summary({"status": "running", **identity})
        except FileNotFoundError:
            continue
        except UnreadableError as error:
            fault = fault or error
            continue
        if identity:
            return {"overrides": [], "choices": {}, **identity}
    if fault is not None:
        raise _unreadable(directory / IDENTITY, fault) from fault
    return {"overrides": [], "choices": {}}


def flat(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the values of nested mappings, each with its dotted key.

    Args:
        node: The mappings.
        prefix: What stands before every key.

    Example:
        >>> flat({"seed": 0, "optimizer": {"lr": 0.1}})
        [('seed', 0), ('optimizer.lr', 0.1)]
    """
    pairs: list[tuple[str, Any]] = []
    for name, value in node.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def _unreadable(path: Path, error: Exception) -> RunDirectoryError:
    """Return the error of a record without which a run cannot go on or be repeated."""
    reason = str(UnreadableError.of(error) if isinstance(error, OSError) else error)
    return RunDirectoryError(
        f"{str(path)!r} cannot be read ({reason}); put the original back, or start the run anew in another hydra.run.dir."
    )
