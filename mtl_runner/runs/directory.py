"""A run directory: is it free, does it hold this very run, or another one?

Nothing in a directory is touched before that is known.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from mtl_runner.compat.omegaconf_yaml import read_yaml, to_yaml
from mtl_runner.config.kept_files import KEPT_FILES
from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import remove_temporary_files, write_atomic, write_json
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
# Ours, and Hydra's.
SWEEP_RECORDS = ("sweep.json", "multirun.yaml")
# Options that change no result, whatever they are: a run goes on with others.
WITHOUT_EFFECT = (
    "data.loader",
    "trainer.checkpoint_every",
    "trainer.devices",  # but for rounding
    "trainer.timeout",
    "record.checkpoints",
    "record.safetensors",
)
# Options that say where a run trains and not what, so that a run can move to another machine.
PLACES = (
    *WITHOUT_EFFECT,
    "data.path",
    "data.second_path",
    "data.cache",
    "trainer.device",
    "trainer.threads",
    "record",
    "name",
)
# How often a lock that another process holds is tried again, and after how many seconds.
LOCK_TRIES, LOCK_WAIT = 5, 0.05
RUN_FILES = ("metrics.csv", "summary.json", "checkpoint.pt", "best.pt")


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
    return (
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


# Locks that this process holds, as file descriptors.
_held_locks: set[int] = set()


def _let_locks_go() -> None:
    """Close the locks in a copy of this process: its data workers may outlive it when it is killed.

    The lock itself stays with the process that took it.
    """
    for lock in _held_locks:
        with contextlib.suppress(OSError):
            os.close(lock)
    _held_locks.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_let_locks_go)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes out of the directory while it is being written.

    The lock ends with the process, also when it is killed.

    Args:
        directory: The directory; it need not exist.

    Raises:
        RunDirectoryError: If another process holds the directory, or its records are a link.
    """
    folder = directory / ".hydra"
    if folder.is_symlink():
        # It may lead to the records of another run.
        raise RunDirectoryError(f"{str(folder)!r} is a link; remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl  # noqa: F401
    except ImportError:
        # Windows has no such locks.
        yield
        return
    # Nothing is written into the file, and a link that somebody has laid there is not followed.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    path = folder / "lock"
    try:
        lock = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise RunDirectoryError(f"{str(path)!r} is a link; remove it.") from error
    _held_locks.add(lock)
    try:
        try:
            _take_lock(lock)
        except BlockingIOError:
            raise RunDirectoryError(
                f"{str(directory)!r} is being written by another process; wait for it, or choose another hydra.run.dir."
            ) from None
        except OSError as error:
            # A file system without locks is written without one.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield
    finally:
        if lock in _held_locks:  # else this is a copy of the process that took it
            _held_locks.remove(lock)
            os.close(lock)


def _take_lock(lock: int) -> None:
    """Take a lock; try again for a moment, since ``mtl-compare`` may just have looked at it."""
    import fcntl

    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(LOCK_WAIT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def claimed(
    directory: Path,
    config: DictConfig,
    overrides: Sequence[str],
    choices: Mapping[str, str],
    hydra: DictConfig | None,
) -> Iterator[None]:
    """Reserve the directory for a run, and keep other processes out of it.

    Its config is written, unless this very run is there already.

    Args:
        directory: The directory; it need not exist.
        config: The composed config of the run.
        overrides: The options of its command line.
        choices: The option of each config group.
        hydra: Hydra's own config, recorded beside the run's; None to leave it out.

    Raises:
        RunDirectoryError: Before anything is touched, if the directory holds a run with another
            config that has begun to train, or result files without a config.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> config = OmegaConf.create({"seed": 1})
        >>> with claimed(Path(folder.name), config, ["seed=1"], {}, None):
        ...     read_config(Path(folder.name))
        {'seed': 1}
        >>> with claimed(Path(folder.name), config, ["seed=1"], {}, None):
        ...     pass  # to resume it is allowed
        >>> folder.cleanup()
    """
    _check_free(directory, config)
    with locked(directory):
        # Another process may have come first; now nobody else can.
        _check_free(directory, config)
        for folder in (directory, directory / ".hydra"):
            remove_temporary_files(folder)
        if not _holds_this_run(directory, config):
            _record(directory, config, overrides, choices, hydra)
        yield


def _check_free(directory: Path, config: DictConfig) -> None:
    """Raise an error, before anything is touched, if a directory is not free for a run."""
    if not (directory / CONFIG).exists():
        for name in RUN_FILES:
            if (directory / name).exists():
                raise RunDirectoryError(
                    f"{str(directory)!r} already holds a {name} of unknown origin; choose another hydra.run.dir."
                )
        return
    trained = has_trained(directory)
    difference = _difference_in_effect(read_config(directory), config)
    if difference is not None and trained:
        raise RunDirectoryError(
            f"{str(directory)!r} holds a run with another config ({difference}); choose another hydra.run.dir, or remove that directory."
        )


def has_trained(directory: Path) -> bool:
    """Return whether the run in a directory came so far that it has something to lose.

    One that was refused, because of a wrong option, gives way to the run with the right one.

    Args:
        directory: A run directory.

    Raises:
        RunDirectoryError: If a newer version wrote its summary.

    Example:
        >>> has_trained(Path("no/such/run"))
        False
    """
    finished = read_summary(directory).get("status") == "finished"
    files = ("metrics.csv", "checkpoint.pt", "best.pt")
    return finished or any((directory / name).exists() for name in files)


def _holds_this_run(directory: Path, config: DictConfig) -> bool:
    """Return whether the config of this very run is recorded in a directory."""
    if not (directory / CONFIG).exists():
        return False
    return _difference_in_effect(read_config(directory), config) is None


def _record(
    directory: Path,
    config: DictConfig,
    overrides: Sequence[str],
    choices: Mapping[str, str],
    hydra: DictConfig | None,
) -> None:
    """Write the config of a run, and what its command line asked for."""
    # A run that never began to train makes room for this one; its config goes last, too.
    for name in ("summary.json", CONFIG):
        (directory / name).unlink(missing_ok=True)
    if hydra is not None:
        write_atomic(
            directory / ".hydra" / "hydra.yaml",
            to_yaml(OmegaConf.to_container(hydra, enum_to_str=True)),
        )
    record_again(directory, config, overrides, choices)


def record_again(
    directory: Path, config: DictConfig, overrides: Sequence[str], choices: Mapping[str, str]
) -> None:
    """Write what a run is into its directory, in place of what is recorded there.

    Args:
        directory: The run directory, which is claimed.
        config: The config of the run.
        overrides: The options of its command line.
        choices: The option of each config group.
    """
    write_atomic(directory / OVERRIDES, to_yaml(list(overrides)))
    write_json(directory / IDENTITY, {"overrides": list(overrides), "choices": dict(choices)})
    # The config comes last: it is what makes this a run directory.
    write_atomic(directory / CONFIG, to_yaml(plain_config(config)))


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Return a config as it is recorded: plain values, with interpolations as they were written.

    Args:
        config: The config of a run.
    """
    return cast("dict[str, Any]", OmegaConf.to_container(config, enum_to_str=True))


def trained_config(directory: Path, trained: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the recorded config of a run, checked against the one its checkpoint was trained with.

    Args:
        directory: Directory of the run.
        trained: The config in the checkpoint; None if there is no checkpoint, or it holds none.

    Returns:
        The recorded config, for the next checkpoint; None if there is none.

    Raises:
        RunDirectoryError: If somebody has edited the recorded config in between.
    """
    if not (directory / CONFIG).exists():
        return None
    recorded: Any = OmegaConf.to_container(read_config(directory))
    if trained is not None:
        difference = _first_difference(_without(trained, PLACES), _without(recorded, PLACES))
        if difference is not None:
            raise RunDirectoryError(
                f"The recorded config of {str(directory)!r} is not the one that its checkpoint was trained with ({difference}); put it back to resume, or train anew with mtl-run repeat={directory}."
            )
    return recorded if isinstance(recorded, dict) else None


def _unreadable(path: Path, error: Exception) -> RunDirectoryError:
    """Return the error of a record without which a run cannot go on or be repeated."""
    reason = str(UnreadableError.of(error) if isinstance(error, OSError) else error)
    return RunDirectoryError(
        f"{str(path)!r} cannot be read ({reason}); put the original back, or start the run anew in another hydra.run.dir."
    )


def _difference_in_effect(recorded: DictConfig, config: DictConfig) -> str | None:
    """Return the first key with an effect at which two configs differ, in words, or None."""
    old, new = (
        _without(cast("dict[str, Any]", OmegaConf.to_container(c)), WITHOUT_EFFECT)
        for c in (recorded, config)
    )
    return _first_difference(old, new)


@functools.cache
def _defaults() -> dict[str, Any]:
    """Return the defaults of options that runs of older versions do not have in their configs."""
    from mtl_runner.config.settings import RecordOptions, TrainerOptions  # they need torch

    defaults: dict[str, Any] = {
        f"{group}.{option.name}": option.default
        for group, options in (("trainer", TrainerOptions), ("record", RecordOptions))
        for option in fields(options)
    }
    return defaults | {"data.steps_per_epoch": None, "trainer.judge": "final"}


def _without(config: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """Return a config without some options."""
    kept = dict(config)
    for option in options:
        group, _, key = option.partition(".")
        if not key:
            kept.pop(group, None)
        elif isinstance(kept.get(group), dict):
            kept[group] = {name: value for name, value in kept[group].items() if name != key}
    return kept


def _first_difference(old: Any, new: Any, key: str = "") -> str | None:
    """Return the first key at which two configs differ, in words, or None if they are equal."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return None if old == new else f"{key} is {old!r} there and {new!r} here"
    for name in [*old, *(n for n in new if n not in old)]:
        path = f"{key}.{name}" if key else str(name)
        if name not in old or name not in new:
            # The run may be older than an option; it was made as the option's default says.
            value = old.get(name, new.get(name))
            if value == {} or (path in (known := _defaults()) and value == known[path]):
                continue
            return f"{path} is {'new' if name in new else 'missing'} here"
        difference = _first_difference(old[name], new[name], path)
        if difference is not None:
            return difference
    return None
