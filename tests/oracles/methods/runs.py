"""Every method as a run: how it is chosen, on which problems, and how it is trained, stopped and resumed in this process."""

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

# NashMTL of three tasks and more: CVXPY has something to say of TorchJD's problem and of ECOS's solutions.
solvers_may_chat = pytest.mark.filterwarnings(
    "ignore:You are solving a parameterized problem that is not DPP:UserWarning",
    "ignore:Solution may be inaccurate:UserWarning",
)


def options_of(group: str) -> list[str]:
    """The options of a config group, read off its folder: a new file is a new method in every test here."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _further(group: str, known: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The options of another axis that no preset of ``conf/weighting`` stands for."""
    return {
        name: ("weighting=fixed", f"{group}={name}")
        for name in options_of(group)
        if name not in known
    }


METHODS: dict[str, tuple[str, ...]] = {
    **{name: (f"weighting={name}",) for name in options_of("weighting")},
    **_further("schedule", known=("all", "staged")),
    **_further("update", known=("joint", "per_task", "adatask", "jacobian")),
    **_further("likelihood", known=("standard", "homoscedastic", "heteroscedastic")),
    # So hard to please that the second task starts in the middle of a run of eight epochs.
    "plateau": (
        "weighting=fixed",
        "schedule=plateau",
        "schedule.patience=4",
        "schedule.min_delta=1e9",
    ),
    # Forms with a state that the defaults have not, or do not use in a short run.
    "alternate_drawn": ("weighting=fixed", "schedule=alternate", "schedule.proportions=1"),
    "uncertainty_closed_form": ("weighting=uncertainty", "weighting.solver=closed_form"),
    "gradnorm_fast": ("weighting=gradnorm", "weighting.lr=0.1"),
    "excess_mtl_warming_up": ("weighting=excess_mtl", "update.options.n_warmup_steps=15"),
    "per_task_fresh": ("weighting=fixed", "update=per_task", "update.gradients=fresh"),
    "groups_started_late": ("weighting=fixed", "update.groups.shared.start=50%"),
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
PROBLEMS: dict[str, tuple[str, ...]] = {
    "toy_regression": ("data=toy_regression", "data.n=50"),
    "toy_mixed": ("data=toy_mixed", *FEW_ROWS, "data.batch_size=40"),
    "digits": ("data=digits", "data.batch_size=512"),
    "table": (
        "data=table",
        "data.targets=[{name: heating, column: Y1, kind: regression}, {name: cooling, column: Y2, kind: regression}]",
        "data.batch_size=200",
    ),
}  # three batches an epoch, most of them with a smaller last one


@cache
def compose(*options: str) -> DictConfig:
    """The config of a command line. Not to be changed: it is kept."""
    opened = [f"++{option}" if "." in option.split("=", 1)[0] else option for option in options]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", ["name=run", *opened])


def prepare(directory: Path, *options: str) -> Path:
    """A run directory with the config that every start of the run is built from."""
    directory.mkdir(parents=True)
    OmegaConf.save(compose(*options), directory / "config.yaml")
    return directory


def start(directory: Path) -> Trainer:
    """What a new process does: everything anew from the saved config, and from the checkpoint if there is one."""
    config = OmegaConf.load(directory / "config.yaml")
    assert isinstance(config, DictConfig)
    return Trainer(build(config), directory)


def stop_after(directory: Path, epoch: int) -> None:
    """Train up to an evaluated epoch, then lose all that is in memory, and half a row too many is on disk."""
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
    """Train to the end; metrics.csv, and what summary.json would say without its times."""
    trainer = start(directory)
    trainer.run()
    summary = summarize(trainer, *trainer.finish())
    del summary["time"]
    return (directory / "metrics.csv").read_bytes(), json.dumps(summary)


def train(directory: Path, *options: str) -> list[dict[str, str]]:
    """A run without interruption; the rows of its metrics.csv."""
    start(prepare(directory, *options)).run()
    return read(directory)


def read(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def column(
    rows: list[dict[str, str]], name: str, split: str = "train", total: bool = False
) -> torch.Tensor:
    """A column of metrics.csv, ``[epochs, T]`` or for the rows of the total ``[epochs]``; NaN where it is empty."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["split"] == split and (row["task"] == "total") == total:
            found.setdefault(row["task"], []).append(float(row[name] or math.nan))
    table = torch.tensor(list(found.values()), dtype=torch.float64)
    return table[0] if total else table.T
