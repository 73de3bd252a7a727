"""A run that is killed in its training, and resumed by another process, ends in the same files."""

from __future__ import annotations

import random
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.oracles.methods.runs import METHODS
from tests.support.commands import Command, send
from tests.support.run_files import reproducible_files

# A method for every state that a run may have to remember.
FAMILIES = (
    "dwa",  # means of the last two epochs
    "famo",  # logits and their Adam, moved after the step
    "gradnorm",  # the first losses
    "uncertainty_exact",  # log-variances of the likelihood
    "heteroscedastic",  # a model with log-variances among its outputs
    "adatask",  # moments per task
    "gradvac",  # an aggregator's state and its random order
    "random",  # a random generator beside the global one
    "graddrop",  # the global random generator, from which TorchJD draws
    "plateau",  # which tasks have started, and the best loss so far
    "alternate",  # the number of the step
    "groups_started_late",  # the update's count of steps
)
OPTIONS = (
    "data=toy_mixed",
    "data.n=200",
    "data.n_val=50",
    "data.n_test=50",
    "model=mlp",
    "model.hidden=[16]",
    "model.dropout=0.1",
    "trainer.epochs=90",
    "trainer.evaluate_every=3",
    "trainer.device=cpu",
    "record.plots=none",
)
KILLS = 6


def holds_more_than(path: Path, size: float) -> bool:
    """Return whether a file exists and has more than ``size`` bytes."""
    return path.exists() and path.stat().st_size > size


@pytest.mark.long
@pytest.mark.parametrize("method", FAMILIES)
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_files(
    mtl: Command,
    tmp_path: Path,
    method: str,
) -> None:
    """Breaks if a new process lacks something that this method's next step depends on."""
    chance = random.Random(method)
    command = ("mtl-run", *METHODS[method], *OPTIONS)
    uninterrupted = mtl(*command, "hydra.run.dir=whole")
    assert uninterrupted.code == 0, uninterrupted.err
    expected = reproducible_files(tmp_path / "whole")
    hits = attempts = 0
    while hits < KILLS:
        attempts += 1
        assert attempts <= 6, "hardly any kill hits a running process"
        run = tmp_path / f"killed{attempts}"
        # A kill at a size of metrics.csv is in the middle of training on every machine.
        for share in sorted(chance.uniform(0.02, 0.9) for _ in range(3)):
            kill = send(
                signal.SIGKILL,
                partial(holds_more_than, run / "metrics.csv", share * len(expected[0])),
            )
            code = mtl(*command, f"hydra.run.dir={run.name}", meanwhile=kill).code
            assert code in (0, -signal.SIGKILL)
            hits += code == -signal.SIGKILL
        resumed = (
            mtl("mtl-run", f"resume={run.name}")
            if attempts % 2
            else mtl(*command, f"hydra.run.dir={run.name}")
        )
        assert resumed.code == 0, resumed.err
        assert reproducible_files(run) == expected
