"""The consistency losses of ``data=collapse`` under one optimizer, and under a separate one."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import Tensor

from tests.oracles.methods.runs import column
from tests.oracles.methods.runs import train as train_run
from tests.support.builders import assert_near


def test_a_group_of_losses_has_its_own_optimizer(tmp_path: Path) -> None:
    """Breaks if the consistency losses of experiment=collapse_groups share an optimizer.

    Their weight has an effect under one Adam for all losses, but none under a separate Adam.
    """
    options = ("trainer.epochs=2", "data.batch_size=256", "trainer.evaluate_every=1")
    variances: dict[str, list[Tensor]] = {}
    for experiment in ("collapse", "collapse_groups"):
        for weight in ("1", "0.001"):
            weights = f"weighting.weights={{align: {weight}, cycle: {weight}}}"
            directory = tmp_path / f"{experiment}_{weight}"
            rows = train_run(directory, f"experiment={experiment}", *options, weights)
            variances.setdefault(experiment, []).append(
                column(rows, "latent_variance", "val")[-1, 2]
            )
            shutil.rmtree(directory)
    heavy, light = variances["collapse_groups"]
    assert_near(light, heavy, 1e-2 * float(heavy))  # but for Adam's eps
    heavy, light = variances["collapse"]
    assert float(light) > 1.1 * float(heavy)
