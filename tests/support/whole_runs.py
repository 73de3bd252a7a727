"""Whole runs in this process, on a small data set with a task of every kind."""

from __future__ import annotations

import copy
import csv
import functools
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mtl_runner.config.open_keys import OPEN_PREFIXES
from mtl_runner.experiment.build import build
from mtl_runner.runs.records import read_config
from mtl_runner.runs.runner import Request, run
from mtl_runner.tasks.task import Task
from mtl_runner.train.trainer import Trainer
from tests.support.builders import KINDS, SIZES, make_split
from tests.support.likelihoods import with_gaps
from tests.support.paths import CONF


class Everything:
    """A data set with a task of every kind, numbers in units of their own and, if asked for, gaps.

    Args:
        gaps: Whether labels are missing.
        rows: Rows of the training split; the other splits have fewer.
    """

    def __init__(self, gaps: bool = True, rows: int = 60) -> None:
        units = {
            "regression": {"offset": 5.0, "scale": 3.0},
            "regression_l1": {"offset": -2.0, "scale": 0.5},
        }
        self.tasks = [Task(kind, kind, size=SIZES[kind], **units.get(kind, {})) for kind in KINDS]
        self.splits = {}
        for seed, name in enumerate(("train", "val", "test")):
            split = make_split(self.tasks, rows=rows - 10 * seed, seed=seed)
            for kind in KINDS[:2]:
                split.targets[kind] += split.inputs[:, :1]
            self.splits[name] = with_gaps(split, every=4) if gaps else split


def compose_config(*overrides: str) -> DictConfig:
    """Return the config of a run, as the command line composes it.

    A choice of groups is composed only once.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    values = [override for override in overrides if override.startswith(OPEN_PREFIXES)]
    config = copy.deepcopy(
        _composed_once(tuple(override for override in overrides if override not in values))
    )
    for override in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(
            config, override.key_or_group, override.value(), merge=True, force_add=True
        )
    return config


@functools.cache
def _composed_once(overrides: tuple[str, ...]) -> DictConfig:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", overrides=["name=test", *overrides])


def everything_config(*overrides: str, gaps: bool = True, **data: Any) -> DictConfig:
    """Return the config of a short run on :class:`Everything`."""
    short = (
        "model=mlp",
        "model.hidden=[8]",
        "weighting=fixed",
        "trainer.epochs=4",
        "optimizer.lr=0.02",
    )
    config = compose_config(*short, "record.plots=none", "trainer.device=cpu", *overrides)
    node = {
        "_target_": "tests.support.whole_runs.Everything",
        "gaps": gaps,
        "batch_size": 16,
        "tasks": None,
        "losses": {},
    }
    config.data = OmegaConf.create({**node, **data})
    return config


def finish_run(directory: Path, config: DictConfig) -> Path:
    """Do the whole run that ``mtl-run`` would do, in this process, and return its directory."""
    outcome = run(Request(config, directory))
    assert outcome.error == ""
    return directory


def restore_trainer(directory: Path) -> Trainer:
    """Return the final state of a finished run, from its record alone.

    It is read from a copy, since resuming cuts metrics.csv back.
    """
    twin = directory.with_name(f"{directory.name}-restored")
    shutil.copytree(directory, twin, dirs_exist_ok=True)
    return Trainer(build(read_config(twin)), twin)


def read_rows(directory: Path, **cells: object) -> list[dict[str, str]]:
    """Return the rows of metrics.csv that hold these cells."""
    with (directory / "metrics.csv").open() as file:
        return [
            row
            for row in csv.DictReader(file)
            if all(row[key] == str(value) for key, value in cells.items())
        ]
