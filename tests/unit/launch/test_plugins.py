"""Our plugins of Hydra: where configs are looked for, and where launchers are imported from."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.launch.plugins import PLUGINS, register


def test_registering_twice_changes_nothing() -> None:
    """Breaks if a second run from Python finds its plugins doubled, or Hydra complains."""
    register()
    before = Plugins.instance().discover(Launcher), Plugins.instance().discover(Sweeper)
    register()
    assert (Plugins.instance().discover(Launcher), Plugins.instance().discover(Sweeper)) == before


def test_hydra_can_import_our_launcher_and_sweeper() -> None:
    """Breaks if hydra/launcher=stacked, +study=fair or +search=optuna cannot be instantiated."""
    register()
    module = importlib.import_module("hydra_plugins.mtl_runner")
    for plugin in PLUGINS:
        assert getattr(module, plugin.__name__).__module__ == "hydra_plugins.mtl_runner"


def test_configs_of_the_working_directory_are_added_to_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a user's ./conf is not searched, or replaces an option of ours by accident."""
    folder = tmp_path / "conf" / "weighting"
    folder.mkdir(parents=True)
    weighting = "_target_: mtl_runner.weighting.Fixed\nweights: {y1: 0.5}\n"
    (folder / "halves.yaml").write_text(weighting)
    (folder / "dwa.yaml").write_text("_target_: users.Mistake\n")
    monkeypatch.chdir(tmp_path)
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        assert compose("config", ["weighting=halves"]).weighting.weights == {"y1": 0.5}
        assert compose("config", ["weighting=dwa"]).weighting._target_.startswith("mtl_runner.")
