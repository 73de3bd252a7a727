"""Installed from a wheel, in any directory, with the user's own code and configs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

USER_MODULE = """
import torch
from torch import nn
from mtl_runner.data import Split
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import Weighting

class Data:
    def __init__(self, n=60):
        x = torch.randn(n, 2)
        self.tasks = [Task("left"), Task("right", "classification")]
        targets = {"left": x.sum(1), "right": (x[:, 0] > 0).long()}
        self.splits = {name: Split(x, targets) for name in ("train", "val", "test")}

class Model(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.heads = nn.ModuleDict({task.name: nn.Linear(2, task.size) for task in tasks})
    def forward(self, x):
        return {name: head(x) for name, head in self.heads.items()}

class LogSum(Weighting):
    def forward(self, losses, active=None):
        return losses.log().sum()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as its wheel installs it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
    )
    wheel = next(folder.glob("*.whl"))
    command = [
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder / "site"),
        str(wheel),
    ]
    subprocess.run([sys.executable, "-m", *command], check=True)
    return folder / "site"


@pytest.mark.long
def test_a_users_data_model_and_weighting_run_from_an_installed_wheel(
    installed: Path, tmp_path: Path
) -> None:
    """Breaks if the wheel lacks the configs, or a user's folder is not searched, also by joblib."""
    (tmp_path / "users.py").write_text(USER_MODULE)
    for group, name in (("data", "Data"), ("model", "Model"), ("weighting", "LogSum")):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "users.yaml").write_text(f"_target_: users.{name}\n")
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import mtl_runner; print(mtl_runner.__file__)"
    imported = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(imported.stdout.strip()).is_relative_to(installed)
    options = ["data=users", "model=users", "trainer.epochs=2", "record.plots=none"]
    sweep = ["-m", "hydra/launcher=joblib", "weighting=users,fixed", "hydra.sweep.dir=sweep"]
    for extra in (["weighting=users", "hydra.run.dir=run"], sweep):
        command = [str(installed / "bin" / "mtl-run"), *options, *extra]
        result = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
    assert "left" in (tmp_path / "run" / "metrics.csv").read_text()
    assert len((tmp_path / "sweep" / "runs.csv").read_text().splitlines()) == 3


def test_a_config_dir_elsewhere_works(tmp_path: Path) -> None:
    """Breaks if --config-dir does not add options."""
    (tmp_path / "elsewhere" / "data").mkdir(parents=True)
    (tmp_path / "users.py").write_text(USER_MODULE)
    (tmp_path / "elsewhere" / "data" / "users.yaml").write_text("_target_: users.Data\nn: 40\n")
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "--config-dir",
        "elsewhere",
        "data=users",
        "trainer.epochs=1",
        "record.plots=none",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "train 40" in result.stdout


@pytest.mark.long
def test_an_installed_wheel_explains_its_options(installed: Path, tmp_path: Path) -> None:
    """Breaks if the table of measured costs, or a class's source, is not found in a wheel."""
    command = [str(installed / "bin" / "mtl-run"), "--explain", "weighting=famo"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "ms per step on digits" in result.stdout
    assert "gamma: Decay of the logits" in result.stdout
