"""Which part each run plays in a comparison: read from the study that made it, or inferred from its options."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtl_runner.results.read import Run
from mtl_runner.results.strategies import Label, label

# A run is plain if these are so; a run that departs from them is a strategy, whatever its weights.
PLAIN = {"update": "joint", "schedule": "all", "likelihood": "standard"}


@dataclass(frozen=True)
class RunRole:
    """One run and its part."""

    run: Run
    data: str
    strategy: str
    replicate: str
    role: str  # single_task | equal | fixed | strategy | twin
    of: str = ""
    final: bool = True  # evidence; else a run that chose settings
    trial: str = ""  # tells the settings of runs apart that are not final
    rate: float = math.nan  # learning rate, where the study or the run's options name it
    study: str = ""  # the folder of the study that made the run, empty without one
    phase: int | None = None  # of the study: 1 tries the regular grid of learning rates


def read_study(runs: Sequence[Run]) -> dict[str, Any] | None:
    """What the ``study.json`` beside the runs say.

    Returns:
        ``jobs``: ``{resolved run directory: what the study says of it}``, of all studies together, and ``studies``:
        ``{resolved folder: its margin (or None) and notes}``. None if there is no study, or none that can be read.
    """
    jobs: dict[str, Any] = {}
    studies: dict[str, Any] = {}
    for folder in _folders(runs):
        if (study := _read(folder)) is not None:
            jobs |= {str(folder / name): job for name, job in study["jobs"].items()}
            studies[str(folder)] = {"margin": study["margin"], "notes": study["notes"]}
    return {"jobs": jobs, "studies": studies} if studies else None


def without_study(runs: Sequence[Run]) -> list[Path]:
    """Folders that a study made, as Hydra's own record tells, but whose ``study.json`` is gone or not readable."""
    return [folder for folder in _folders(runs) if _made_by_study(folder) and _read(folder) is None]


def jobs(
    runs: Sequence[Run], labels: Sequence[Label], study: Mapping[str, Any] | None
) -> list[RunRole]:
    """Every run's part, by the study where it names the run's directory, else inferred.

    Runs of different studies are never put together, whatever they are called: each study is a data set of its own then.
    """
    recorded, studies = (study or {}).get("jobs", {}), (study or {}).get("studies", {})
    plain = _plain_runs(runs)
    labels = _labels_apart(runs, labels, studies) if len(studies) > 1 else labels
    found = []
    for run, where in zip(runs, labels, strict=True):
        row = recorded.get(str(run.directory.resolve()))
        home = str(run.directory.resolve().parent)
        home = home if home in studies else ""
        rate = _number(run.overrides.get("optimizer.lr"))
        if row is None:
            role = infer_role(run, run.directory in plain)
            found.append(
                RunRole(
                    run, where.data, where.strategy, where.replicate, role, rate=rate, study=home
                )
            )
        else:
            name, of, final = (
                str(row["strategy"]),
                row.get("of") or "",
                bool(row.get("final", True)),
            )
            rate = _number(row["lr"]) if row.get("lr") is not None else rate
            job = RunRole(
                run,
                where.data,
                name,
                where.replicate,
                row["role"],
                of,
                final,
                where.strategy,
                rate,
                home,
                row.get("phase"),
            )
            found.append(job)
    data = {
        folder: _data_of_single_tasks([job for job in found if job.study == folder])
        for folder in studies
    }
    found = [
        replace(job, data=data.get(job.study) or job.data) if job.role == "single_task" else job
        for job in found
    ]
    if len(studies) < 2:
        return found
    names = short_names(studies)
    return [
        replace(job, data=f"{job.data} ({names[job.study]})") if job.study else job for job in found
    ]


def short_names(folders: Iterable[str]) -> dict[str, str]:
    """Each folder by its last parts, as many as tell it from the others."""
    parts = {folder: Path(folder).parts for folder in folders}
    for count in range(1, max(map(len, parts.values()), default=1)):
        names = {folder: "/".join(each[-count:]) for folder, each in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {folder: folder for folder in parts}


def _labels_apart(
    runs: Sequence[Run], labels: Sequence[Label], studies: Mapping[str, Any]
) -> list[Label]:
    """Labels of what varies within each study: what varies between studies tells none of their runs apart."""
    homes = [str(run.directory.resolve().parent) for run in runs]
    found = list(labels)
    for folder in studies:
        mine = [i for i, home in enumerate(homes) if home == folder]
        for i, where in zip(mine, label([runs[i] for i in mine]), strict=True):
            found[i] = where
    return found


def _data_of_single_tasks(mine: Sequence[RunRole]) -> str:
    """The data set of a study: it may train each task alone by ``data.tasks=[y1]``, which alone would look like another one."""
    others = dict.fromkeys(job.data for job in mine if job.role != "single_task")
    return next(iter(others)) if len(others) == 1 else ""


def infer_role(run: Run, plain: bool = True) -> str:
    """``single_task``, ``equal``, ``fixed`` or ``strategy`` from the options of a run."""
    weighting = run.choices.get("weighting") or run.overrides.get("weighting")
    if weighting == "single_task":
        return "single_task"
    if weighting != "fixed" or not plain:
        return "strategy"
    return "fixed" if any(key.startswith("weighting.weights") for key in run.overrides) else "equal"


def _plain_runs(runs: Sequence[Run]) -> set[Path]:
    """Directories of the runs whose other axes are the usual ones, or the same throughout: then they distinguish nothing."""
    common = {
        axis for axis in PLAIN if len({run.choices.get(axis) for run in runs if run.choices}) < 2
    }
    return {
        run.directory
        for run in runs
        if all(a in common or run.choices.get(a, p) == p for a, p in PLAIN.items())
    }


def _folders(runs: Sequence[Run]) -> list[Path]:
    return list(dict.fromkeys(run.directory.resolve().parent for run in runs))


def _read(folder: Path) -> dict[str, Any] | None:
    """The folder's ``study.json`` with ``jobs``, ``margin`` and ``notes``; None if it has none that can be read."""
    try:
        study = json.loads((folder / "study.json").read_text())
        margin = study.get("margin")
        return {
            "jobs": {name: dict(job) for name, job in study["jobs"].items()},
            "margin": None if margin is None else float(margin),
            "notes": [str(note) for note in study.get("notes") or []],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _made_by_study(folder: Path) -> bool:
    try:
        return (
            re.search(r"FairSweeper|\+study=", (folder / "multirun.yaml").read_text()) is not None
        )
    except (OSError, ValueError):
        return False


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
