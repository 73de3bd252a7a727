"""The dataset of a config: built once, its trivial predictors, the metrics that the config names."""

from __future__ import annotations

import pytest
import torch
from hydra import compose as compose_config
from hydra import initialize_config_dir

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.experiment.dataset import is_built_in, make_metrics, trivial_losses
from mtl_runner.tasks.metrics import Metric
from mtl_runner.tasks.task import Task
from tests.oracles.methods.runs import compose
from tests.support.builders import assert_near, make_terms

DATA = ("data=toy_mixed", "data.n=40", "data.batch_size=40", "model=mlp", "model.hidden=[6]")


def test_a_dataset_of_ours_is_built_once() -> None:
    """Breaks if each run of a sweep reads its data again, or gets data of another config."""
    datasets: dict = {}
    first, again, longer = (
        build(compose(*DATA, "trainer.device=cpu", option), datasets)
        for option in ("seed=1", "seed=2", "data.n=41")
    )
    assert again.data is first.data
    assert longer.data is not first.data
    assert len(datasets) == 2


def test_a_dataset_of_a_user_is_not_kept() -> None:
    """Breaks if a dataset that draws from the run's seed is used for another seed."""
    assert is_built_in({"_target_": "mtl_runner.data.Digits"})
    assert not is_built_in({"_target_": "my_data.Digits"})
    assert not is_built_in({})


def test_trivial_losses_are_those_of_the_mean_where_there_is_something_to_predict() -> None:
    """Breaks if `relative_loss` is taken over another predictor, or over a loss of 0."""
    tasks = [
        Task("a", size=1, trivial=(2.0,)),
        Task("constant", size=1, trivial=(1.0,)),
        *make_terms(term=lambda p: p.sum()),
    ]
    targets = {"a": torch.tensor([[1.0], [3.0]]), "constant": torch.ones(2, 1)}
    losses = trivial_losses(tasks, Split(torch.zeros(2, 1), targets))
    assert losses[1:] == [None, None]
    assert_near(torch.tensor(losses[0]), torch.tensor(1.0), 1e-6)


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
        [{"_target_": f"tests.unit.experiment.test_dataset.{target}", "name": "other"}],
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
        config = compose_config("config", ["data=digits", "name=x", f"++{override}"])
    with pytest.raises(ConfigError) as error:
        build(config)
    assert str(error.value) == sentence
