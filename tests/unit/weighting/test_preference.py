"""STCH, PBI and COSMOS: their objectives, preferences by name, and idle tasks."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.weighting import COSMOS, PBI, STCH, Weighting
from tests.support.builders import (
    QUICK,
    assert_near,
    assert_same_bits,
    make_tasks,
    only_active,
)

scalarization = pytest.importorskip("torchjd.scalarization")

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
KINDS: dict[str, Callable[..., Weighting]] = {"stch": STCH, "pbi": PBI, "cosmos": COSMOS}
kind_is = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
positive = st.lists(st.floats(0.05, 5), min_size=3, max_size=3)
preferences = st.lists(st.floats(0.1, 10), min_size=3, max_size=3)


def by_name(values: Sequence[float]) -> dict[str, float]:
    """Return a value per task's name."""
    return dict(zip("abc", values, strict=True))


def weigh_by(
    objective: Callable[[Tensor], Tensor], losses: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return weights and objective of a function of the losses, by autograd."""
    values = torch.tensor(losses, requires_grad=True)
    value = objective(values)
    return torch.autograd.grad(value, values)[0], value.detach()


# The published objectives, and TorchJD's


@QUICK
@given(losses=positive, raw=preferences, mu=st.floats(0.05, 2))
def test_stch_is_a_smooth_maximum(losses: list[float], raw: list[float], mu: float) -> None:
    """Breaks if the objective is not mu log sum exp(lambda (L - z) / mu)."""
    preference, ideal = torch.tensor(raw) / sum(raw), torch.tensor([0.01, -0.2, 0.0])
    weighting = STCH(TASKS, mu=mu, weights=by_name(raw), reference={"a": 0.01, "b": -0.2})
    expected = weigh_by(lambda f: mu * (preference * (f - ideal) / mu).exp().sum().log(), losses)
    assert_near(weighting.weigh(torch.tensor(losses)), expected, 1e-12)
    same = scalarization.STCH(mu, preference, ideal)
    assert_near(weighting.weigh(torch.tensor(losses)), weigh_by(same, losses), 1e-14)


@QUICK
@given(losses=positive, raw=preferences, theta=st.floats(0, 10))
def test_pbi_is_the_way_along_the_preference_and_a_penalty_away_from_it(
    losses: list[float], raw: list[float], theta: float
) -> None:
    """Breaks if the objective is not d1 + theta d2."""
    ideal = torch.tensor([0.01, -0.2, 0.0])
    direction = torch.tensor(raw) / torch.tensor(raw).norm()
    away = torch.tensor(losses) - ideal
    assume((away - away.dot(direction) * direction).norm() > 1e-2)  # not in the kink
    weighting = PBI(TASKS, theta=theta, weights=by_name(raw), reference={"a": 0.01, "b": -0.2})

    def objective(f: Tensor) -> Tensor:
        along = (f - ideal).dot(direction)
        return along + theta * (f - ideal - along * direction).norm()

    # TorchJD rounds the kink off by 1e-12.
    assert_near(weighting.weigh(torch.tensor(losses)), weigh_by(objective, losses), 1e-6)
    same = scalarization.PBI(theta, torch.tensor(raw), ideal)
    assert_near(weighting.weigh(torch.tensor(losses)), weigh_by(same, losses), 1e-12)


@QUICK
@given(losses=positive, raw=preferences, penalty=st.floats(0, 8))
def test_cosmos_is_a_weighted_sum_less_the_cosine(
    losses: list[float], raw: list[float], penalty: float
) -> None:
    """Breaks if the objective is not r L - lambda cos(r, L)."""
    preference = torch.tensor(raw) / sum(raw)
    weighting = COSMOS(TASKS, penalty=penalty, weights=by_name(raw))
    expected = weigh_by(
        lambda f: preference.dot(f) - penalty * preference.dot(f) / (preference.norm() * f.norm()),
        losses,
    )
    assert_near(weighting.weigh(torch.tensor(losses)), expected, 1e-11)
    same = scalarization.COSMOS(penalty, preference)
    assert_near(weighting.weigh(torch.tensor(losses)), weigh_by(same, losses), 1e-13)


@pytest.mark.parametrize(
    ("weighting", "same"),
    [
        (STCH, partial(scalarization.STCH, 0.1)),
        (PBI, partial(scalarization.PBI, 5.0)),
        (COSMOS, partial(scalarization.COSMOS, 1.0)),
    ],
    ids=KINDS,
)
def test_the_defaults_are_as_documented_and_prefer_no_task(
    weighting: type[Weighting], same: Callable[..., nn.Module]
) -> None:
    """Breaks if a documented default is not the code's, or equal preferences do not sum to 1."""
    losses = [0.5, 1.5, 1.0]
    expected = weigh_by(same(weights=torch.full((3,), 1 / 3)), losses)
    assert_near(weighting(TASKS).weigh(torch.tensor(losses)), expected, 1e-14)


@kind_is
@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e6])
def test_the_scale_of_the_preference_does_not_matter(
    kind: Callable[..., Weighting], factor: float
) -> None:
    """Breaks if weights (2, 1) and (200, 100) differ, in preference or in the size of the step."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    preference = {"a": 2.0, "b": 1.0, "c": 0.5}
    scaled = {name: factor * value for name, value in preference.items()}
    assert_near(
        kind(TASKS, weights=scaled).weigh(losses),
        kind(TASKS, weights=preference).weigh(losses),
        1e-13,
    )


@kind_is
def test_missing_tasks_are_preferred_by_one(kind: Callable[..., Weighting]) -> None:
    """Breaks if a task that is not named is left out, or a number is not taken for all."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    named = kind(TASKS, weights={"a": 3.0, "b": 1.0, "c": 1.0})
    assert_same_bits(kind(TASKS, weights={"a": 3.0}).weigh(losses), named.weigh(losses))
    assert_same_bits(kind(TASKS, weights=4).weigh(losses), kind(TASKS).weigh(losses))


@pytest.mark.parametrize("kind", [STCH, PBI])
def test_one_ideal_for_all_is_a_shift_of_the_losses(kind: Callable[..., Weighting]) -> None:
    """Breaks if the ideal point is added, scaled, or ignored."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    preference = {"a": 2.0, "b": 1.0, "c": 0.5}
    shifted = kind(TASKS, weights=preference, reference=0.25).weigh(losses)
    assert_near(shifted, kind(TASKS, weights=preference).weigh(losses - 0.25), 1e-14)
    assert not torch.allclose(shifted[1], kind(TASKS, weights=preference).weigh(losses)[1])
    assert_same_bits(
        kind(TASKS, reference=None).weigh(losses), kind(TASKS, reference=0.0).weigh(losses)
    )


def test_a_small_mu_is_the_maximum_and_a_large_one_the_mean() -> None:
    """Breaks if the smoothness is turned round."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    weights, objective = STCH(TASKS, mu=1e-3).weigh(losses)
    assert_near(weights, torch.tensor([0.0, 1 / 3, 0.0]), 1e-12)
    assert objective.item() == pytest.approx(0.5)
    assert_near(STCH(TASKS, mu=1e6).weigh(losses)[0], torch.full((3,), 1 / 9), 1e-6)


def test_a_task_far_ahead_of_the_preference_is_held_back_by_pbi() -> None:
    """Breaks if the documented negative weight is clipped away."""
    weights, _ = PBI(TASKS[:2], theta=5.0).weigh(torch.tensor([1.0, 0.1]))
    assert_near(weights, torch.tensor([6.0, -4.0]) / math.sqrt(2), 1e-9)


# The form of the published multi-task code of STCH


def published(losses: Tensor, nadir: Tensor, mu: float) -> Tensor:
    """Return the objective of the authors' LibMTL/weighting/STCH.py after its warm-up."""
    logarithms = torch.log(losses / nadir + 1e-20)
    reduced = logarithms - logarithms.max().detach()
    return mu * torch.log(torch.exp(reduced / mu).sum()) * len(losses)


@QUICK
@given(losses=positive, nadirs=positive, mu=st.floats(0.05, 2))
def test_log_nadir_has_the_slopes_of_the_published_code(
    losses: list[float], nadirs: list[float], mu: float
) -> None:
    """Breaks if the objective is not k mu log sum exp(log(L / nadir) / mu)."""
    weighting = STCH(TASKS, mu=mu, form="log_nadir", nadir=by_name(nadirs))
    weights, objective = weighting.weigh(torch.tensor(losses))
    slopes, value = weigh_by(partial(published, nadir=torch.tensor(nadirs), mu=mu), losses)
    assert_near(weights, slopes, 1e-12)
    # The authors leave out the largest logarithm, a constant to their gradient.
    largest = max(math.log(a / b) for a, b in zip(losses, nadirs, strict=True))
    assert_near(objective, value + 3 * largest, 1e-12)


def test_log_nadir_gives_a_small_loss_its_share() -> None:
    """Breaks if at losses 1 : 100, each at its nadir, the small task gets nothing."""
    losses = torch.tensor([1.0, 100.0])
    weights, _ = STCH(TASKS[:2], form="log_nadir", nadir={"a": 1.0, "b": 100.0}).weigh(losses)
    assert_near(weights * losses, torch.tensor([1.0, 1.0]), 1e-12)
    plain, _ = STCH(TASKS[:2]).weigh(losses)
    assert plain[0] < 1e-100


def test_log_nadir_prefers_by_the_weights() -> None:
    """Breaks if the preference has no effect, or its scale has one."""
    losses = torch.tensor([0.5, 1.5, 1.0])
    options = {"form": "log_nadir", "nadir": 2.0, "mu": 0.5}
    weights, _ = STCH(TASKS, weights={"a": 2.0, "b": 1.0, "c": 1.0}, **options).weigh(losses)
    preference = torch.tensor([1.5, 0.75, 0.75])
    slopes, _ = weigh_by(
        lambda f: 3 * 0.5 * torch.logsumexp(preference * torch.log(f / 2) / 0.5, 0), losses.tolist()
    )
    assert_near(weights, slopes, 1e-12)
    scaled, _ = STCH(TASKS, weights={"a": 20.0, "b": 10.0, "c": 10.0}, **options).weigh(losses)
    assert_near(scaled, weights, 1e-13)


def test_the_nadir_is_the_mean_loss_of_the_last_epoch_of_the_warm_up() -> None:
    """Breaks if the warm-up has another objective or length, or the nadir is of another epoch."""
    weighting = STCH(TASKS, mu=1.0, form="log_nadir", warmup_epochs=2)
    epochs = [[[8.0, 3.0, 1.0], [7.0, 2.0, 1.0]], [[6.0, 2.0, 0.5], [2.0, 4.0, 0.5]]]
    for epoch in epochs:
        weighting.begin_epoch()
        for losses in epoch:
            weights, objective = weighting.weigh(torch.tensor(losses))
            assert_near(weights, 1 / torch.tensor(losses), 1e-14)
            assert_near(objective, torch.tensor(losses).log().sum(), 1e-14)
    weighting.begin_epoch()
    fixed = STCH(TASKS, mu=1.0, form="log_nadir", nadir={"a": 4.0, "b": 3.0, "c": 0.5})
    for losses in ([1.0, 2.0, 0.1], [3.0, 0.2, 0.4]):
        for _ in range(2):  # and later epochs do not move it
            expected = fixed.weigh(torch.tensor(losses))
            assert_near(weighting.weigh(torch.tensor(losses)), expected, 1e-14)
            weighting.begin_epoch()


def test_looking_at_the_weights_leaves_the_nadir_alone() -> None:
    """Breaks if losses that are only looked at, in evaluation mode, count for the nadir."""
    weighting = STCH(TASKS, form="log_nadir", warmup_epochs=1)
    weighting.begin_epoch()
    weighting.weigh(torch.tensor([1.0, 2.0, 3.0]))
    weighting.eval()
    weighting.weigh(torch.tensor([100.0, 100.0, 100.0]))
    weighting.begin_epoch()
    assert_same_bits(weighting.measured_nadir, torch.tensor([1.0, 2.0, 3.0]))


def test_a_task_that_starts_late_has_a_warm_up_of_its_own() -> None:
    """Breaks if a late task has no nadir, or an idle epoch counts for its warm-up."""
    weighting = STCH(TASKS, form="log_nadir", warmup_epochs=1)
    weighting.begin_epoch()
    weighting.weigh(torch.tensor([4.0, 2.0, 0.0]), only_active(0, 1))
    weighting.begin_epoch()
    weights, _ = weighting.weigh(torch.tensor([4.0, 2.0, 0.0]), only_active(0, 1))
    assert_near(weights, torch.tensor([0.25, 0.5, 0.0]), 1e-14)  # both at their nadirs
    weighting.begin_epoch()
    weights, _ = weighting.weigh(torch.tensor([0.4, 2.0, 5.0]))
    assert_near(weights, 1 / torch.tensor([0.4, 2.0, 5.0]), 1e-14)  # c warms up
    weighting.begin_epoch()
    assert_same_bits(weighting.measured_nadir, torch.tensor([4.0, 2.0, 5.0]))


def test_a_resumed_run_has_the_same_nadir() -> None:
    """Breaks if the nadir, or an epoch that is half over, is not in the checkpoint."""
    weighting, twin = (STCH(TASKS, form="log_nadir", warmup_epochs=1) for _ in range(2))
    weighting.begin_epoch()
    weighting.weigh(torch.tensor([1.0, 2.0, 3.0]))
    twin.load_state_dict(weighting.state_dict())
    for half_done in (weighting, twin):
        half_done.weigh(torch.tensor([3.0, 5.0, 3.5]))
        half_done.begin_epoch()
    losses = torch.tensor([1.0, 1.0, 1.0])
    assert_same_bits(twin.weigh(losses), weighting.weigh(losses))
    assert_same_bits(twin.measured_nadir, torch.tensor([2.0, 3.5, 3.25]))


def test_the_plain_form_has_no_state() -> None:
    """Breaks if the checkpoint of the plain form changes, which keeps nothing."""
    assert set(STCH(TASKS).state_dict()) == {"preference", "ideal"}


# Idle tasks


@kind_is
@pytest.mark.parametrize("active", [(0, 2), (1,), (1, 2)])
def test_the_active_tasks_keep_their_own_preference_and_ideal(
    kind: Callable[..., Weighting], active: tuple[int, ...]
) -> None:
    """Breaks if one task's numbers are used for another, or an idle task's enter the sum."""
    preference, ideal = {"a": 2.0, "b": 1.0, "c": 0.5}, {"a": 0.1, "b": 0.3, "c": -0.2}
    options = {} if kind is COSMOS else {"reference": ideal}
    weighting = kind(TASKS, weights=preference, **options)
    losses = torch.tensor([0.5, 1.5, 1.0])
    for earlier in (
        None,
        only_active(0, 1),
        only_active(0),
    ):  # what is made for them must not be used for these
        weighting.weigh(losses, earlier)
    weights, objective = weighting.weigh(losses, only_active(*active))
    names = ["abc"[i] for i in active]
    chosen = {} if kind is COSMOS else {"reference": {name: ideal[name] for name in names}}
    part = kind(
        [TASKS[i] for i in active], weights={name: preference[name] for name in names}, **chosen
    )
    alone, expected = part.weigh(losses[list(active)])
    assert_same_bits(weights[list(active)], alone)
    assert_same_bits(objective, expected)
    assert all(weights[i] == 0 for i in range(3) if i not in active)
    assert_same_bits(
        weighting.weigh(losses), kind(TASKS, weights=preference, **options).weigh(losses)
    )


@kind_is
def test_a_preference_of_zero_for_all_active_tasks_is_refused(
    kind: Callable[..., Weighting],
) -> None:
    """Breaks if a stage of tasks without a preference silently trains nothing, or ends in NaN."""
    weighting = kind(TASKS, weights={"a": 1.0, "b": 0.0, "c": 0.0})
    weighting.weigh(torch.tensor([0.5, 1.5, 1.0]))
    words = (
        r"weighting\.weights are 0 for all active tasks \(b, c\); give one of them a preference\."
    )
    with pytest.raises(ConfigError, match=words):
        weighting.weigh(torch.tensor([0.5, 1.5, 1.0]), active=only_active(1, 2))


# What is refused


@kind_is
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"weights": {"y": 1.0}},
            r"weighting\.weights names the unknown task 'y'; allowed: a, b, c\.",
        ),
        ({"weights": {"a": "much"}}, r"weighting\.weights\.a must be a number; found 'much'\."),
        (
            {"weights": "auto"},
            r"weighting\.weights must be a number or \{task: number\}; found 'auto'\.",
        ),
        (
            {"weights": {"a": -1.0}},
            r"weighting\.weights must be finite, not negative and not all 0; found \[-1\.0, 1\.0, 1\.0\]\.",
        ),
        (
            {"weights": 0},
            r"weighting\.weights must be finite, not negative and not all 0; found \[0\.0, 0\.0, 0\.0\]\.",
        ),
        (
            {"weights": math.inf},
            r"weighting\.weights must be finite, not negative and not all 0; found \[inf",
        ),
        (
            {"weights": math.nan},
            r"weighting\.weights must be finite, not negative and not all 0; found \[nan",
        ),
    ],
)
def test_preferences_that_make_no_sense_are_refused(
    kind: Callable[..., Weighting], options: dict[str, Any], words: str
) -> None:
    """Breaks if a typo in a preference trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        kind(TASKS, **options)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (STCH, {"mu": 0.0}, r"weighting\.mu must be a positive number; found 0\.0\."),
        (STCH, {"mu": -1}, r"weighting\.mu must be a positive number; found -1\."),
        (STCH, {"mu": "soft"}, r"weighting\.mu must be a positive number; found 'soft'\."),
        (STCH, {"mu": math.inf}, r"weighting\.mu must be a positive number; found inf\."),
        (
            STCH,
            {"reference": {"y": 0}},
            r"weighting\.reference names the unknown task 'y'; allowed: a, b, c\.",
        ),
        (STCH, {"form": "log"}, r"weighting\.form='log' is unknown; allowed: plain, log_nadir\."),
        (
            STCH,
            {"form": "log_nadir", "nadir": {"a": 0.0}},
            r"weighting\.nadir must be positive and finite; found \[0\.0, 1\.0, 1\.0\]\.",
        ),
        (
            STCH,
            {"form": "log_nadir", "nadir": {"y": 1.0}},
            r"weighting\.nadir names the unknown task 'y'; allowed: a, b, c\.",
        ),
        (
            STCH,
            {"nadir": 1.0},
            r"weighting\.nadir belongs to weighting\.form=log_nadir; with form=plain the losses are compared as they are\.",
        ),
        (
            STCH,
            {"form": "log_nadir", "reference": 1.0},
            r"weighting\.reference belongs to weighting\.form=plain; form=log_nadir compares the losses with weighting\.nadir\.",
        ),
        (
            STCH,
            {"warmup_epochs": 0},
            r"weighting\.warmup_epochs must be a whole number of at least 1; found 0\.",
        ),
        (
            PBI,
            {"reference": "ideal"},
            r"weighting\.reference must be a number or \{task: number\}; found 'ideal'\.",
        ),
        (PBI, {"theta": -1}, r"weighting\.theta must be a number of at least 0; found -1\."),
        (PBI, {"theta": math.nan}, r"weighting\.theta must be a number of at least 0; found nan\."),
        (PBI, {"theta": math.inf}, r"weighting\.theta must be a number of at least 0; found inf\."),
        (PBI, {"theta": True}, r"weighting\.theta must be a number of at least 0; found True\."),
        (PBI, {"theta": None}, r"weighting\.theta must be a number of at least 0; found None\."),
        (
            COSMOS,
            {"penalty": -0.5},
            r"weighting\.penalty must be a number of at least 0; found -0\.5\.",
        ),
        (
            COSMOS,
            {"penalty": math.nan},
            r"weighting\.penalty must be a number of at least 0; found nan\.",
        ),
        (
            COSMOS,
            {"penalty": math.inf},
            r"weighting\.penalty must be a number of at least 0; found inf\.",
        ),
        (
            COSMOS,
            {"penalty": "8"},
            r"weighting\.penalty must be a number of at least 0; found '8'\.",
        ),
        (
            COSMOS,
            {"penalty": False},
            r"weighting\.penalty must be a number of at least 0; found False\.",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    kind: Callable[..., Weighting], options: dict[str, Any], words: str
) -> None:
    """Breaks if a typo trains something else without a word, or ends in TorchJD's own words."""
    with pytest.raises(ConfigError, match=words):
        kind(TASKS, **options)


@pytest.mark.parametrize(("kind", "options"), [(PBI, {"theta": 0}), (COSMOS, {"penalty": 0})])
def test_a_penalty_of_zero_is_a_weighted_sum(
    kind: Callable[..., Weighting], options: dict[str, Any]
) -> None:
    """Breaks if 0 is refused, or something is left of the penalty."""
    weighting = kind(TASKS, weights={"a": 2.0}, **options)
    weights = [
        weighting.weigh(torch.tensor(losses))[0] for losses in ([1.0, 2.0, 3.0], [0.1, 7.0, 0.2])
    ]
    assert_near(weights[0], weights[1], 1e-14)
    assert_near(weights[0] / weights[0].sum(), torch.tensor([0.5, 0.25, 0.25]), 1e-14)


@pytest.mark.parametrize(("kind", "name"), [(STCH, "stch"), (PBI, "pbi"), (COSMOS, "cosmos")])
def test_without_torchjd_the_line_that_installs_it_is_named(
    kind: Callable[..., Weighting], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a missing extra ends in an ImportError."""
    monkeypatch.setitem(sys.modules, "torchjd", None)  # as if it were not installed
    with pytest.raises(
        ConfigError,
        match=rf"weighting={name} needs TorchJD; install it with: pip install 'mtl-runner\[torchjd\]'",
    ):
        kind(TASKS).weigh(torch.ones(3))
