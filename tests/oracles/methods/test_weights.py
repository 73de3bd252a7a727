"""The weights and the objective that a run logs are those of its method's formula."""

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
from tests.oracles.methods.runs import (
    CONF,
    METHODS,
    column,
    ignore_solver_warnings,
    options_of,
    train,
)
from tests.support.lengths import long_but

KINDS = ("regression", "classification", "multilabel", "regression_l1")
SCALES = torch.tensor([2.0, 1.0, 1.0, 5.0], dtype=torch.float64)
LR = 0.01
# A step is an epoch on all rows, so that metrics.csv holds every step.
PROBLEM = (
    "data=toy_mixed",
    "data._target_=tests.oracles.methods.problems.FourKinds",
    "data.n=64",
    "data.n_val=8",
    "data.n_test=8",
    "data.batch_size=64",
    "model=mlp",
    "model.hidden=[8]",
    f"optimizer.lr={LR}",
    "trainer.epochs=12",
    "trainer.evaluate_every=1",
    "trainer.lr_scheduler=null",
    "trainer.device=cpu",
)
# So long that GradNorm's weights reach their targets, which depend on alpha.
SETTLED = ("optimizer.lr=0.05", "trainer.epochs=40")
# So that the gradient norms that GradNorm uses are in the log.
MEASURED = ("model._target_=tests.oracles.methods.problems.OneWeight", "record.gradients=true")
ONE_NUMBER = (
    "model._target_=tests.oracles.methods.problems.OneNumber",
    "model.activation=tanh",
    "record.gradients=true",
)
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
    "relobralo_fast": (*METHODS["relobralo"], "weighting.momentum=0.5", "weighting.memory=0.5"),
    "frozen_mean": (*METHODS["frozen_mean"], "weighting.after=50%"),
    "two_phase": (*METHODS["two_phase"], "weighting.after=50%", *MEASURED),
    "lra": (*METHODS["lra"], "weighting.every=2", *ONE_NUMBER),
    "norm_balance": (*METHODS["norm_balance"], *MEASURED),
    "norm_balance_now": (*METHODS["norm_balance"], "weighting.decay=0", *MEASURED),
}
# Their weights rest on numbers that no log holds: tests/unit/weighting/test_ntk.py trains by hand.
NOT_IN_THE_LOG = ("ntk",)
SCHEDULES = {"all": (), "staged": ("schedule=staged",), "ramp": ("schedule=ramp",)}


def log_of(rows: list[dict[str, str]]) -> Log:
    """Return the log of a run from the rows of its metrics.csv.

    Its losses are those that the weighting saw: under a likelihood with a noise scale the negative
    log-likelihoods.
    """
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


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Assert that two tensors agree to the precision of float32; numbers below 1e-6 count as 0."""
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def replayed() -> list[Any]:
    """Return pairs of a method and a schedule.

    Every method runs without a schedule; those with a replay also with tasks that start late, or
    whose weights rise slowly.
    """
    # These have equal weights, and differ in update, schedule or likelihood.
    equal = [m for m in CASES if m not in REPLAYS and m not in NOT_IN_THE_LOG]
    return [
        *((m, "all") for m in REPLAYS),
        *(
            pytest.param(m, schedule, marks=pytest.mark.long)
            for m in REPLAYS
            for schedule in ("staged", "ramp")
        ),
        *(pytest.param(m, "all", marks=pytest.mark.long) for m in equal),
    ]


@pytest.mark.parametrize("method", options_of("weighting"))
def test_the_objective_of_every_weighting_is_written_down(method: str) -> None:
    """Breaks if a method is added whose weights are not tested against its formula."""
    plain = (
        "fixed@weighting" in (CONF / "weighting" / f"{method}.yaml").read_text()
        or method == "fixed"
    )
    if method in NOT_IN_THE_LOG:
        return
    assert plain != (method in REPLAYS), (
        f"write the objective of {method} into tests/oracles/methods/objectives.py"
    )


@ignore_solver_warnings
@pytest.mark.parametrize(("method", "schedule"), replayed())
def test_the_logged_weights_are_the_slopes_of_the_objective(
    tmp_path: Path, method: str, schedule: str
) -> None:
    """Breaks if a method's weights are not its paper's, or other weights are logged than used."""
    rows = train(tmp_path / "run", *PROBLEM, *CASES[method], *SCHEDULES[schedule])
    log = log_of(rows)
    weights, objective = REPLAYS.get(method, fixed)(log)
    assert_close(column(rows, "weight"), weights * log.active)
    assert_close(column(rows, "loss", total=True), objective)
    if schedule != "all":
        assert log.active[0].count_nonzero() == 1
        assert log.active[-1].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("schedule", long_but(["all"], ["all", "staged"]))
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
    """Breaks if a log-variance has a wrong learning rate, gradient, clock or unit in the log."""
    log = log_of(train(tmp_path / "run", *PROBLEM, *CASES[method], *SCHEDULES[schedule]))
    start = None if lr is None else 0.0
    moved = 0
    for task, kind in enumerate(KINDS):
        adam = Adam(eps=1e-3 if lr is None else 1e-8)
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
            logged_change = log.s[step, task].item() - before.item()
            # A small slope holds rounding of the logged losses.
            assert logged_change == pytest.approx(change, abs=rate / 500)
            moved += abs(logged_change) > rate / 10
    assert moved > 10


@pytest.mark.parametrize("likelihood", ["homoscedastic", "heteroscedastic"])
@pytest.mark.parametrize("method", ["log_sum", "uncertainty_softmax", "dwa"])
def test_under_an_exact_likelihood_the_weights_are_those_of_the_logged_nll(
    tmp_path: Path, method: str, likelihood: str
) -> None:
    """Breaks if a weighting is given the standard losses under an exact likelihood.

    It breaks, too, if the logged negative log-likelihoods are not those that the weighting saw.
    """
    rows = train(tmp_path / "run", *PROBLEM, *CASES[method], f"likelihood={likelihood}")
    log = log_of(rows)
    assert (log.losses > 0).all()
    weights, objective = REPLAYS[method](log)
    assert_close(column(rows, "weight"), weights)
    assert_close(column(rows, "loss", total=True), objective)


def test_the_logged_nll_is_the_density_of_the_logged_loss_and_sigma(tmp_path: Path) -> None:
    """Breaks if a likelihood lacks a constant, uses a wrong sigma, or logs it in a wrong unit."""
    rows = train(tmp_path / "run", *PROBLEM, *CASES["uncertainty_exact"])
    losses, s, nll = column(rows, "loss"), log_of(rows).s[:-1], column(rows, "nll")
    # A step uses the s that the previous step left.
    gaussian = torch.exp(-s[:, 0]) * losses[1:, 0] / 2 + s[:, 0] / 2 + math.log(2 * math.pi) / 2
    laplace = torch.exp(-s[:, 3]) * losses[1:, 3] + s[:, 3] + math.log(2)
    assert_close(nll[1:, 0], gaussian)
    assert_close(nll[1:, 3], laplace)


def test_the_logged_loss_of_a_classification_is_its_likelihood(tmp_path: Path) -> None:
    """Breaks if the logged loss and nll have different temperatures, or are of different steps."""
    rows = train(tmp_path / "run", *PROBLEM, *CASES["uncertainty_exact"])
    losses, nll = column(rows, "loss"), column(rows, "nll")
    assert_close(nll[:, 1], losses[:, 1])
    # The likelihood is summed over the two labels, the loss is their mean.
    assert_close(nll[:, 2], 2 * losses[:, 2])
