"""From a config that Hydra composed to the request for one run. Free of torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mtl_runner.errors import ConfigError
from mtl_runner.errors.keys import suggest_key
from mtl_runner.runs.request import Request, Shown
from mtl_runner.runs.sweep_report import SweepReport

# Options of the runner that are in no config until somebody adds them.
ADDED_KEYS = ("debug", "tags")
# The environment variable with choices and overrides of the run that is repeated; workers see it.
REPEATED_RUN = "MTL_RUNNER_REPEATED"


def request_of_job(config: DictConfig) -> Request:
    """Return the request for a run, in a job of Hydra's.

    Args:
        config: The config of the job, without its ``hydra`` node; values that only Hydra can
            resolve are replaced in it.

    Raises:
        ConfigError: If the name of the run leads out of its folder.
    """
    hydra = HydraConfig.get()
    check_name(config.get("name"))
    # The record of the run is written before its settings are read.
    if OmegaConf.is_config(seed := config.get("seed")):
        raise ConfigError(f"seed must be a whole number of at least 0; found {seed}.")
    check_added_keys(config, hydra)
    _resolve_hydra_values(config)
    repeated = json.loads(os.environ.get(REPEATED_RUN, "{}"))
    overrides = list(hydra.overrides.task)
    return Request(
        config=config,
        directory=Path(hydra.runtime.output_dir),
        overrides=[*repeated.get("overrides", ()), *overrides],
        choices=repeated.get("choices") or _choices(hydra.runtime.choices),
        hydra=HydraConfig.instance().cfg,  # type: ignore[arg-type]
        job=f"{hydra.job.num}: {' '.join(override.lstrip('+') for override in overrides)}"
        if is_sweeping()
        else "",
        shown=_shown(),
    )


def check_added_keys(config: DictConfig, hydra: Any) -> None:
    """Check that whatever a ``+`` adds at the top of the config is read by somebody.

    That is a choice of a config group, an option of the runner, or a key of the user's own that an
    interpolation uses, in the config or in Hydra's options.

    Args:
        config: The config of a job, without its ``hydra`` node.
        hydra: Hydra's node.

    Raises:
        ConfigError: If nobody reads it: the run would silently be another one than was asked for.
    """
    for override in hydra.overrides.task:
        key, _, _ = override.lstrip("+").partition("=")
        if not override.startswith("+") or re.search(r"[./@]", key):
            continue
        if key in hydra.runtime.choices or key in ADDED_KEYS or key not in config:
            continue
        texts = [OmegaConf.to_yaml(config), OmegaConf.to_yaml(hydra.overrides)]
        if not any(re.search(rf"\$\{{[^}}]*\b{re.escape(key)}\b", text) for text in texts):
            tree: Any = OmegaConf.to_container(config)
            question = suggest_key(key, {name: tree[name] for name in tree if name != key})
            raise ConfigError(
                f"Nothing reads the key {key!r} that {override} adds; {question or 'mtl-run --cfg job prints the keys that there are.'}"
            )


def _shown() -> Shown:
    """Return what the terminal shows of a run, beside the report of its sweep."""
    if not is_sweeping():
        return "all"
    return "bar" if SweepReport.current is not None else "nothing"


def report_failure(reason: str) -> None:
    """Let the report of the sweep say why the job that Hydra runs has failed.

    In the process of a worker, which has no report, the run's record says so.

    Args:
        reason: One sentence.
    """
    if SweepReport.current is not None:
        SweepReport.current.end_run(int(HydraConfig.get().job.num), None, reason)


def is_sweeping() -> bool:
    """Return whether the job that Hydra runs is one of a sweep's."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def request_of_composed(
    config: DictConfig, directory: Callable[[DictConfig], Path]
) -> tuple[Request, DictConfig]:
    """Return the request for a run, outside of a job of Hydra's.

    Args:
        config: The config as Hydra composed it; its ``hydra`` node is taken out.
        directory: A function from the config to the run directory.

    Returns:
        The request, and Hydra's own config.
    """
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(config)
        hydra: Any = HydraConfig.instance().cfg
        with read_write(hydra.hydra.runtime), open_dict(hydra.hydra.runtime):
            hydra.hydra.runtime.output_dir = str(directory(config).absolute())
        with read_write(config), open_dict(config):
            del config["hydra"]
        return request_of_job(config), hydra
    finally:
        HydraConfig.instance().cfg = before


def check_name(name: Any) -> None:
    """Check that the name of a run, which is a part of its directory's, stays in its folder.

    Args:
        name: The option ``name``.

    Raises:
        ConfigError: If it is a list or a mapping, or a part of it is ``..``.

    Example:
        >>> check_name("group/first..second")
    """
    if isinstance(name, Mapping | Sequence) and not isinstance(name, str):
        raise ConfigError(f"name must be a text; found {name}.")
    if ".." in re.split(r"[/\\]", str(name)):
        raise ConfigError(f"name must not lead out of its folder by '..'; found {str(name)!r}.")


def check_directory(key: str, directory: Any) -> None:
    """Check that a directory for runs has a name.

    Args:
        key: The option that gives it.
        directory: The directory.

    Raises:
        ConfigError: If it is empty: the run would be written into the working directory.

    Example:
        >>> check_directory("hydra.run.dir", "outputs/my_run")
    """
    if directory is None or not str(directory).strip():
        raise ConfigError(
            f"{key} is empty; give the directory a name, e.g. {key}=my_{key.split('.')[1]}."
        )


def _resolve_hydra_values(config: DictConfig) -> None:
    """Replace ``${hydra:...}`` and ``${now:...}``, so that the recorded config needs no Hydra."""
    pending: list[tuple[str, Any]] = [("", OmegaConf.to_container(config))]
    while pending:
        path, node = pending.pop()
        if isinstance(node, dict):
            pending += [(f"{path}.{key}" if path else str(key), item) for key, item in node.items()]
        elif isinstance(node, str) and re.search(r"\$\{(hydra|now):", node):
            OmegaConf.update(config, path, OmegaConf.select(config, path))


def _choices(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the option of each of our config groups; those of Hydra's own have a slash."""
    return {group: choice for group, choice in choices.items() if "/" not in str(group) and choice}
