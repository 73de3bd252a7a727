"""The weights that a search has found, as one of the fixed weights of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mtl_runner.errors import ConfigError
from mtl_runner.study.search.result import searched_candidate
from mtl_runner.study.search.space import NAME

TASKS = ["depth", "my label"]


def write_search(folder: Path, jobs: Any, weights: Any = None) -> Path:
    """Write what a search leaves, with the config of its second trial."""
    (folder / "1_toy" / ".hydra").mkdir(parents=True)
    config = {"weighting": {"weights": weights or {"depth": 0.5, "my label": 1.5}}}
    OmegaConf.save(OmegaConf.create(config), folder / "1_toy" / ".hydra" / "config.yaml")
    (folder / "study.json").write_text(json.dumps({"version": 1, "jobs": jobs}))
    return folder


def trial(*, final: bool) -> dict[str, Any]:
    """Return the row of a trial."""
    return {"strategy": NAME, "role": "fixed", "final": final, "lr": 0.1, "seed": 0}


def test_the_best_trials_weights_are_a_candidate(tmp_path: Path) -> None:
    """Breaks if a study gets the weights of another trial, or as a strategy."""
    jobs = {"0_toy": trial(final=False), "1_toy": trial(final=True)}
    candidate = searched_candidate(write_search(tmp_path, jobs), TASKS)
    assert candidate.role == "fixed"
    assert candidate.name == "fixed (search) depth=0.5 my label=1.5"
    assert candidate.overrides == (
        "weighting=fixed",
        "weighting.weights={depth: 0.5, my label: 1.5}",
    )


@pytest.mark.parametrize(
    "jobs",
    [
        {"0_toy": trial(final=False)},
        {"1_toy": trial(final=True) | {"strategy": "fixed"}},
        {"1_toy": "damaged"},
        None,
    ],
    ids=["no best trial", "a study", "a row that is none", "no rows"],
)
def test_what_is_no_search_is_refused(tmp_path: Path, jobs: Any) -> None:
    """Breaks if a directory that found no weights ends in a traceback."""
    with pytest.raises(ConfigError) as error:
        searched_candidate(write_search(tmp_path, jobs), TASKS)
    assert str(error.value) == (
        f"study.search='{tmp_path}' holds no search that has found weights; give the directory of one, as mtl-run -m +search=optuna makes it."
    )


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Breaks if a misspelt directory is taken for no search at all."""
    with pytest.raises(ConfigError, match="holds no search that has found weights"):
        searched_candidate(tmp_path / "nowhere", TASKS)


def test_weights_of_other_tasks_are_refused(tmp_path: Path) -> None:
    """Breaks if a study tries weights of another problem."""
    folder = write_search(tmp_path, {"1_toy": trial(final=True)})
    with pytest.raises(ConfigError) as error:
        searched_candidate(folder, ["depth", "normal"])
    assert str(error.value) == (
        f"study.search='{tmp_path}' has weights of depth, my label, but the tasks of this study are depth, normal."
    )
