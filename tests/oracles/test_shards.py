"""``trainer.parallel=fsdp``: processes of which each has a part of the model train like one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.oracles.methods.runs import ignore_solver_warnings
from tests.oracles.test_devices import STAGED, check, config_of
from tests.support.lengths import long_but
from tests.support.rank_group import RankGroup, train

# The bar of issue 16.
TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def pair() -> Iterator[RankGroup]:
    """Return a group of two processes."""
    group = RankGroup(2)
    yield group
    group.close()


def sharded(config: DictConfig) -> DictConfig:
    """Return the config of the same run, with a part of the model in each process."""
    config = config.copy()
    OmegaConf.update(config, "trainer.parallel", "fsdp", force_add=True)
    return config


FEW = {
    "joint": ("weighting=uncertainty",),
    "clip": ("weighting=uncertainty", "trainer.clip=0.5", "optimizer=adamw"),
    "staged": ("weighting=fixed", *STAGED),
    "per_task": ("weighting=fixed", "update=per_task", "trainer.clip=0.5"),
    "upgrad": ("weighting=upgrad",),
    "mgda": ("weighting=mgda",),
}

MORE = {
    "blocks": ("weighting=gradvac", "update.blocks=tensor"),
    "every": ("weighting=nash_mtl", "update.every=3"),
    "fresh": ("weighting=fixed", "update=per_task", "update.gradients=fresh"),
    "decay": ("weighting=fixed", "update=per_task", "optimizer.weight_decay=0.1"),
    "pcgrad": ("weighting=pcgrad", "record.gradients=true"),
    "nash_mtl": ("weighting=nash_mtl",),
    "sdmgrad": ("weighting=sdmgrad",),
    "gradnorm": ("weighting=gradnorm",),
    "lra": ("weighting=lra", "weighting.every=2"),
    "famo": ("weighting=famo", *STAGED),
    "homoscedastic": ("weighting=fixed", "likelihood=homoscedastic"),
    "heteroscedastic": ("weighting=uncertainty", "likelihood=heteroscedastic"),
    "copies": ("weighting=single_task",),
    "average": ("weighting=uncertainty", "trainer.ema=0.9", "optimizer=sgd"),
    "optimizers": ("weighting=fixed", "optimizer.parts={shared: {lr: 0.003}, tags: {lr: 0.1}}"),
    "inside": ("weighting=dwa", "trainer.evaluate_every='2 steps'"),
}


@ignore_solver_warnings
@pytest.mark.parametrize("method", long_but(list(FEW)[::2], FEW))
def test_parts_of_a_model_train_as_the_whole(pair: RankGroup, method: str) -> None:
    """Breaks if a gradient is not summed, a norm is a part's, or a process without rows counts."""
    config = config_of(*FEW[method], "trainer.precision=float64", gaps=True)
    check(sharded(config), pair, TOLERANCE)


@ignore_solver_warnings
@pytest.mark.long
@pytest.mark.parametrize("method", MORE)
def test_every_method_that_is_not_refused_trains_alike(pair: RankGroup, method: str) -> None:
    """Breaks if a method that needs whole gradients is let in."""
    config = config_of(*MORE[method], "trainer.precision=float64", gaps=True)
    check(sharded(config), pair, TOLERANCE)


@pytest.mark.long
def test_three_processes_have_parts_of_different_sizes() -> None:
    """Breaks if a process without a part of a small parameter makes other calls."""
    group = RankGroup(3)
    try:
        for method in ("joint", "per_task", "upgrad"):
            config = config_of(*FEW[method], "trainer.precision=float64", gaps=True)
            check(sharded(config), group, TOLERANCE)
    finally:
        group.close()


@pytest.mark.parametrize("method", ["joint", "per_task", "upgrad"])
def test_a_model_may_use_its_parts_as_it_likes(pair: RankGroup, method: str) -> None:
    """Breaks if a parameter is used while only a part of it is there."""
    config = config_of(*FEW[method], "trainer.precision=float64")
    config.model = OmegaConf.create({"_target_": "tests.support.rank_group.Tied"})
    check(sharded(config), pair, TOLERANCE)


@pytest.mark.long
@pytest.mark.parametrize("method", ["joint", "upgrad"])
def test_batch_normalisation_sees_all_rows(pair: RankGroup, method: str) -> None:
    """Breaks if its sums and those of the shards get into each other's way."""
    config = config_of(*FEW[method], "trainer.precision=float64", rows=48)
    config.model = OmegaConf.create({"_target_": "tests.support.rank_group.Normalised"})
    check(sharded(config), pair, 1e-7)


@pytest.mark.long
def test_each_process_keeps_half_of_parameters_and_moments(pair: RankGroup) -> None:
    """Breaks if a process keeps whole parameters, or whole moments of Adam."""
    config = sharded(config_of("weighting=fixed", "trainer.epochs=1"))
    OmegaConf.update(config, "model.hidden", [64, 64])
    alone = train(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    kept = [result.kept for result in pair.train(config)]
    assert sum(kept) == alone.kept
    assert max(kept) < 0.51 * alone.kept
