"""The role of each run in a comparison: read from the study that made it, or inferred."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mtl_runner.files import read_regular
from mtl_runner.results.records.labels import Label, label_runs
from mtl_runner.results.records.reading import YAML_BYTES, UnreadableError, read_json
from mtl_runner.results.records.run import Run
from mtl_runner.results.records.summary import as_float

# A run with these choices is plain; a run with other choices is a strategy, whatever its weights.
PLAIN_CHOICES = {"update": "joint", "schedule": "all", "likelihood": "standard"}
VERSION = 1  # of study.json
ROLES = ("single_task", "equal", "fixed", "strategy", "twin")


@dataclass(frozen=True)
class RunRole:
    """One run and its role.

    Attributes:
        run: The run.
        data: The data set that it counts for.
        strategy: The strategy that it counts for.
        replicate: Its seed and fold, ``"seed=3"``.
        role: ``single_task``, ``equal``, ``fixed``, ``strategy`` or ``twin``.
        twin_of: The strategy that a twin belongs to, else empty.
        final: Whether it is evidence; else it is a trial that chose settings.
        trial: Tells the settings of trials apart.
        learning_rate: The learning rate, where the study or the run's options name it.
        study: The folder of the study that made it, empty without one.
        phase: The phase of the study; phase 1 tries the regular grid of learning rates.
        factors: The factors of the study and their levels in this run, such as its optimizer. The
            runs of other levels count for another data set.
        problem: The data set without the levels of factors.
    """

    run: Run
    data: str
    strategy: str
    replicate: str
    role: str
    twin_of: str = ""
    final: bool = True
    trial: str = ""
    learning_rate: float = math.nan
    study: str = ""
    phase: int | None = None
    factors: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class StudyFolder:
    """The settings of one study.

    Attributes:
        margin: The relative difference that is of no interest; None where the study names none.
        notes: Remarks of the study about its own tuning.
        unused: The names of run directories that an earlier, smaller study left behind.
        group_notes: Remarks about the tuning at some levels of the study's factors, by their name.
    """

    margin: float | None
    notes: tuple[str, ...]
    unused: frozenset[str] = frozenset()
    group_notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedStudies:
    """The contents of all ``study.json`` beside some runs.

    Attributes:
        jobs: ``{resolved run directory: the study's entry of it}``.
        folders: ``{resolved folder: its study}``.
    """

    jobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folders: Mapping[str, StudyFolder] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.folders)

    def needed(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs without leftovers of smaller studies, those of a study in its order.

        A study that has grown has made some of its runs later than others.
        """
        places = {directory: place for place, directory in enumerate(self.jobs)}
        ordered = iter(
            sorted(
                (run for run in runs if str(run.directory.resolve()) in places),
                key=lambda run: places[str(run.directory.resolve())],
            )
        )
        return [
            next(ordered) if str(run.directory.resolve()) in places else run
            for run in runs
            if not self._is_left_over(run)
        ]

    def _is_left_over(self, run: Run) -> bool:
        directory = run.directory.resolve()
        folder = self.folders.get(str(directory.parent))
        return (
            folder is not None
            and directory.name in folder.unused
            and str(directory) not in self.jobs
        )


def read_study(runs: Sequence[Run]) -> RecordedStudies:
    """Read the ``study.json`` beside the runs; empty if there is none that can be read."""
    jobs: dict[str, Mapping[str, Any]] = {}
    folders: dict[str, StudyFolder] = {}
    for folder in _folders(runs):
        if (content := _read(folder)) is not None:
            folder_jobs, folders[str(folder)] = content
            jobs |= {str(folder / name): job for name, job in folder_jobs.items()}
    return RecordedStudies(jobs, folders)


def without_study(runs: Sequence[Run]) -> list[Path]:
    """Return the folders that a study made, but whose ``study.json`` is gone or not readable."""
    return [
        folder
        for folder in _folders(runs)
        if (os.path.lexists(folder / "study.json") or _made_by_study(folder))
        and _read(folder) is None
    ]


def assign_roles(
    runs: Sequence[Run], labels: Sequence[Label], study: RecordedStudies
) -> list[RunRole]:
    """Return every run's role: from the study where it lists the run's directory, else inferred.

    Runs of different studies are never pooled, whatever they are called: each study is a data set
    of its own then.
    """
    plain = _plain_runs(runs)
    if len(study.folders) > 1:
        labels = _labels_by_study(runs, labels, study)
    roles = []
    for run, label in zip(runs, labels, strict=True):
        job = study.jobs.get(str(run.directory.resolve()))
        parent = str(run.directory.resolve().parent)
        role = RunRole(
            run,
            label.data,
            label.strategy,
            label.replicate,
            infer_role(run, run.directory in plain),
            learning_rate=as_float(run.overrides.get("optimizer.lr")),
            study=parent if parent in study.folders else "",
        )
        roles.append(role if job is None else _role_of_job(role, job))
    names = {folder: _data_of_study(roles, folder) for folder in study.folders}
    roles = [
        replace(role, data=names.get(role.study) or role.data)
        if role.role == "single_task"
        else role
        for role in roles
    ]
    if len(study.folders) > 1:
        short = short_names(study.folders)
        roles = [
            replace(role, data=f"{role.data} ({short[role.study]})") if role.study else role
            for role in roles
        ]
    return [
        replace(
            role,
            data=", ".join(filter(None, (role.data, group_name(role.factors)))),
            problem=role.data,
        )
        for role in roles
    ]


def group_name(factors: Sequence[tuple[str, str]]) -> str:
    """Return the name of some factors at their levels.

    Example:
        >>> group_name([("optimizer", "sgd"), ("width", "64")])
        'optimizer=sgd, width=64'
    """
    return ", ".join(f"{factor}={level}" for factor, level in factors)


def infer_role(run: Run, plain: bool = True) -> str:
    """Return ``single_task``, ``equal``, ``fixed`` or ``strategy`` from the options of a run."""
    weighting = run.choices.get("weighting") or run.overrides.get("weighting")
    if weighting == "single_task":
        return "single_task"
    if weighting != "fixed" or not plain:
        return "strategy"
    return "fixed" if any(key.startswith("weighting.weights") for key in run.overrides) else "equal"


def short_names(folders: Iterable[str]) -> dict[str, str]:
    """Return each folder's last parts, as many as tell it from the others.

    Example:
        >>> short_names(["/a/x/study", "/a/y/study"])
        {'/a/x/study': 'x/study', '/a/y/study': 'y/study'}
    """
    parts = {folder: Path(folder).parts for folder in folders}
    for count in range(1, max(map(len, parts.values()), default=1)):
        names = {folder: "/".join(split[-count:]) for folder, split in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {folder: folder for folder in parts}


def _role_of_job(role: RunRole, job: Mapping[str, Any]) -> RunRole:
    return replace(
        role,
        strategy=str(job["strategy"]),
        role=job["role"],
        twin_of=job.get("of") or "",
        final=bool(job.get("final", True)),
        trial=role.strategy,
        learning_rate=as_float(job["lr"]) if job.get("lr") is not None else role.learning_rate,
        phase=job.get("phase"),
        factors=tuple((job.get("factors") or {}).items()),
    )


def _labels_by_study(
    runs: Sequence[Run], labels: Sequence[Label], study: RecordedStudies
) -> list[Label]:
    """Label the runs of each study by themselves: what varies between studies is no strategy."""
    parents = [str(run.directory.resolve().parent) for run in runs]
    relabelled = list(labels)
    for folder in study.folders:
        members = [i for i, parent in enumerate(parents) if parent == folder]
        for i, label in zip(members, label_runs([runs[i] for i in members]), strict=True):
            relabelled[i] = label
    return relabelled


def _data_of_study(roles: Sequence[RunRole], folder: str) -> str:
    """Return the data set of a study; its single-task runs (data.tasks=[y1]) name another one."""
    joint = [role for role in roles if role.study == folder and role.role != "single_task"]
    names = dict.fromkeys(role.data for role in joint)
    return next(iter(names)) if len(names) == 1 else ""


def _plain_runs(runs: Sequence[Run]) -> set[Path]:
    """Return the directories of runs whose other axes are plain, or the same in all runs."""
    varying = [
        axis
        for axis in PLAIN_CHOICES
        if len({run.choices.get(axis) for run in runs if run.choices}) > 1
    ]
    return {
        run.directory
        for run in runs
        if all(run.choices.get(a, PLAIN_CHOICES[a]) == PLAIN_CHOICES[a] for a in varying)
    }


def _folders(runs: Sequence[Run]) -> list[Path]:
    return list(dict.fromkeys(run.directory.resolve().parent for run in runs))


def _read(folder: Path) -> tuple[dict[str, dict[str, Any]], StudyFolder] | None:
    """Return jobs and settings of the folder's ``study.json``; None if none can be read."""
    try:
        content = read_json(folder / "study.json")
        margin = content.get("margin")
        jobs = {name: dict(job) for name, job in content["jobs"].items()}
        notes = tuple(str(note) for note in content.get("notes") or [])
        group_notes = {
            str(name): tuple(map(str, of_group))
            for name, of_group in (content.get("group_notes") or {}).items()
        }
        unused = frozenset(str(name) for name in content.get("unused") or [])
        known = content.get("version", VERSION) <= VERSION
        if not (known and all(map(_is_job, jobs.values())) and (margin is None or 0 < margin < 1)):
            return None
        margin = None if margin is None else float(margin)
        return jobs, StudyFolder(margin, notes, unused, group_notes)
    except (OSError, UnreadableError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_job(job: Mapping[str, Any]) -> bool:
    """Return whether the entry of a run in ``study.json`` says what a study says of its runs."""
    phase, lr, factors = job.get("phase"), job.get("lr"), job.get("factors") or {}
    return (
        isinstance(job.get("strategy"), str)
        and job.get("role") in ROLES
        and isinstance(job.get("of") or "", str)
        and isinstance(job.get("final", True), bool)
        and (phase is None or isinstance(phase, int))
        and (lr is None or isinstance(lr, int | float))
        and isinstance(factors, dict)
        and all(isinstance(level, str) for level in factors.values())
    )


def _made_by_study(folder: Path) -> bool:
    try:
        text = read_regular(folder / "multirun.yaml", 4 * YAML_BYTES).decode(errors="replace")
        return (
            re.search(r"FairSweeper|SearchSweeper|ProbeSweeper|\+study=|\+search=|\+probe=", text)
            is not None
        )
    except OSError:
        return False
