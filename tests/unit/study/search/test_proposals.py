"""The next trials of a search, as Optuna proposes them."""

from __future__ import annotations

import math
import sys
from statistics import median

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.study.search.proposals import propose

RANGES = {"lr": (1e-4, 1.0), "weight of b": (0.01, 100.0)}
Results = list[tuple[dict[str, float], float]]


def distance(point: dict[str, float]) -> float:
    """Return how far settings are from the best ones, in factors of ten, squared."""
    return math.log10(point["lr"] / 0.03) ** 2 + math.log10(point["weight of b"] / 0.1) ** 2


def searched(trials: int, batch: int, seed: int = 0) -> Results:
    """Return the trials of a search for the least distance."""
    results: Results = []
    while len(results) < trials:
        results += [(p, distance(p)) for p in propose(RANGES, results, [], batch, seed)]
    return results


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a user learns of a missing package by a traceback."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    sentence = r"^\+search=optuna needs optuna, which is not installed; install it with: pip install 'mtl-runner\[optuna\]'\.$"
    with pytest.raises(ConfigError, match=sentence):
        propose(RANGES, [], [], 1, 0)


@pytest.mark.extras
class TestWithOptuna:
    """The proposals of the installed Optuna."""

    @pytest.fixture(autouse=True)
    def _optuna(self) -> None:
        pytest.importorskip("optuna", reason="it makes the proposals")

    def test_later_trials_are_nearer_to_the_best_settings(self) -> None:
        """Breaks if Optuna is told nothing, or something wrong, and searches at random."""
        monitors = [monitor for _, monitor in searched(48, 8)]
        assert median(monitors[-16:]) < 0.5 * median(monitors[:16])
        assert min(monitors) < 0.1

    def test_the_same_results_give_the_same_proposals(self) -> None:
        """Breaks if a search that goes on is another one than a search without a stop."""
        results = searched(16, 4)
        assert propose(RANGES, results, [], 4, 0) == propose(RANGES, results, [], 4, 0)
        assert propose(RANGES, results, [], 4, 0)[:2] == propose(RANGES, results, [], 2, 0)
        assert propose(RANGES, results, [], 4, 0) != propose(RANGES, results, [], 4, 1)

    def test_proposals_of_a_batch_differ_and_lie_in_the_ranges(self) -> None:
        """Breaks if a batch trains one setting several times."""
        points = propose(RANGES, searched(16, 8), [], 8, 0)
        assert len({tuple(point.values()) for point in points}) == 8
        for point in points:
            assert all(low <= point[name] <= high for name, (low, high) in RANGES.items())

    def test_first_points_come_first(self) -> None:
        """Breaks if a search forgets what it is to begin with, or begins twice."""
        first = [{"lr": 0.5, "weight of b": 1.0}, {"lr": 0.25, "weight of b": 2.0}]
        assert propose(RANGES, [], first, 3, 0)[:2] == first
        assert propose(RANGES, [(first[0], 1.0)], first, 2, 0)[0] == first[1]
        assert first[1] not in propose(RANGES, [(p, 1.0) for p in first], first, 2, 0)

    def test_a_trial_that_failed_is_avoided(self) -> None:
        """Breaks if learning rates at which every run diverges are tried again and again."""
        results: Results = []
        while len(results) < 48:
            points = propose(RANGES, results, [], 8, 0)
            results += [(p, math.inf if p["lr"] > 0.1 else distance(p)) for p in points]
        failed = [math.isinf(monitor) for _, monitor in results]
        assert sum(failed[-16:]) < sum(failed[:16])

    def test_optuna_itself_is_left_as_it_was(self) -> None:
        """Breaks if a program that uses Optuna, too, no longer sees its lines."""
        import optuna

        before = optuna.logging.get_verbosity()
        propose(RANGES, [], [], 1, 0)
        assert optuna.logging.get_verbosity() == before

    def test_trials_that_were_given_up_rank_behind_those_that_came_to_their_end(self) -> None:
        """Breaks if a low monitor of a trial that was cut off draws the search to its settings."""
        results = searched(24, 8)
        best = min(range(24), key=lambda number: results[number][1])
        worst = max(range(24), key=lambda number: results[number][1])
        without = propose(RANGES, results, [], 8, 0)
        assert propose(RANGES, results, [], 8, 0, {worst: 3}) == without
        assert propose(RANGES, results, [], 8, 0, {best: 3}) != without
