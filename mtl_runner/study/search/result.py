"""The weights that a search has found, for the studies that come after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mtl_runner.errors import ConfigError
from mtl_runner.results.records.reading import UnreadableError, read_json
from mtl_runner.runs.records import read_config
from mtl_runner.study.plan import Candidate
from mtl_runner.study.search.space import NAME
from mtl_runner.study.weights import fixed_candidate


def searched_candidate(directory: Path, tasks: Sequence[str]) -> Candidate:
    """Return the weights of a search's best trial, as one of a study's fixed weights.

    Args:
        directory: The directory of the search.
        tasks: The names of the study's tasks.

    Raises:
        ConfigError: If there is no search with a best trial, or it weighs other tasks.
        RunDirectoryError: If the config of the best trial cannot be read.
    """
    option = f"study.search={str(directory)!r}"
    try:
        jobs: Any = read_json(directory / "study.json").get("jobs")
    except (OSError, UnreadableError):
        jobs = None
    best = [
        name
        for name, job in (jobs.items() if isinstance(jobs, dict) else ())
        if isinstance(job, dict) and job.get("strategy") == NAME and job.get("final") is True
    ]
    if not best:
        raise ConfigError(
            f"{option} holds no search that has found weights; give the directory of one, as mtl-run -m +search=optuna makes it."
        )
    config = read_config(directory / Path(best[0]).name)
    weights: Any = OmegaConf.to_container(config.weighting.weights)
    if not isinstance(weights, dict) or set(weights) != set(tasks):
        names = ", ".join(map(str, weights)) if isinstance(weights, dict) else repr(weights)
        raise ConfigError(
            f"{option} has weights of {names}, but the tasks of this study are {', '.join(tasks)}."
        )
    return fixed_candidate(NAME, {task: float(weights[task]) for task in tasks})
