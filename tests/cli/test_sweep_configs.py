"""The quick composing of a sweep's configs: it gives what Hydra gives, or Hydra's error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from mtl_runner.compat.hydra_compose import Composer
from mtl_runner.config.conf_directory import conf_directory
from tests.support.lengths import long_but

COMPOSED = {
    "weighting": (["weighting=fixed", "seed=0"], ["weighting=fixed", "seed=1"]),
    "added": (["++optimizer.eps=1e-7"], ["++optimizer.eps=1e-6", "seed=3"]),
    "plus": (["+optimizer.eps=1e-7"], ["+optimizer.eps=1e-6"]),
    "list": (["model.hidden=[8,8]"], ["model.hidden=[4]"]),
    "mapping": (
        ["weighting=fixed", "++weighting.weights={y1: 2}"],
        ["weighting=fixed", "++weighting.weights={y1: 3, y2: 4}"],
    ),
    "merged mapping": (
        ["weighting=fixed", "++weighting.weights={y1: 2}"],
        ["weighting=fixed", "++weighting.weights.y2=4"],
    ),
    "data": (["data=digits", "optimizer.lr=1"], ["data=digits", "optimizer.lr=2"]),
    "experiment": (
        ["experiment=toy_uncertainty", "trainer.epochs=3"],
        ["experiment=toy_uncertainty", "trainer.epochs=4"],
    ),
    "value before group": (
        ["optimizer.lr=0.5", "optimizer=sgd"],
        ["optimizer.lr=0.25", "optimizer=sgd"],
    ),
    "value twice": (["seed=1", "seed=2"], ["seed=3", "seed=4"]),
    "deleted": (["~record.predictions", "seed=1"], ["~record.predictions", "seed=2"]),
    "hydra": (["hydra.job.chdir=false", "seed=1"], ["hydra.job.chdir=false", "seed=2"]),
    "name": (["name=a"], ["name='${seed}_b'", "seed=4"]),
    "interpolation": (["optimizer.lr=0.1"], ["optimizer.lr=${weighting.lr}"]),
    "null and text": (
        ["trainer.clip=null", "trainer.device=cpu"],
        ["trainer.clip=1", "trainer.device='a, b=c'"],
    ),
    "choice by dotless key": (["model=mlp", "share=false"], ["model=separate_mlps", "share=true"]),
}


@pytest.fixture
def loader() -> Iterator[Any]:
    """Hydra's loader of our configs."""
    with hydra.initialize_config_dir(str(conf_directory()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.mark.parametrize("case", long_but(list(COMPOSED)[::3], COMPOSED))
def test_configs_of_a_sweep_are_those_that_hydra_composes(loader: Any, case: str) -> None:
    """Breaks if a config that is put together quickly differs in anything from Hydra's."""
    master = loader.load_configuration(
        "config", ["trainer.epochs=7", "hydra.sweep.dir=here"], run_mode=RunMode.MULTIRUN
    )
    composer = Composer(loader)
    for overrides in (*COMPOSED[case], *COMPOSED[case]):
        config = composer.load_sweep_config(master, list(overrides))
        expected = loader.load_sweep_config(master, list(overrides))
        assert OmegaConf.to_container(config) == OmegaConf.to_container(expected)
        assert OmegaConf.to_yaml(config) == OmegaConf.to_yaml(expected), "the order of the keys"
        assert OmegaConf.is_struct(config) == OmegaConf.is_struct(expected)
        assert OmegaConf.is_readonly(config.hydra) == OmegaConf.is_readonly(expected.hydra)
    assert OmegaConf.to_container(config) != OmegaConf.to_container(master), (
        "the case changes something"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "optimizer.betta=1",
        "weighting=fixd",
        "~trainer.nothing",
        "+seed=1",
        "nothing=1",
        "trainer.epochs.x=1",
    ],
)
def test_an_error_of_hydra_stays_the_same(loader: Any, wrong: str) -> None:
    """Breaks if an override that Hydra refuses is taken, or refused in other words."""
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    composer = Composer(loader)
    composer.load_sweep_config(master, ["optimizer.lr=1"])
    errors = []
    for either in (loader, composer):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            either.load_sweep_config(master, [wrong])
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]
