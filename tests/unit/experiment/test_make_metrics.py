"""Metrics that the config names."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build, make_metrics
from mtl_runner.tasks.metrics import Metric


def named(name: str) -> Metric:
    """A metric that a config can make."""
    return Metric(name, True, sums=lambda o, t, task: o.sum(), finish=lambda s, task: s)


def unnamed() -> Metric:
    """One that chooses its name itself."""
    return named("mine")


@pytest.mark.parametrize("target", ["named", "unnamed"])
def test_the_config_can_name_a_metric(target: str) -> None:
    """Breaks if `name` is lost, whether or not the function behind `_target_` takes it."""
    (made,) = make_metrics(
        [{"_target_": f"tests.unit.experiment.test_make_metrics.{target}", "name": "other"}],
        "data.metrics.t",
    )
    assert made.name == "other"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.metrics={digit: accuracy}", "data.metrics.digit must be a list, e.g. [accuracy, {_target_: my_module.my_metric}]; found 'accuracy'."),
        ("data.metrics={digt: [accuracy]}", "data.metrics names the unknown task 'digt'; did you mean 'digit'? allowed: digit, image, ink, parity."),
        ("data.metrics={digit: [{_target_: torch.nn.ReLU}]}", "data.metrics.digit: torch.nn.ReLU made a ReLU; it must make a Metric or a torchmetrics.Metric."),
        ("data.metrics={digit: [accuracy, accuracy]}", "Task 'digit' has two metrics called 'accuracy'; give one of them another name."),
    ],
)  # fmt: skip
def test_wrong_metrics_are_one_sentence(override: str, sentence: str) -> None:
    """Breaks if a typing mistake in data.metrics is a traceback."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = compose("config", ["data=digits", "name=x", f"++{override}"])
    with pytest.raises(ConfigError) as error:
        build(config)
    assert str(error.value) == sentence
