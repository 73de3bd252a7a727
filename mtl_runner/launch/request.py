"""From a composed Hydra config to the request for one run. Free of torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mtl_runner.runs.request import Request

REPEATED = (
    "MTL_RUNNER_REPEATED"  # choices and overrides of the run that is repeated; also for workers
)


def request_of(config: DictConfig) -> Request:
    """The run that a config, without its ``hydra`` node, and Hydra's present state ask for."""
    hydra = HydraConfig.get()
    _settle(config)
    repeated = json.loads(os.environ.get(REPEATED, "{}"))
    overrides = list(hydra.overrides.task)
    sweeping = hydra.mode == RunMode.MULTIRUN
    return Request(
        config=config,
        directory=Path(hydra.runtime.output_dir),
        overrides=[*repeated.get("overrides", ()), *overrides],
        choices=repeated.get("choices") or _choices(hydra.runtime.choices),
        hydra=HydraConfig.instance().cfg,  # type: ignore[arg-type]  # declared as what it is a config of
        job=f"{hydra.job.num}: {' '.join(override.lstrip('+') for override in overrides)}"
        if sweeping
        else "",
    )


def request_in(
    config: DictConfig, directory: Callable[[DictConfig], Path]
) -> tuple[Request, DictConfig]:
    """The run that a config with its ``hydra`` node asks for, outside of a job of Hydra's.

    Args:
        config: As Hydra composed it; its ``hydra`` node is taken out.
        directory: Where the run will lie, by the config.

    Returns:
        The request, and Hydra's own config of the job.
    """
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(config)
        hydra: Any = HydraConfig.instance().cfg
        with read_write(hydra.hydra.runtime), open_dict(hydra.hydra.runtime):
            hydra.hydra.runtime.output_dir = str(directory(config).absolute())
        with read_write(config), open_dict(config):
            del config["hydra"]
        return request_of(config), hydra
    finally:
        HydraConfig.instance().cfg = before


def _settle(config: DictConfig) -> None:
    """Replace what only Hydra can resolve (``${hydra:...}``, ``${now:...}``): the recorded config must not depend on its state."""
    pending: list[tuple[str, Any]] = [("", OmegaConf.to_container(config))]
    while pending:
        path, node = pending.pop()
        if isinstance(node, dict):
            pending += [(f"{path}.{key}" if path else str(key), item) for key, item in node.items()]
        elif isinstance(node, str) and re.search(r"\$\{(hydra|now):", node):
            OmegaConf.update(config, path, OmegaConf.select(config, path))


def _choices(chosen: Mapping[str, Any]) -> dict[str, str]:
    """The option of each group, for the labels of a comparison."""
    return {group: choice for group, choice in chosen.items() if "/" not in str(group) and choice}
