"""A task that starts late, with every optimizer of conf/."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.experiment.build import build
from mtl_runner.train.trainer import Trainer

OPTIMIZERS = [path.stem for path in sorted((conf_directory() / "optimizer").glob("*.yaml"))]


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "sgd with momentum"])
def test_a_head_that_starts_late_gets_its_optimizer_state_then(
    optimizer: str, tmp_path: Path
) -> None:
    """Breaks where torch's fused SGD does: some parameters of a group have momentum, those of a late task have none yet."""
    name, *momentum = optimizer.split(" with ")
    overrides = [
        f"optimizer={name}",
        "schedule=staged",
        "++schedule.start={y2: 2}",
        "trainer.epochs=4",
        "name=run",
    ]
    overrides += ["++optimizer.momentum=0.9", "optimizer.lr=1e-4"] if momentum else []
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        trainer = Trainer(build(compose("config", overrides)), tmp_path)
    before = {name: p.clone() for name, p in trainer.learner.model.named_parameters()}
    trainer.run()
    assert trainer.epoch == 4
    assert all(not p.equal(before[name]) for name, p in trainer.learner.model.named_parameters()), (
        "every parameter moved"
    )
