"""From Hydra's config to a request: what the recorded config of a run holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.launch.hydra_request import REPEATED_RUN, request_of_composed
from mtl_runner.launch.plugins import register


def composed(*overrides: str) -> DictConfig:
    """Return a config as Hydra composes it, with its ``hydra`` node."""
    register()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


def test_a_request_names_directory_overrides_and_choices(tmp_path: Path) -> None:
    """Breaks if a run cannot say how it was started, or Hydra's own groups are taken for ours."""
    config = composed("weighting=dwa", "seed=3")
    request, hydra = request_of_composed(config, lambda _: tmp_path / "run")
    assert request.directory == tmp_path / "run"
    assert list(request.overrides) == ["weighting=dwa", "seed=3"]
    assert request.choices["weighting"] == "dwa"
    assert not any("/" in group for group in request.choices)
    assert request.job == "", "it is no job of a sweep"
    assert "hydra" not in request.config
    assert hydra.hydra.runtime.output_dir == str(tmp_path / "run")


def test_the_recorded_config_needs_no_hydra(tmp_path: Path) -> None:
    """Breaks if a run with ${hydra:...} or ${now:...} in its options cannot be resumed."""
    config = composed("name='${hydra:runtime.output_dir}_${now:%Y}'")
    request, _ = request_of_composed(config, lambda _: tmp_path / "run")
    recorded = OmegaConf.to_container(request.config)
    assert isinstance(recorded, dict)
    assert recorded["name"].startswith(f"{tmp_path / 'run'}_2")


def test_hydras_state_is_put_back(tmp_path: Path) -> None:
    """Breaks if a run from Python, or a job of a stack, changes what the next one sees."""
    before = HydraConfig.instance().cfg
    request_of_composed(composed(), lambda _: tmp_path)
    assert HydraConfig.instance().cfg is before


def test_a_repeated_run_keeps_its_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a repeated run is labelled by today's defaults, or forgets how it was started."""
    recorded = {"overrides": ["data=digits"], "choices": {"data": "digits"}}
    monkeypatch.setenv(REPEATED_RUN, json.dumps(recorded))
    request, _ = request_of_composed(composed("seed=1"), lambda _: tmp_path)
    assert list(request.overrides) == ["data=digits", "seed=1"]
    assert request.choices == {"data": "digits"}
