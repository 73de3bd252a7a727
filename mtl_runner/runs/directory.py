"""A run directory: is it free, does it hold this very run, or another one? Nothing is touched before that is known."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mtl_runner.compat.omegaconf_yaml import yaml_of
from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import write_atomic, write_json

CONFIG = Path(".hydra") / "config.yaml"
IDENTITY = Path(".hydra") / "run.json"
OURS = ("metrics.csv", "summary.json", "checkpoint.pt", "best.pt")


def read_config(directory: Path) -> DictConfig:
    """The recorded config of a run. Raises ``RunDirectoryError`` if this is no run directory."""
    if (directory / "multirun.yaml").exists():
        raise RunDirectoryError(
            f"{str(directory)!r} is a sweep; start the same command again with hydra.sweep.dir={directory} resume=true."
        )
    if not (directory / CONFIG).exists():
        what = "holds no run (no .hydra/config.yaml)" if directory.is_dir() else "does not exist"
        raise RunDirectoryError(
            f"The run directory {str(directory)!r} {what}; give the path that mtl-run printed."
        )
    config = OmegaConf.load(directory / CONFIG)
    assert isinstance(config, DictConfig)
    return config


def read_summary(directory: Path) -> dict[str, Any]:
    """summary.json, or {} if there is none yet or it is not readable."""
    try:
        summary = json.loads((directory / "summary.json").read_text())
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def read_identity(directory: Path) -> dict[str, Any]:
    """The overrides and choices that made a run; empty if they were not recorded."""
    try:
        identity = json.loads((directory / IDENTITY).read_text())
    except (OSError, ValueError):
        identity = read_summary(directory)
    return {"overrides": identity.get("overrides", []), "choices": identity.get("choices", {})}


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes out of the directory while it is being written.

    Raises ``RunDirectoryError`` if another process holds it; a kill releases it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with (directory / ".hydra" / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirectoryError(
                f"{str(directory)!r} is being written by another process; wait for it, or choose another hydra.run.dir."
            ) from None
        except OSError as error:  # a file system without locks
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield


def claim(
    directory: Path,
    config: DictConfig,
    overrides: Sequence[str],
    choices: Mapping[str, str],
    hydra: DictConfig | None,
) -> None:
    """Make the directory this run's, or find that it is already: then the run goes on.

    Raises ``RunDirectoryError``, before anything is touched, if it holds a run with another config or files of one.
    """
    if (directory / CONFIG).exists():
        recorded = OmegaConf.to_container(read_config(directory))
        wanted = OmegaConf.to_container(config)
        difference = _first_difference(recorded, wanted)
        if difference is not None:
            raise RunDirectoryError(
                f"{str(directory)!r} holds a run with another config ({difference}); choose another hydra.run.dir, or remove that directory."
            )
        return
    for name in OURS:
        if (directory / name).exists():
            raise RunDirectoryError(
                f"{str(directory)!r} already holds a {name} of unknown origin; choose another hydra.run.dir."
            )
    (directory / ".hydra").mkdir(parents=True, exist_ok=True)
    write_atomic(directory / ".hydra" / "overrides.yaml", yaml_of(list(overrides)))
    write_json(directory / IDENTITY, {"overrides": list(overrides), "choices": dict(choices)})
    if hydra is not None:
        write_atomic(
            directory / ".hydra" / "hydra.yaml",
            yaml_of(OmegaConf.to_container(hydra, enum_to_str=True)),
        )
    write_atomic(
        directory / CONFIG, yaml_of(OmegaConf.to_container(config, enum_to_str=True))
    )  # last: it is what makes this a run directory


def _first_difference(old: Any, new: Any, key: str = "") -> str | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(n for n in new if n not in old)]:
            path = f"{key}.{name}" if key else str(name)
            if name not in old or name not in new:
                if {} in (
                    old.get(name),
                    new.get(name),
                ):  # an option that is new since the run was recorded, and is not used
                    continue
                return f"{path} is {'new' if name in new else 'missing'} here"
            difference = _first_difference(old[name], new[name], path)
            if difference is not None:
                return difference
        return None
    return None if old == new else f"{key} is {old!r} there and {new!r} here"
