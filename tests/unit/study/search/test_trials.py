"""The trials of a search: which come next, what is recorded, and which is the best one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.files import write_json
from mtl_runner.study.record import StudyRecord
from mtl_runner.study.search import trials
from mtl_runner.study.search.options import SearchOptions
from mtl_runner.study.search.space import Space
from mtl_runner.study.search.trials import Search

WEIGHTS, LR = (0.01, 100.0), (1e-3, 0.1)


def point(place: int) -> dict[str, float]:
    """Return the settings of a trial that a test asks for."""
    return {"lr": 0.01, "weight of b": 1.0 + place}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many results Optuna was told and how many trials it was asked for, each time."""
    calls: list[tuple[int, int]] = []

    def propose(
        ranges: Any, results: Any, first: Any, count: int, seed: int, given_up: Any
    ) -> list[Any]:
        calls.append((len(results), count))
        return [point(len(results) + place) for place in range(count)]

    monkeypatch.setattr(trials, "propose", propose)
    return calls


def search_in(folder: Path, count: int = 10, batch: int = 4) -> Search:
    """Return a search in a directory, before its first trial."""
    space = Space({"a": 1.0, "b": 1.0}, WEIGHTS, LR)
    options = SearchOptions(count, batch, 0, WEIGHTS, LR, prune=True)
    return Search(space, options, 0, StudyRecord(folder, None, "search"))


def train(search: Search, lr: float = 0.01) -> list[int]:
    """Make all trials of a search, of which each is better than the one before.

    Returns:
        The number of trials in each batch.
    """
    sizes = []
    while len(search.monitors) < search.options.trials:
        points = search.next_batch(lr)
        sizes.append(len(points))
        search.monitors += [-p["weight of b"] for p in points]
    return sizes


def test_trials_come_in_batches_and_are_recorded(
    tmp_path: Path, asked: list[tuple[int, int]]
) -> None:
    """Breaks if Optuna is not told of a batch, or a search has more trials than were asked for."""
    search = search_in(tmp_path)
    assert train(search) == [4, 4, 2]
    assert asked == [(0, 4), (4, 4), (8, 2)]
    recorded = json.loads((tmp_path / "search.json").read_text())
    assert recorded["trials"] == [point(place) for place in range(10)]
    # None has left a curve.
    assert recorded["give_up"] == [{}] * 10


def test_a_search_goes_on_with_the_trials_that_were_asked_for(
    tmp_path: Path, asked: list[tuple[int, int]]
) -> None:
    """Breaks if a resumed search asks for other trials, or one that grows leaves some out."""
    train(search_in(tmp_path))
    asked.clear()
    again = search_in(tmp_path, count=13, batch=4)
    again.read_points()
    assert train(again) == [8, 4, 1]
    assert asked == [(8, 4), (12, 1)]
    assert again.points == [point(place) for place in range(13)]


def test_a_shorter_search_takes_the_first_trials(
    tmp_path: Path, asked: list[tuple[int, int]]
) -> None:
    """Breaks if search.trials below the recorded number trains or tells more."""
    train(search_in(tmp_path))
    asked.clear()
    shorter = search_in(tmp_path, count=6)
    shorter.read_points()
    assert train(shorter) == [4, 2]
    assert asked == []


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        {"trials": 3},
        {"trials": [3]},
        {"trials": [{"lr": 9.0, "weight of b": 1.0}]},
        {"trials": [{"lr": 0.01, "weight of c": 1.0}]},
    ],
)
def test_a_record_that_does_not_fit_is_made_anew(
    tmp_path: Path, asked: list[tuple[int, int]], content: Any
) -> None:
    """Breaks if a damaged search.json, or one of other tasks, ends a search in a traceback."""
    if isinstance(content, str):
        (tmp_path / "search.json").write_text(content)
    elif content is not None:
        write_json(tmp_path / "search.json", content)
    search = search_in(tmp_path)
    search.read_points()
    assert search.points == []
    assert search.next_batch(0.01) == [point(place) for place in range(4)]


def test_the_best_trial_is_evidence_and_the_others_are_trials(tmp_path: Path) -> None:
    """Breaks if a comparison shows a trial as a strategy, or one that failed as the best."""
    search = search_in(tmp_path)
    assert search.best is None
    search.points = [point(place) for place in range(3)]
    search.monitors = [math.inf, 0.5, 0.75]
    runs = [search.space.run(settings, 0) for settings in search.points]
    search.record.runs = [(run, f"{place}_run") for place, run in enumerate(runs)]
    search.write()
    assert search.best == 1
    study = json.loads((tmp_path / "study.json").read_text())
    assert [row["final"] for row in study["jobs"].values()] == [False, True, False]
    assert {row["strategy"] for row in study["jobs"].values()} == {"fixed (search)"}
    assert study["notes"][0].startswith("fixed (search) is the best of 3 trials ")
    # Later a better one is found.
    search.monitors[2] = 0.25
    search.write()
    study = json.loads((tmp_path / "study.json").read_text())
    assert [row["final"] for row in study["jobs"].values()] == [False, False, True]


def test_without_a_result_no_trial_is_the_best(tmp_path: Path) -> None:
    """Breaks if a search of which every trial failed names a winner."""
    search = search_in(tmp_path)
    search.monitors = [math.inf, math.inf]
    search.write()
    assert search.best is None
    assert json.loads((tmp_path / "study.json").read_text())["notes"] == []


def test_a_trial_that_was_given_up_is_the_best_only_if_all_were(tmp_path: Path) -> None:
    """Breaks if a lucky value of a trial that was cut off beats one that came to its end."""
    search = search_in(tmp_path)
    search.monitors = [0.5, 0.25, 0.75]
    search.given_up = {1: 10}
    assert search.best == 0
    search.given_up = {0: 10, 1: 10, 2: 10}
    assert search.best == 1


def test_the_limits_of_a_trial_are_those_that_are_recorded(
    tmp_path: Path, asked: list[tuple[int, int]]
) -> None:
    """Breaks if a search that goes on gives other trials up than without the stop."""
    train(search_in(tmp_path))
    content = json.loads((tmp_path / "search.json").read_text())
    content["give_up"][9] = {"25": 0.5, "50": 0.25}
    write_json(tmp_path / "search.json", content)
    again = search_in(tmp_path)
    again.read_points()
    assert again.limits == [{}] * 9 + [{25: 0.5, 50: 0.25}]
    # An earlier version has recorded none; one that is damaged ends the record.
    for change, trials_read in (({"give_up": [{}, {"soon": 1}]}, 1), ({"give_up": 3}, 0)):
        write_json(tmp_path / "search.json", content | change)
        damaged = search_in(tmp_path)
        damaged.read_points()
        assert len(damaged.points) == len(damaged.limits) == trials_read
    del content["give_up"]
    write_json(tmp_path / "search.json", content)
    older = search_in(tmp_path)
    older.read_points()
    assert (len(older.points), older.limits) == (10, [{}] * 10)
