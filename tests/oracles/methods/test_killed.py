"""Killed in the middle of its training, a run of every family of methods resumes in another process to the same files."""

from __future__ import annotations

import random
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.cli.test_resume import result
from tests.oracles.methods.runs import METHODS
from tests.support.commands import Command, send

# By what a run of them has to remember: see the comments.
FAMILIES = (
    "dwa",  # means of the last two epochs
    "famo",  # logits and their Adam, moved after the step
    "gradnorm",  # the first losses
    "uncertainty_exact",  # log-variances of the likelihood
    "heteroscedastic",  # a model with further outputs
    "adatask",  # moments per task
    "gradvac",  # an aggregator's state and its random order
    "random",  # a generator of its own
    "graddrop",  # TorchJD's draws from the global one
    "plateau",  # who has started, and the best loss so far
    "alternate",  # nothing but the clock
    "groups_started_late",  # the clock of an update
)
OPTIONS = (
    "data=toy_mixed", "data.n=200", "data.n_val=50", "data.n_test=50", "model=mlp", "model.hidden=[16]", "model.dropout=0.1",
    "trainer.epochs=90", "trainer.evaluate_every=3", "trainer.device=cpu", "record.plots=none",
)  # fmt: skip
KILLS = 6


def holds_more_than(path: Path, size: float) -> bool:
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
    done = mtl(*command, "hydra.run.dir=whole")
    assert done.code == 0, done.err
    whole = result(tmp_path / "whole")
    hits = attempts = 0
    while hits < KILLS:
        attempts += 1
        assert attempts <= 6, "hardly any kill hits a running process"
        run = tmp_path / f"killed{attempts}"
        # At so many bytes of the record: in the middle of training on every machine, and farther each time.
        for share in sorted(chance.uniform(0.02, 0.9) for _ in range(3)):
            kill = send(
                signal.SIGKILL, partial(holds_more_than, run / "metrics.csv", share * len(whole[0]))
            )
            code = mtl(*command, f"hydra.run.dir={run.name}", meddle=kill).code
            assert code in (0, -signal.SIGKILL)
            hits += code == -signal.SIGKILL
        last = (
            mtl("mtl-run", f"resume={run.name}")
            if attempts % 2
            else mtl(*command, f"hydra.run.dir={run.name}")
        )
        assert last.code == 0, last.err
        assert result(run) == whole
