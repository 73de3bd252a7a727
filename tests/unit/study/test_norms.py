"""The norms of gradients at the start of a run, from which a study makes fixed weights."""

from __future__ import annotations

import hydra
import pytest
import torch
from omegaconf import DictConfig

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.study.norms import norms_at_start
from mtl_runner.train.batch_groups import make_batches

TOY = ("name=run", "weighting=fixed", "data=related", "data.n=64", "model.hidden=[8]")


def composed(*options: str) -> DictConfig:
    """Return the config of a run of three tasks."""
    with hydra.initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return hydra.compose("config", [*TOY, "data.scales=[1,3,10]", *options])


def test_they_are_the_norms_of_plain_backward_passes_over_the_first_batches() -> None:
    """Breaks if weights 1/norm come from other batches, initial weights or parameters."""
    config = composed("data.batch_size=16", "seed=3")
    experiment = build(config)
    learner, (trunk,) = experiment.learner, experiment.parameters.last_shared
    sums = torch.zeros(3)
    batches = [batch for batch, _ in make_batches(experiment).epoch(0)]
    for batch in batches:
        outputs = learner.model(batch.inputs)
        for t, task in enumerate(experiment.data.tasks):
            loss = ((outputs[task.name] - batch.targets[task.name]) ** 2).mean()
            sums[t] += torch.autograd.grad(loss, trunk, retain_graph=True)[0].norm()
    expected = dict(zip(("y1", "y2", "y3"), (sums / 4).tolist(), strict=True))
    assert len(batches) == 4
    assert norms_at_start(config) == pytest.approx(expected, rel=1e-4)


def test_the_config_of_the_runs_stays_as_it_is() -> None:
    """Breaks if all runs of a study train on the CPU, as the measurement does."""
    config = composed("trainer.device=auto", "data.loader.workers=2")
    norms_at_start(config)
    assert (config.trainer.device, config.data.loader.workers) == ("auto", 2)


def test_batches_without_a_label_of_a_task_do_not_count_for_it() -> None:
    """Breaks if a task with few labels gets a large weight, since its mean counts zeros.

    With batches of one row and one label per row every task is measured in some of ten batches.
    """
    norms = norms_at_start(composed("data.labels=one", "data.batch_size=1", "data.n=10"))
    assert min(norms.values()) > 0
    assert norms["y3"] > 5 * norms["y1"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("model=separate_mlps", "model.hidden=[8]"),
            "the tasks share no weights that are trained from the start",
        ),
        (
            ("schedule=staged", "+schedule.start.y2=50%"),
            "no gradient of task 'y2' reaches the last shared layer",
        ),
        (("model.activation=sine",), "model.activation='sine' is unknown"),
    ],
)
def test_what_cannot_be_measured_is_said(options: tuple[str, ...], reason: str) -> None:
    """Breaks if a study stops with a traceback, or weighs by norms of 0."""
    with pytest.raises(ConfigError, match=r"^the norms .* at the start: ") as error:
        norms_at_start(composed(*options))
    assert reason in str(error.value)
    assert str(error.value).endswith(".")
    assert not str(error.value).endswith("..")
