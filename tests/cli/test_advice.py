"""Advice as a user sees it: on the terminal and in run.log, once, and not again after a resume."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import pytest

from tests.support.commands import Command, send

FREE_SOFTMAX = (
    "The exact likelihood does not weigh the classification 'label': its last layer is free"
)
ROWS_OF_A_TABLE = ("task ", "---", "y1 ", "y2 ", "value ", "label ", "relative_loss ")
SHORT = ("trainer.epochs=3", "record.plots=none", "trainer.device=cpu")
EXACT_RUN = (
    "data=toy_mixed",
    "weighting=uncertainty_exact",
    "model.hidden=[16]",
    "record.plots=none",
    "trainer.device=cpu",
)


def warnings_of(out: str, directory: str = "run") -> list[str]:
    """Return the lines of a terminal that are no opening, table or place of the results."""
    opening = (": train ", "finished already", "Stopping at the next evaluated epoch")
    lines = [line for line in out.splitlines() if line and line != directory]
    return [
        line
        for line in lines
        if not line.startswith(ROWS_OF_A_TABLE) and not any(part in line for part in opening)
    ]


@pytest.mark.long
def test_the_main_command_of_the_readme_warns_of_nothing(mtl: Command) -> None:
    """Breaks if the first command that anybody types ends with a warning."""
    result = mtl(
        "mtl-run",
        "weighting=uncertainty",
        "data=toy_regression",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    assert warnings_of(result.out) == []
    assert result.err == ""


def test_advice_on_the_setup_is_logged_once(mtl: Command, tmp_path: Path) -> None:
    """Breaks if advice is logged twice, or only on the terminal or only in run.log."""
    result = mtl(
        "mtl-run",
        "data=toy_regression",
        "update=per_task",
        "weighting=fixed",
        "weighting.weights.y1=0.5",
        *SHORT,
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    (sentence,) = warnings_of(result.out)
    assert sentence.startswith("The fixed weights [0.5, 1.0] have no effect")
    assert (tmp_path / "run" / "run.log").read_text().count(sentence) == 1


@pytest.mark.long
def test_a_negative_total_is_explained_once_also_after_a_resume(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if every evaluated epoch, or a resumed run, repeats the advice."""
    quiet = (
        "data.noise={y1: 0.001, y2: 0.001}",
        "likelihood=homoscedastic",
        "weighting=fixed",
        "optimizer.lr=0.02",
    )
    fast = ("likelihood.lr=0.2", "model.hidden=[16]", "record.plots=none", "trainer.device=cpu")
    options = (*quiet, *fast, "trainer.epochs=120", "trainer.evaluate_every=1", "hydra.run.dir=run")
    log = tmp_path / "run" / "run.log"

    def is_explained() -> bool:
        return log.exists() and "The total loss is negative" in log.read_text()

    first = mtl(
        "mtl-run", "data=toy_regression", *options, meanwhile=send(signal.SIGINT, is_explained)
    )
    assert first.code == 130, "the run ended before it could be stopped"
    resumed = mtl("mtl-run", "resume=run")
    assert resumed.code == 0, resumed.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
    assert "resuming after epoch" in resumed.out
    assert log.read_text().count("The total loss is negative") == 1
    assert "The total loss is negative" not in resumed.out


@pytest.mark.long
def test_advice_on_the_setup_is_not_logged_again_after_a_resume(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if run.log repeats advice for every time that a run was stopped."""
    options = (*EXACT_RUN, "trainer.epochs=40", "trainer.evaluate_every=1", "hydra.run.dir=run")
    first = mtl(
        "mtl-run",
        *options,
        meanwhile=send(signal.SIGINT, (tmp_path / "run" / "checkpoint.pt").exists),
    )
    assert first.code == 130, first.err
    assert first.out.count(FREE_SOFTMAX) == 1
    assert mtl("mtl-run", "resume=run").code == 0
    assert (tmp_path / "run" / "run.log").read_text().count(FREE_SOFTMAX) == 1


def test_a_sigma_that_has_not_arrived_is_named_at_the_end(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the widely copied setting, whose sigmas lag for long, passes without advice."""
    result = mtl(
        "mtl-run",
        "data=toy_regression",
        "weighting=uncertainty_simplified",
        *SHORT,
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    advice = warnings_of(result.out)
    assert [sentence.split(" ended at ")[0] for sentence in advice] == [
        "The log-variance of 'y1'",
        "The log-variance of 'y2'",
    ]
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [line.split(",") for line in file if ",train,y1," in line]
    loss, sigma = float(rows[-1][4]), float(rows[-1][6])
    s, optimum = 2 * math.log(sigma), math.log(loss)
    assert (
        f"ended at {s:.3f}, {optimum - s:.2f} below its optimum {optimum:.3f} for the last epoch's loss"
        in advice[0]
    )
