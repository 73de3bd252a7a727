"""A run directory: is it free, does it hold this very run, or another one?

Nothing in a directory is touched before that is known.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mtl_runner.compat.omegaconf_yaml import to_yaml
from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import write_atomic, write_json

CONFIG = Path(".hydra") / "config.yaml"
IDENTITY = Path(".hydra") / "run.json"
RUN_FILES = ("metrics.csv", "summary.json", "checkpoint.pt", "best.pt")


def read_config(directory: Path) -> DictConfig:
    """Return the recorded config of a run.

    Args:
        directory: A run directory.

    Raises:
        RunDirectoryError: If the directory holds a sweep or no run.
    """
    if (directory / "multirun.yaml").exists():
        raise RunDirectoryError(
            f"{str(directory)!r} is a sweep; start the same command again with hydra.sweep.dir={directory} resume=true."
        )
    if not (directory / CONFIG).exists():
        problem = "holds no run (no .hydra/config.yaml)" if directory.is_dir() else "does not exist"
        raise RunDirectoryError(
            f"The run directory {str(directory)!r} {problem}; give the path that mtl-run printed."
        )
    config = OmegaConf.load(directory / CONFIG)
    assert isinstance(config, DictConfig)
    return config


def read_summary(directory: Path) -> dict[str, Any]:
    """Return summary.json, or ``{}`` if there is none yet or it is not readable.

    Example:
        >>> read_summary(Path("no/such/run"))
        {}
    """
    try:
        summary = json.loads((directory / "summary.json").read_text())
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def read_identity(directory: Path) -> dict[str, Any]:
    """Return what the command line of a run asked for.

    Returns:
        ``overrides``, as they were typed, and ``choices``, the option of each config group; both
        empty if they were not recorded.
    """
    try:
        identity = json.loads((directory / IDENTITY).read_text())
    except (OSError, ValueError):
        identity = read_summary(directory)
    return {"overrides": identity.get("overrides", []), "choices": identity.get("choices", {})}


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes out of the directory while it is being written.

    The lock ends with the process, also when it is killed.

    Raises:
        RunDirectoryError: If another process holds the directory.
    """
    try:
        import fcntl
    except ImportError:
        # Windows has no such locks.
        yield
        return
    with (directory / ".hydra" / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirectoryError(
                f"{str(directory)!r} is being written by another process; wait for it, or choose another hydra.run.dir."
            ) from None
        except OSError as error:
            # A file system without locks is written without one.
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
    """Reserve the directory for a run: write its config, unless this very run is there already.

    Args:
        directory: The directory; it need not exist.
        config: The composed config of the run.
        overrides: The options of its command line.
        choices: The option of each config group.
        hydra: Hydra's own config, recorded beside the run's; None to leave it out.

    Raises:
        RunDirectoryError: Before anything is touched, if the directory holds a run with another
            config, or result files without a config.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> config = OmegaConf.create({"seed": 1})
        >>> claim(Path(folder.name), config, ["seed=1"], {}, None)
        >>> claim(Path(folder.name), config, ["seed=1"], {}, None)  # to resume it is allowed
        >>> read_config(Path(folder.name))
        {'seed': 1}
        >>> folder.cleanup()
    """
    if (directory / CONFIG).exists():
        recorded = OmegaConf.to_container(read_config(directory))
        difference = _first_difference(recorded, OmegaConf.to_container(config))
        if difference is not None:
            raise RunDirectoryError(
                f"{str(directory)!r} holds a run with another config ({difference}); choose another hydra.run.dir, or remove that directory."
            )
        return
    for name in RUN_FILES:
        if (directory / name).exists():
            raise RunDirectoryError(
                f"{str(directory)!r} already holds a {name} of unknown origin; choose another hydra.run.dir."
            )
    (directory / ".hydra").mkdir(parents=True, exist_ok=True)
    write_atomic(directory / ".hydra" / "overrides.yaml", to_yaml(list(overrides)))
    write_json(directory / IDENTITY, {"overrides": list(overrides), "choices": dict(choices)})
    if hydra is not None:
        write_atomic(
            directory / ".hydra" / "hydra.yaml",
            to_yaml(OmegaConf.to_container(hydra, enum_to_str=True)),
        )
    # The config comes last: it is what makes this a run directory.
    write_atomic(directory / CONFIG, to_yaml(OmegaConf.to_container(config, enum_to_str=True)))


def _first_difference(old: Any, new: Any, key: str = "") -> str | None:
    """Return the first key at which two configs differ, in words, or None if they are equal."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return None if old == new else f"{key} is {old!r} there and {new!r} here"
    for name in [*old, *(n for n in new if n not in old)]:
        path = f"{key}.{name}" if key else str(name)
        if name not in old or name not in new:
            # An empty option may be missing: the run may be older than the option.
            if {} in (old.get(name), new.get(name)):
                continue
            return f"{path} is {'new' if name in new else 'missing'} here"
        difference = _first_difference(old[name], new[name], path)
        if difference is not None:
            return difference
    return None
