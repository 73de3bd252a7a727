"""A folder with files of somebody else's: a command in it runs none of them by accident."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import QUICK, Command

SHADOWS = ("csv", "signal", "html", "calendar", "torch", "numpy", "tqdm", "hydra_plugins/plugin")
DATA = ("data=toy_regression", "data._target_=houses.Houses", *QUICK)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose modules leave a trace when imported, beside one that is wanted."""
    (tmp_path / "hydra_plugins").mkdir()
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / Path(name).name)!r} + '.ran', 'w')"
        )
    (tmp_path / "houses.py").write_text(
        "from mtl_runner.data import ToyRegression\nclass Houses(ToyRegression): pass\n"
    )
    return tmp_path


def typed(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with an interpreter of its own, as it is started by a shell."""
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


def traces(folder: Path) -> list[str]:
    """Return what was imported by accident."""
    return sorted(path.name for path in folder.glob("*.ran"))


@pytest.mark.long
@pytest.mark.parametrize("start", [["mtl-run"], ["python", "-m", "mtl_runner"]])
def test_only_the_module_that_a_config_names_is_imported(folder: Path, start: list[str]) -> None:
    """Breaks if a downloaded folder runs its code, or a user's signal.py breaks the command."""
    program = [str(Path(sys.executable).with_name(start[0])), *start[1:]]
    ended = typed(folder, *program, *DATA, "hydra.run.dir=run")
    assert ended.returncode == 0, ended.stderr
    assert traces(folder) == []


@pytest.mark.parametrize("options", [("--help",), ("--list",), ("--cfg", "job")])
def test_a_question_imports_nothing(mtl: Command, folder: Path, options: tuple[str, ...]) -> None:
    """Breaks if ./hydra_plugins runs at --help."""
    assert mtl("mtl-run", *options, cwd=folder).code == 0
    assert traces(folder) == []


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["basic", "stacked", "joblib"])
def test_the_processes_of_a_sweep_are_as_careful(folder: Path, launcher: str) -> None:
    """Breaks if a worker looks in the working directory first, or for plugins of Hydra's there."""
    program = str(Path(sys.executable).with_name("mtl-run"))
    sweep = ("-m", f"hydra/launcher={launcher}", "seed=0,1", "hydra.sweep.dir=sweep")
    ended = typed(folder, program, *sweep, *DATA)
    assert len(list((folder / "sweep").glob("*/best.pt"))) == 2, ended.stdout + ended.stderr
    assert traces(folder) == []


def test_a_resumed_run_finds_the_module(mtl: Command, folder: Path) -> None:
    """Breaks if a run of the user's own data cannot go on."""
    assert mtl("mtl-run", *DATA, "hydra.run.dir=run", cwd=folder).code == 0
    (folder / "run" / "summary.json").unlink()
    resumed = mtl("mtl-run", "resume=run", cwd=folder)
    assert resumed.code == 0, resumed.err
    assert traces(folder) == []


def test_a_safe_path_is_honoured(folder: Path) -> None:
    """Breaks if PYTHONSAFEPATH does not keep the working directory out."""
    program = str(Path(sys.executable).with_name("mtl-run"))
    ended = typed(folder, program, *DATA, PYTHONSAFEPATH="1")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("data._target_='houses.Houses' cannot be imp")
