"""repeat=<run>: a recorded run as a config of its own, with changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import RunDirectoryError
from mtl_runner.launch.repeat import prepare_repeat
from mtl_runner.runs.directory import claimed

RECORDED = {"seed": 3, "trainer": {"epochs": 60}, "weighting": {"_target_": "users.Weighting"}}


def plain(folder: Path) -> dict[str, Any]:
    """Return a primary config as it is written, with its interpolations."""
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    assert isinstance(config, dict)
    return config


@pytest.fixture
def recorded_run(tmp_path: Path) -> Path:
    """The directory of a run that was started with two options."""
    overrides = ["weighting=users", "trainer.epochs=60"]
    config, choices = OmegaConf.create(RECORDED), {"weighting": "users"}
    with claimed(tmp_path / "run", config, overrides, choices, None):
        pass
    return tmp_path / "run"


@pytest.mark.parametrize("arguments", [[], ["seed=5", "++trainer.clip=1"]])
def test_values_are_changed_in_the_recorded_config(
    recorded_run: Path, arguments: list[str]
) -> None:
    """Breaks if a repeated run takes today's defaults for what the run recorded."""
    folder, kept = prepare_repeat(recorded_run, arguments, conf_directory())
    assert folder is not None
    assert kept == arguments
    config = plain(Path(folder.name))
    assert {key: config[key] for key in RECORDED} == RECORDED
    assert config["hydra"] == plain(conf_directory())["hydra"], "output directories and help"
    assert config["defaults"][0] == "_self_"
    assert all("override" in str(entry) for entry in config["defaults"][1:])
    folder.cleanup()


@pytest.mark.parametrize("option", ["weighting=fixed", "+study=fair", "data@data=digits"])
def test_a_change_of_a_group_composes_all_options_again(recorded_run: Path, option: str) -> None:
    """Breaks if the options of the first run are forgotten, so that another problem is trained."""
    folder, arguments = prepare_repeat(recorded_run, [option], conf_directory())
    assert folder is None
    assert arguments == ["weighting=users", "trainer.epochs=60", option]


def test_what_is_no_run_cannot_be_repeated(tmp_path: Path) -> None:
    """Breaks if a wrong path ends in a traceback."""
    with pytest.raises(RunDirectoryError, match="holds no run"):
        prepare_repeat(tmp_path, [], conf_directory())
