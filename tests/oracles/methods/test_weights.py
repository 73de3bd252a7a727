"""The weights and the objective that a run logs are those of its method's formula, for every method."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.oracles.methods.objectives import (
    REPLAYS,
    Adam,
    Log,
    fixed,
    s_before,
    settling,
    uncertainty_terms,
)
from tests.oracles.methods.runs import CONF, METHODS, column, options_of, solvers_may_chat, train

KINDS = ("regression", "classification", "multilabel", "regression_l1")
SCALES = torch.tensor([2.0, 1.0, 1.0, 5.0], dtype=torch.float64)
LR = 0.01
# A step is an epoch on all rows, so that metrics.csv holds every step.
PROBLEM = (
    "data=toy_mixed", "data._target_=tests.oracles.methods.problems.FourKinds", "data.n=64", "data.n_val=8", "data.n_test=8",
    "data.batch_size=64", "model=mlp", "model.hidden=[8]", f"optimizer.lr={LR}", "trainer.epochs=12", "trainer.evaluate_every=1",
    "trainer.lr_scheduler=null", "trainer.device=cpu",
)  # fmt: skip
SETTLED = (
    "optimizer.lr=0.05",
    "trainer.epochs=40",
)  # so long that the weights reach their targets, which depend on alpha
MEASURED = (
    "model._target_=tests.oracles.methods.problems.OneWeight",
    "record.gradients=true",
)  # what GradNorm sees is logged
FORMS = {
    "uncertainty_jde": ("weighting=uncertainty", "weighting.form=jde"),
    "uncertainty_liebel": ("weighting=uncertainty", "weighting.form=liebel"),
    "learned_exp": ("weighting=learned", "weighting.form=exp"),
}
CASES = {
    **METHODS,
    **FORMS,
    "gradnorm": (*METHODS["gradnorm"], *MEASURED),
    "gradnorm_fast": (*METHODS["gradnorm_fast"], *MEASURED, *SETTLED),
}
SCHEDULES = {"all": (), "staged": ("schedule=staged",), "ramp": ("schedule=ramp",)}


def log_of(rows: list[dict[str, str]]) -> Log:
    """Under a likelihood with a noise scale the weighting sees the negative log-likelihoods."""
    sigma = column(rows, "sigma") / SCALES
    laplace = torch.tensor([kind == "regression_l1" for kind in KINDS])
    norms = (
        column(rows, "gradient_norm")
        if "gradient_norm" in rows[0]
        else torch.full_like(sigma, math.nan)
    )
    return Log(
        column(rows, "nll" if "nll" in rows[0] else "loss"),
        column(rows, "active"),
        torch.where(laplace, 1, 2) * sigma.log(),
        norms,
        KINDS,
    )


def close(found: Tensor, expected: Tensor) -> None:
    """As near as float32 comes; a weight below 1e-6 counts as none."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def replayed() -> list[Any]:
    """Every method by itself; those with an objective of their own also with tasks that start late, or by and by."""
    equal = [m for m in CASES if m not in REPLAYS]  # equal weights and another axis
    return [
        *((m, "all") for m in REPLAYS),
        *((m, "staged") for m in REPLAYS),
        *(pytest.param(m, "ramp", marks=pytest.mark.long) for m in REPLAYS),
        *(pytest.param(m, "all", marks=pytest.mark.long) for m in equal),
    ]


@pytest.mark.parametrize("method", options_of("weighting"))
def test_the_objective_of_every_weighting_is_written_down(method: str) -> None:
    """Breaks if a method is added whose weights nothing holds against its formula."""
    plain = (
        "fixed@weighting" in (CONF / "weighting" / f"{method}.yaml").read_text()
        or method == "fixed"
    )
    assert plain != (method in REPLAYS), (
        f"write the objective of {method} into tests/oracles/methods/objectives.py"
    )


@solvers_may_chat
@pytest.mark.parametrize(("method", "schedule"), replayed())
def test_the_logged_weights_are_the_slopes_of_the_objective(
    tmp_path: Path, method: str, schedule: str
) -> None:
    """Breaks if a method weighs by another formula than its paper's, or logs other weights than it uses."""
    rows = train(tmp_path / "run", *PROBLEM, *CASES[method], *SCHEDULES[schedule])
    log = log_of(rows)
    weights, objective = REPLAYS.get(method, fixed)(log)
    close(column(rows, "weight"), weights * log.active)
    close(column(rows, "loss", total=True), objective)
    if schedule != "all":
        assert log.active[0].count_nonzero() == 1
        assert log.active[-1].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("schedule", ["all", "staged"])
@pytest.mark.parametrize(
    ("method", "form", "lr"),
    [
        ("uncertainty", "kendall", None),
        ("uncertainty_simplified", "simplified", LR),
        ("uncertainty_jde", "jde", None),
        ("uncertainty_liebel", "liebel", None),
    ],
)
def test_the_logged_sigmas_descend_on_the_objective(
    tmp_path: Path, method: str, form: str, lr: float | None, schedule: str
) -> None:
    """Breaks if a log-variance has another rate, another gradient or another clock than it should, or another unit in the log."""
    log = log_of(train(tmp_path / "run", *PROBLEM, *CASES[method], *SCHEDULES[schedule]))
    start = None if lr is None else 0.0
    moved = 0
    for task, kind in enumerate(KINDS):
        adam = Adam()
        for step in range(log.steps):
            if not log.active[step, task]:
                continue
            before = s_before(form, start, log, step)[task].requires_grad_()
            term = uncertainty_terms(
                form, [kind], log.losses[step, task].reshape(1), before.reshape(1)
            )
            (slope,) = torch.autograd.grad(term.sum(), before)
            rate = 0.025 * settling(step, log.steps) if lr is None else lr
            change = adam.change(slope.item(), rate)
            found = log.s[step, task].item() - before.item()
            if (
                adam.t == 1 and lr is None
            ):  # at the optimum: the slope is rounding, and Adam makes it up to half a rate
                assert abs(found) <= rate
            else:
                assert found == pytest.approx(
                    change, abs=rate / 500
                )  # the second slope is still small: its rounding counts
                moved += abs(found) > rate / 10
    assert moved > 10


@pytest.mark.parametrize("likelihood", ["homoscedastic", "heteroscedastic"])
@pytest.mark.parametrize("method", ["log_sum", "uncertainty_softmax", "dwa"])
def test_under_an_exact_likelihood_the_weights_are_those_of_the_logged_nll(
    tmp_path: Path, method: str, likelihood: str
) -> None:
    """Breaks if a weighting is given the standard losses where the likelihood's are trained, or those are not what is logged."""
    rows = train(tmp_path / "run", *PROBLEM, *CASES[method], f"likelihood={likelihood}")
    log = log_of(rows)
    assert (log.losses > 0).all()
    weights, objective = REPLAYS[method](log)
    close(column(rows, "weight"), weights)
    close(column(rows, "loss", total=True), objective)


def test_the_logged_nll_is_the_density_of_the_logged_loss_and_sigma(tmp_path: Path) -> None:
    """Breaks if a likelihood lacks a constant, takes the wrong noise scale, or logs it in another unit."""
    rows = train(tmp_path / "run", *PROBLEM, *CASES["uncertainty_exact"])
    losses, s, nll = column(rows, "loss"), log_of(rows).s[:-1], column(rows, "nll")
    # A step used the s that the step before it left.
    gaussian = torch.exp(-s[:, 0]) * losses[1:, 0] / 2 + s[:, 0] / 2 + math.log(2 * math.pi) / 2
    laplace = torch.exp(-s[:, 3]) * losses[1:, 3] + s[:, 3] + math.log(2)
    close(nll[1:, 0], gaussian)
    close(nll[1:, 3], laplace)


def test_the_logged_loss_of_a_classification_is_its_likelihood(tmp_path: Path) -> None:
    """Breaks if the loss in the log is of another temperature than the one that was trained, or the two are not of the same step."""
    rows = train(tmp_path / "run", *PROBLEM, *CASES["uncertainty_exact"])
    losses, nll = column(rows, "loss"), column(rows, "nll")
    close(nll[:, 1], losses[:, 1])
    close(nll[:, 2], 2 * losses[:, 2])  # the sum over two labels
