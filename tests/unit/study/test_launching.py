"""The base of the sweepers: which launcher it takes, and what that one knows of earlier runs."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.launch.plugins import register
from mtl_runner.study.launching import LaunchingSweeper


class Sweeping(LaunchingSweeper):
    """A sweeper that has nothing to sweep over."""

    def sweep(self, arguments: list[str]) -> Any:
        """Return the arguments as they are."""
        return arguments


class Knowing:
    """A launcher that has found two runs."""

    folders = {3: "3_run", 7: "7_run"}  # noqa: RUF012
    reused = 2


@pytest.mark.parametrize("launcher", ["basic", "stacked", "gpus"])
def test_the_launcher_is_the_configs(launcher: str) -> None:
    """Breaks if a study or a search cannot run under some launcher."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration(
            "config", [f"hydra/launcher={launcher}"], run_mode=RunMode.MULTIRUN
        )
        sweeper = Sweeping()
        sweeper.setup(
            hydra_context=HydraContext(loader, Callbacks()),
            task_function=lambda config: 0.0,
            config=config,
        )
    # Another test of this process may have started the command, which wraps every launcher.
    made = getattr(sweeper.launcher, "launcher", sweeper.launcher)
    assert launcher in type(made).__name__.lower()


def test_what_a_launcher_knows_of_earlier_runs_is_taken_over() -> None:
    """Breaks if a resumed study counts its runs as new, or looks for them in other folders."""
    sweeper = Sweeping()
    sweeper.launcher = Knowing()  # type: ignore[assignment]
    assert sweeper.reused == 2
    assert sweeper.folders == {3: "3_run", 7: "7_run"}


def test_a_launcher_that_knows_nothing_has_reused_nothing() -> None:
    """Breaks if a study needs a launcher of ours."""
    sweeper = Sweeping()
    sweeper.launcher = object()  # type: ignore[assignment]
    assert sweeper.reused == 0
    assert sweeper.folders is None
