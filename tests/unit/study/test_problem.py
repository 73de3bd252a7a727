"""The problem of a study: what is known of it before the first run."""

from __future__ import annotations

import math

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.launch.plugins import register
from mtl_runner.study.problem import check_middle_rate, check_option, config_with, read_problem


def test_the_problem_is_that_of_the_runs() -> None:
    """Breaks if a study counts the steps of other data, or weighs by other trivial losses."""
    register()
    options = ["data=toy_mixed", "data.n=60", "data.batch_size=8", "trainer.epochs=3"]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", options, run_mode=RunMode.MULTIRUN)
        problem = read_problem(HydraContext(loader, Callbacks()), config, options)
    assert problem.config.data.n == 60
    assert "hydra" not in problem.config
    assert problem.steps == 3 * 8
    assert list(problem.trivial) == ["value", "label"]
    assert problem.trivial["label"] == pytest.approx(math.log(3), abs=0.2)


def test_every_optimizer_has_the_learning_rate_of_its_file_but_the_datas_own() -> None:
    """Breaks if SGD is tried around a rate of Adam's, or Adam not around that of the data."""
    register()
    options = ["data=nyuv2"]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", options, run_mode=RunMode.MULTIRUN)
        context = HydraContext(loader, Callbacks())
        rates = {
            name: config_with(context, config, config, name).optimizer.lr
            for name in (None, "adam", "sgd", "adamw")
        }
    assert rates == {None: 1e-4, "adam": 1e-4, "sgd": 1e-2, "adamw": 1e-3}
    assert config.optimizer.lr == 1e-4


def test_an_option_that_the_class_does_not_have_is_named() -> None:
    """Breaks if a misspelt option fails in every run instead of before the first one."""
    model = {"_target_": "mtl_runner.models.MLP", "hidden": [8]}
    config = OmegaConf.create({"model": model})
    check_option(config, "model.dropout", "study.regularisation")
    for key in ("model.dropuot", "model.trunk.width"):
        with pytest.raises(
            ConfigError, match=rf"^study\.widths names {key}, which .* does not have"
        ):
            check_option(config, key, "study.widths")


@pytest.mark.parametrize("lr", [0, -1.0, "fast", None, math.nan, True])
def test_the_middle_of_the_learning_rates_is_a_positive_number(lr: object) -> None:
    """Breaks if a study tries learning rates around nothing."""
    with pytest.raises(ConfigError, match=r"^optimizer\.lr must be a positive number, the middle"):
        check_middle_rate(OmegaConf.create({"optimizer": {"lr": lr}}))
