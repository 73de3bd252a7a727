"""Our sweepers: those of Hydra's names, with a launcher that makes only what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.launch.plugins import register
from mtl_runner.launch.reported_launcher import ReportedLauncher
from mtl_runner.launch.reusing_launcher import ReusingLauncher


@pytest.mark.parametrize(
    ("options", "launcher"),
    [
        ([], "BasicLauncher"),
        (["hydra/sweeper=basic", "hydra/launcher=gpus"], "GpusLauncher"),
        (["+study=fair"], "StackedLauncher"),
        (["+study=quick"], "StackedLauncher"),
        (["+search=optuna"], "StackedLauncher"),
        (["+study=transfer"], "StackedLauncher"),
        (["+probe=weighting"], "StackedLauncher"),
        (["+study=fair", "hydra/launcher=basic"], "BasicLauncher"),
    ],
)
def test_a_sweeper_hands_jobs_to_a_launcher_that_reuses_runs(
    tmp_path: Path, options: list[str], launcher: str
) -> None:
    """Breaks if a sweep, or a study, makes runs again that are there."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration(
            "config", [f"hydra.sweep.dir={tmp_path}", *options], run_mode=RunMode.MULTIRUN
        )
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=HydraContext(loader, Callbacks()),
            task_function=lambda config: 0.0,
            config=config,
        )
    assert type(sweeper).__module__ == "hydra_plugins.mtl_runner"
    reusing = sweeper.launcher  # type: ignore[attr-defined]
    assert isinstance(reusing, ReusingLauncher)
    inner = reusing.launcher
    if isinstance(inner, ReportedLauncher):  # a command of an earlier test of this process
        inner = inner.launcher
    assert type(inner).__name__ == launcher
