"""The trials of one candidate: which settings they choose, and which rates come next."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.study.tuning import Trial, Tuning
from tests.support.builders import QUICK


def tuning(*monitors: float, per_decade: int = 1) -> Tuning:
    """Return the trials of learning rates from 1e-4, a step of the grid apart."""
    rates = [1e-4 * 10 ** (place / per_decade) for place in range(len(monitors))]
    return Tuning(per_decade, [Trial(r, (), (m,)) for r, m in zip(rates, monitors, strict=True)])


@pytest.mark.parametrize(
    ("monitors", "edge", "following"),
    [
        ((0.3, 0.2, 0.4), 0, 10**-3.5),
        ((0.4, 0.2, 0.3), 0, 10**-2.5),
        ((0.2, 0.3, 0.4), -1, 1e-5),
        ((0.4, 0.3, 0.2), 1, 1e-1),
    ],
)
def test_the_next_rate_lies_outwards_or_between_the_best_two(
    monitors: tuple[float, ...], edge: int, following: float
) -> None:
    """Breaks if a study looks where nothing is to be found."""
    tried = tuning(*monitors)
    assert tried.edge == edge
    assert tried.next_rate() == pytest.approx(following)


def test_a_tuning_in_which_all_failed_has_no_edge() -> None:
    """Breaks if a strategy that cannot train makes all others try more learning rates."""
    assert tuning(math.nan, math.inf, math.nan).edge == 0


@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=9), st.integers(1, 4))
@QUICK
def test_the_last_rates_are_new_and_differ(monitors: list[float], per_decade: int) -> None:
    """Breaks if the last trials repeat others, so that some strategies have fewer of them."""
    tried = tuning(*monitors, per_decade=per_decade)
    first, second = tried.last_rates()
    assert first != pytest.approx(second)
    assert all(
        trial.lr != pytest.approx(rate) for trial in tried.trials for rate in (first, second)
    )


def test_the_settled_rate_stays_half_a_step_below_one_that_scatters() -> None:
    """Breaks if final runs are made where other seeds diverge."""
    tried = tuning(0.4, 0.2, math.inf)
    assert tried.best.lr == pytest.approx(1e-3)
    assert tried.settled.lr == pytest.approx(1e-3 / 10**0.5)
    assert tuning(0.4, 0.2, 0.3).settled.lr == pytest.approx(1e-3)


def test_an_option_that_was_best_is_kept_at_the_smoothed_rate() -> None:
    """Breaks if the best value of a knob is lost where neighbours choose the learning rate."""
    tried = tuning(0.5, 0.2, 0.4)
    tried.trials.append(Trial(1e-3, ("weighting.alpha=3",), (0.1,)))
    assert tried.settled.extra_overrides == ("weighting.alpha=3",)
    assert tried.settled.lr == pytest.approx(1e-3)
