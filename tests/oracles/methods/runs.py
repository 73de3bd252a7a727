"""Every method as a run: the options that choose it, problems for it, and helpers that train it.

The helpers train, stop and resume a run in this process.
"""

from __future__ import annotations

import csv
import json
import math
import random
from functools import cache
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.experiment.build import build
from mtl_runner.runs.summary import summarize
from mtl_runner.train.interruption import Interrupted
from mtl_runner.train.trainer import Trainer

CONF = conf_directory()
NEED_THREE_TASKS = ("krum", "trimmed_mean")

# Of NashMTL with more than two tasks: CVXPY warns of TorchJD's problem and of ECOS's solutions.
ignore_solver_warnings = pytest.mark.filterwarnings(
    "ignore:You are solving a parameterized problem that is not DPP:UserWarning",
    "ignore:Solution may be inaccurate:UserWarning",
)


def options_of(group: str) -> list[str]:
    """Return the options of a config group, which are the files of its folder.

    So a new file is a new method in every test that uses this list.
    """
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _without_preset(group: str, known: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the options of a group that no preset of ``conf/weighting`` chooses."""
    return {
        name: ("weighting=fixed", f"{group}={name}")
        for name in options_of(group)
        if name not in known
    }


METHODS: dict[str, tuple[str, ...]] = {
    **{name: (f"weighting={name}",) for name in options_of("weighting")},
    **_without_preset("schedule", known=("all", "staged")),
    **_without_preset("update", known=("joint", "per_task", "adatask", "jacobian")),
    **_without_preset("likelihood", known=("standard", "homoscedastic", "heteroscedastic")),
    # With these numbers the second task starts in the middle of a run of eight epochs.
    "plateau": (
        "weighting=fixed",
        "schedule=plateau",
        "schedule.patience=4",
        "schedule.min_delta=1e9",
    ),
    # Forms with a state that the defaults do not have, or do not use in a short run.
    "alternate_drawn": ("weighting=fixed", "schedule=alternate", "schedule.proportions=1"),
    "uncertainty_closed_form": ("weighting=uncertainty", "weighting.solver=closed_form"),
    "gradnorm_fast": ("weighting=gradnorm", "weighting.lr=0.1"),
    "stch_log_nadir": (
        "weighting=stch",
        "weighting.form=log_nadir",
        "weighting.warmup_epochs=2",
    ),
    "excess_mtl_warming_up": ("weighting=excess_mtl", "update.options.n_warmup_steps=15"),
    "per_task_fresh": ("weighting=fixed", "update=per_task", "update.gradients=fresh"),
    "groups_started_late": ("weighting=fixed", "update.groups.shared.start=50%"),
    "gradvac_by_tensor": ("weighting=gradvac", "update.blocks=tensor"),
    # Eight steps do not divide the batches of an epoch, so that a run is resumed inside a period.
    "nash_mtl_held": ("weighting=nash_mtl", "update.every=8"),
    # Updates with weights that are not 1, where they have an effect.
    "jacobian_weighted": ("weighting=uncertainty", "update=jacobian"),
    "per_task_sgd_weighted": ("weighting=uncertainty", "update=per_task", "optimizer=sgd"),
}

SMALL = (
    "model=mlp",
    "model.hidden=[8]",
    "optimizer.lr=0.01",
    "trainer.device=cpu",
    "record.plots=none",
)
FEW_ROWS = ("data.n=90", "data.n_val=40", "data.n_test=40")
# Each has three batches an epoch, of which the last one is mostly smaller.
PROBLEMS: dict[str, tuple[str, ...]] = {
    "toy_regression": ("data=toy_regression", "data.n=50"),
    "toy_mixed": ("data=toy_mixed", *FEW_ROWS, "data.batch_size=40"),
    "digits": ("data=digits", "data.batch_size=512"),
    "table": (
        "data=table",
        "data.targets=[{name: heating, column: Y1, kind: regression}, {name: cooling, column: Y2, kind: regression}]",
        "data.batch_size=200",
    ),
}


@cache
def compose(*options: str) -> DictConfig:
    """Return the config of a command line; do not change it, since it is cached."""
    overrides = [f"++{option}" if "." in option.split("=", 1)[0] else option for option in options]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", ["name=run", *overrides])


def prepare(directory: Path, *options: str) -> Path:
    """Make a run directory with the config that every start of the run is built from."""
    directory.mkdir(parents=True)
    OmegaConf.save(compose(*options), directory / "config.yaml")
    return directory


def start(directory: Path) -> Trainer:
    """Return a new trainer for a run directory, as a new process makes it.

    It is built from the saved config, and from the checkpoint if there is one.
    """
    config = OmegaConf.load(directory / "config.yaml")
    assert isinstance(config, DictConfig)
    return Trainer(build(config), directory)


def stop_after(directory: Path, epoch: int) -> None:
    """Train up to an evaluated epoch, as a process that is killed there.

    It leaves half a row too many in metrics.csv, and the global random generators in another state.
    """
    trainer = start(directory)
    trainer.on_epoch = lambda done, _: setattr(trainer, "stop", done == epoch)
    with pytest.raises(Interrupted):
        trainer.run()
    assert trainer.epoch == epoch
    with (directory / "metrics.csv").open("ab") as file:
        file.write(b"7,21,train,va")
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(epoch)


def finish(directory: Path) -> tuple[bytes, str]:
    """Train to the end; return metrics.csv, and summary.json as it would be without its times."""
    trainer = start(directory)
    trainer.run()
    summary = summarize(trainer, *trainer.finish())
    del summary["time"]
    return (directory / "metrics.csv").read_bytes(), json.dumps(summary)


def train(directory: Path, *options: str) -> list[dict[str, str]]:
    """Train a run without interruption, and return the rows of its metrics.csv."""
    start(prepare(directory, *options)).run()
    return read(directory)


def read(directory: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv."""
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def column(
    rows: list[dict[str, str]], name: str, split: str = "train", total: bool = False
) -> torch.Tensor:
    """Return a column of metrics.csv ``[epochs, T]``; NaN where a cell is empty.

    Args:
        rows: The rows of metrics.csv.
        name: The name of the column.
        split: The split whose rows are meant.
        total: Whether to return the column of the rows of the total instead, ``[epochs]``.
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["split"] == split and (row["task"] == "total") == total:
            values.setdefault(row["task"], []).append(float(row[name] or math.nan))
    table = torch.tensor(list(values.values()), dtype=torch.float64)
    return table[0] if total else table.T
