"""The device of a run: which one, and that its layout and precision change only rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mtl_runner.config.settings import TrainerOptions
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.experiment.device import choose_device, use_channels_last
from mtl_runner.train.trainer import Trainer
from tests.support.builders import assert_same_bits
from tests.support.whole_runs import compose_config

IMAGES = (
    *("data=multi_digits", "data.rows=60", "data.batch_size=30"),
    *("model=lenet", "trainer.epochs=2", "name=x"),
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuda:99", "trainer.device=cuda:99: this machine has "),
        ("gpu", "trainer.device='gpu' is not a device; use auto, cpu, cuda or cuda:0."),
        (
            "mps",
            "trainer.device=mps has no float64, in which evaluations add up their sums; use cpu.",
        ),
        ("meta", "trainer.device='meta' is not supported; use auto, cpu, cuda or cuda:0."),
    ],
)
def test_a_device_that_there_is_not_is_named(name: str, words: str) -> None:
    """Breaks if a run starts on another device than the one asked for, or ends in a traceback."""
    with pytest.raises(ConfigError) as error:
        choose_device(name)
    assert str(error.value).startswith(words)


def test_auto_takes_a_gpu_if_there_is_one() -> None:
    """Breaks if `auto` stays on the CPU of a machine with a GPU."""
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def trained(folder: Path, *options: str, epochs: int = 2) -> Trainer:
    """Train a run on images of digits, or go on with it."""
    folder.mkdir(exist_ok=True)
    trainer = Trainer(build(compose_config(*IMAGES, *options)), folder)
    trainer.on_epoch = lambda epoch, objective: setattr(trainer, "stop", epoch == epochs)
    if epochs < 2:
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    else:
        trainer.run()
    return trainer


@pytest.mark.parametrize(
    "options",
    [
        ("weighting=uncertainty",),
        ("weighting=mgda",),
        ("update=adatask",),
        ("update=per_task",),
        ("update=per_task", "update.gradients=fresh"),
        ("update=per_task", "trainer.clip=0.5"),
        ("optimizer.parts={shared: {lr: 0.01}}",),
        ("trainer.ema=0.9",),
    ],
    ids=" ".join,
)
def test_channels_that_come_last_change_only_rounding(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Breaks if an update mixes up the elements of a weight that is laid out otherwise."""
    usual = trained(tmp_path / "usual", *options, "trainer.precision=float64")
    last = (*options, "trainer.precision=float64", "trainer.channels_last=true")
    run = trained(tmp_path / "last", *last)
    convolutions = [m for m in run.learner.model.modules() if isinstance(m, nn.Conv2d)]
    channels_last = torch.channels_last
    assert any(m.weight.is_contiguous(memory_format=channels_last) for m in convolutions)
    torch.testing.assert_close(
        run.learner.model.state_dict(), usual.learner.model.state_dict(), rtol=1e-8, atol=1e-10
    )


def test_a_run_with_channels_last_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Breaks if a checkpoint brings the weights back in another layout, so that sums round otherwise."""
    options = ("weighting=uncertainty", "trainer.channels_last=true")
    whole = trained(tmp_path / "whole", *options)
    trained(tmp_path / "parts", *options, epochs=1)
    resumed = trained(tmp_path / "parts", *options)
    assert_same_bits(resumed.learner.model.state_dict(), whole.learner.model.state_dict())


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [("cpu", "bf16", False), ("cuda", "float32", False), ("cuda", "bf16", True)],
)
def test_channels_come_last_by_themselves_where_it_pays(
    device: str, precision: str, expected: bool
) -> None:
    """Breaks if a ResNet in half precision runs at half its speed, or the CPU in another layout."""
    options = TrainerOptions(precision=precision)
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    assert use_channels_last(model, torch.device(device), options) is expected
    assert not use_channels_last(nn.Linear(1, 1), torch.device(device), options)


def test_the_precision_of_products_is_that_of_the_run() -> None:
    """Breaks if a run inherits TF32 from the one before it in the process."""
    build(compose_config(*IMAGES, "trainer.matmul=high"))
    assert torch.get_float32_matmul_precision() == "high"
    build(compose_config(*IMAGES))
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("parallel", ["data", "fsdp"])
def test_a_sharded_model_keeps_its_first_dimension_first(parallel: str) -> None:
    """Breaks if a model with convolutions cannot be sharded on GPUs in bf16."""
    options = TrainerOptions(precision="bf16", parallel=parallel)
    model, cuda = nn.Sequential(nn.Conv2d(1, 1, 1)), torch.device("cuda")
    assert use_channels_last(model, cuda, options) == (parallel == "data")
