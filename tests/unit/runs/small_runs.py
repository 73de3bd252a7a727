"""Requests for the smallest runs, for the tests of this room."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.runs.request import Request

TINY = ("model.hidden=[4]", "trainer.epochs=1", "trainer.device=cpu", "record.plots=none")


@functools.cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """Return the config of a command line; it is kept, since composing takes about 0.1 s."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return compose("config", ["name=run", *overrides])


def tiny_request(directory: Path, *overrides: str) -> Request:
    """Return the request for a run of one epoch on the toy by default, which takes about 0.1 s."""
    toy = () if any(o.startswith("data=") for o in overrides) else ("data=toy_regression",)
    config = copy.deepcopy(_composed((*toy, "weighting=fixed", *TINY, *overrides)))
    return Request(config, directory, list(overrides))
