"""A run directory: is it free, does it hold this very run, or another one?

Nothing in a directory is touched before that is known.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from mtl_runner.compat.omegaconf_yaml import to_yaml
from mtl_runner.errors import RunDirectoryError
from mtl_runner.errors.option_keys import PLACES, WITHOUT_EFFECT
from mtl_runner.files import remove_temporary_files, write_atomic, write_json
from mtl_runner.runs.lock import locked
from mtl_runner.runs.records import (
    CONFIG,
    IDENTITY,
    OVERRIDES,
    TRACKERS,
    read_config,
    read_summary,
)

RUN_FILES = ("metrics.csv", "summary.json", "checkpoint.pt", "best.pt")


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
    for name in ("summary.json", TRACKERS, CONFIG):
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


def config_in_effect(config: DictConfig) -> str:
    """Return a text that two configs share if a run of one is a run of the other.

    Args:
        config: The config of a run, as it is composed or as it was recorded.

    Example:
        >>> first = OmegaConf.create({"seed": 1, "record": {"checkpoints": "both"}})
        >>> second = OmegaConf.create({"record": {"checkpoints": "none"}, "seed": 1})
        >>> config_in_effect(first) == config_in_effect(second)
        True
    """
    return json.dumps(_without(plain_config(config), WITHOUT_EFFECT), sort_keys=True, default=str)


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
