"""Configs of a sweep, composed once per choice of options, are those of Hydra."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mtl_runner.compat.hydra_compose import Composer, one_of_each_kind
from tests.support.paths import CONF

JOBS = [
    ["weighting=dwa", "seed=0"],
    ["weighting=dwa", "seed=2", "++weighting.temperature=3"],
    ["weighting=fixed", "seed=1", "++weighting.weights={y1: 2.0}"],
    ["weighting=dwa", "seed=1", "~trainer.epochs"],
    ["optimizer.lr=0.5", "share=false", "name=x"],
    ["optimizer.lr=0.25", "share=true", "name=y"],
]


class Counted:
    """A loader that counts what it composes."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.calls = loader, 0

    def load_sweep_config(self, *arguments: Any) -> DictConfig:
        self.calls += 1
        config: DictConfig = self.loader.load_sweep_config(*arguments)
        return config

    def list_groups(self) -> list[str]:
        return ["weighting"]


@pytest.fixture
def sweep() -> Iterator[tuple[Any, DictConfig]]:
    """Hydra's loader and the config of a sweep."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield loader, loader.load_configuration("config", [], RunMode.MULTIRUN)


def plain(config: DictConfig) -> Any:
    """Return everything that a config holds, references included."""
    return OmegaConf.to_container(config, resolve=False)


def test_every_job_has_hydras_config(sweep: tuple[Any, DictConfig]) -> None:
    """Breaks if a job of a sweep trains with another config than the same run by itself."""
    loader, master = sweep
    composer = Composer(loader)
    for job in JOBS:
        expected = loader.load_sweep_config(master, job)
        assert plain(composer.load_sweep_config(master, job)) == plain(expected), job


def test_a_choice_of_options_is_composed_once(sweep: tuple[Any, DictConfig]) -> None:
    """Breaks if a sweep over seeds waits for Hydra at every job."""
    loader, master = sweep
    composer = Composer(counted := Counted(loader))
    for seed in range(4):
        config = composer.load_sweep_config(master, ["weighting=dwa", f"seed={seed}"])
        assert config.seed == seed
    assert counted.calls == 2, "the template, and the first job to compare it with"
    assert composer.list_groups() == ["weighting"], "all else is the loader's"


def test_where_the_configs_differ_hydra_composes_all(
    sweep: tuple[Any, DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a config that the template gets wrong is used."""
    loader, master = sweep
    composer = Composer(counted := Counted(loader))
    monkeypatch.setattr(Composer, "_filled", lambda *arguments: OmegaConf.create({"seed": -1}))
    for seed in range(3):
        assert composer.load_sweep_config(master, [f"seed={seed}"]).seed == seed
    assert counted.calls == 2 + 2


def test_jobs_that_may_not_compose_are_all_checked() -> None:
    """Breaks if a sweep finds out in the middle that one of its jobs cannot be composed."""
    batch = [
        ["weighting=dwa", "seed=0"],
        ["weighting=dwa", "seed=1"],
        ["weighting=famo", "seed=1"],
        ["weighting.weights={y1: 1}"],
        ["weighting.weights={no_task: 1}"],
        ["+optimizer.lr=1"],
        ["optimizer.lr=1"],
        ["optimizer.lr=2"],
    ]
    assert one_of_each_kind(batch) == [batch[i] for i in (0, 2, 3, 4, 5, 6)]
