"""Run directories as records: what is there is read, what is missing or broken is reported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import is_locked
from mtl_runner.results.records.curves import check_curves
from mtl_runner.results.records.reading import (
    UnreadableError,
    read_json,
    read_keys,
    read_options,
)
from mtl_runner.results.records.summary import Summary, check_summary, mapping

BROKEN = "broken"  # the status of a run of which a file does not hold what a run writes
OWN_FIELDS = frozenset({"status", "format", "choices", "overrides", "monitor", "tasks"})
UNDER_WAY = {  # statuses of runs that may still finish by themselves, and their reasons
    "running": "a process is at work in it",
    "queued": "it waits for its turn, unless the sweep was stopped",
}


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        directory: The run directory.
        status: ``finished``, ``failed``, ``interrupted``, ``running``, ``queued``, ``incomplete``
            (killed, or running where nothing tells) or ``broken`` (a file of it does not hold what
            a run writes).
        reason: Why it did not finish, or ``<file>: <what is wrong with it>``; empty if it did.
        choices: ``{config group: option}``.
        overrides: ``{config key: value}`` as typed on the command line.
        summary: The results.
        refused: Whether it failed because its options do not fit the problem: no evidence of what
            its strategy is worth.
    """

    directory: Path
    status: str
    reason: str
    choices: Mapping[str, str]
    overrides: Mapping[str, str]
    summary: Summary = field(default_factory=Summary)
    refused: bool = False

    @property
    def finished(self) -> bool:
        """Whether the run trained to its end."""
        return self.status == "finished"

    @property
    def under_way(self) -> bool:
        """Whether the run trains, or waits for its turn."""
        return self.status in UNDER_WAY

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.directory.name or str(self.directory)


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """Read all runs at or below the paths, in order of their directories' names (2 before 10).

    Raises:
        RunDirectoryError: If a path does not exist or holds no run.
    """
    return search(paths)[0]


def search(paths: Iterable[Path]) -> tuple[list[Run], list[Path]]:
    """Read all runs at or below the paths, and name what looks like a run, but is another tool's.

    Returns:
        The runs, in order of their directories' names, and the folders of other tools.

    Raises:
        RunDirectoryError: If a path does not exist or holds no run.
    """
    runs: dict[Path, Run] = {}
    foreign: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise RunDirectoryError(
                f"There is no directory {str(path)!r}; give run directories or the directory of a sweep."
            )
        candidates, closed = _run_directories(path)
        strange = [directory for directory in candidates if is_foreign(directory)]
        foreign |= {directory.resolve(): directory for directory in strange}
        directories = [directory for directory in candidates if directory not in strange]
        if not directories:
            why = next((f" that may be read ({error})" for error in closed.values()), "")
            if strange:
                why = f" of mtl-runner ({str(strange[0])!r} is of another program)"
            raise RunDirectoryError(
                f"{str(path)!r} holds no run{why}; give run directories or the directory of a sweep."
            )
        for directory in sorted(
            [*directories, *closed], key=lambda path: (_natural_order(path), str(path))
        ):
            runs[directory.resolve()] = (
                Run(directory, BROKEN, f"the directory: {closed[directory]}", {}, {})
                if directory in closed
                else read_run(directory)
            )
    return list(runs.values()), list(foreign.values())


def is_foreign(directory: Path) -> bool:
    """Return whether a folder that looks like a run directory was made by another program.

    So it is where neither ``summary.json`` has a field of ours, nor ``.hydra/config.yaml`` has a
    weighting: a run that was killed early leaves the config alone. A file that cannot be read says
    nothing: the run is then broken.
    """
    try:
        if OWN_FIELDS.intersection(read_json(directory / "summary.json")):
            return False
        has_summary = True
    except FileNotFoundError:
        has_summary = False
    except UnreadableError:
        return False
    try:
        return "weighting" not in read_keys(directory / ".hydra" / "config.yaml")
    except FileNotFoundError:
        return has_summary
    except UnreadableError:
        return False


def read_run(directory: Path) -> Run:
    """Read one run directory."""
    content: dict[str, Any] = {}
    status, reason = "incomplete", ""
    fault = ""
    try:
        content = _without_refused_seed(read_json(directory / "summary.json"))
        check_summary(content)
        status, reason = content["status"], content.get("reason", "")
        if status == "running" and not is_locked(directory / ".hydra" / "lock"):
            status, reason = "incomplete", reason or "killed, or still running"
        reason = reason or UNDER_WAY.get(status, "")
    except FileNotFoundError:
        reason = "killed before it began to train"
    except UnreadableError as error:
        fault = f"summary.json: {error}"
        content = _head(content)
    options = content.get("overrides")
    if options is None:
        try:
            options = read_options(directory / ".hydra" / "overrides.yaml")
        except FileNotFoundError:
            options = []
        except UnreadableError as error:
            fault = fault or f".hydra/overrides.yaml: {error}"
            options = []
    if status == "finished":
        try:
            check_curves(directory)
        except UnreadableError as error:
            fault = f"metrics.csv: {error}"
    if fault:
        status, reason, content = BROKEN, fault, _head(content)
    return Run(
        directory,
        status,
        reason,
        {
            group: option
            for group, option in mapping(content.get("choices")).items()
            if option is not None
        },
        dict(option.lstrip("+~").split("=", 1) for option in options if "=" in option),
        Summary.of(content),
        status == "failed" and content.get("refused", False),
    )


def _without_refused_seed(content: dict[str, Any]) -> dict[str, Any]:
    """Return a summary without the seed for which the run failed: its reason says more."""
    is_refused = content.get("status") == "failed" and isinstance(content.get("seed"), str)
    return {**content, "seed": None} if is_refused else content


def _head(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a summary that does not fit what tells whose strategy the run is of."""
    head = {}
    for name in ("seed", "choices", "overrides"):
        try:
            check_summary({"status": "running", name: content.get(name)})
            head[name] = content.get(name)
        except UnreadableError:
            continue
    return head


def _run_directories(top: Path) -> tuple[list[Path], dict[Path, str]]:
    """Return the run directories at or below a folder, and the folders that may not be entered.

    Links to folders are not followed: they may lead round in a circle, or anywhere.
    """
    directories = []
    closed: dict[Path, str] = {}

    def note(error: OSError) -> None:
        closed[Path(error.filename)] = (error.strerror or str(error)).lower()

    for folder, folders, files in os.walk(top, onerror=note):
        names = {*folders, *files}
        has_config = ".hydra" in names and _may_exist(Path(folder) / ".hydra" / "config.yaml")
        if has_config or "summary.json" in names:
            directories.append(Path(folder))
        folders[:] = [name for name in folders if name not in (".hydra", "summary.json")]
    return directories, closed


def _may_exist(path: Path) -> bool:
    """Return whether there is such a file, or a closed folder hides whether there is."""
    try:
        return path.exists()
    except OSError:
        return True


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts 2_x before 10_x."""
    head, _, tail = path.name.partition("_")
    return [(0, int(head), tail)] if head.isascii() and head.isdigit() else [(1, 0, path.name)]
