"""Run directories as records: what is there is read, what is missing or broken is reported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.records.summary import Summary, mapping


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        directory: The run directory.
        status: ``finished``, ``failed``, ``interrupted`` or ``incomplete`` (killed, or running).
        reason: Why it did not finish; empty if it did.
        choices: ``{config group: option}``.
        overrides: ``{config key: value}`` as typed on the command line.
        summary: The results.
    """

    directory: Path
    status: str
    reason: str
    choices: Mapping[str, str]
    overrides: Mapping[str, str]
    summary: Summary = field(default_factory=Summary)

    @property
    def finished(self) -> bool:
        """Whether the run trained to its end."""
        return self.status == "finished"

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.directory.name or str(self.directory)


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """Read all runs at or below the paths, in order of their directories' names (2 before 10).

    Raises:
        RunDirectoryError: If a path does not exist or holds no run.
    """
    runs: dict[Path, Run] = {}
    for path in paths:
        if not path.is_dir():
            raise RunDirectoryError(
                f"There is no directory {str(path)!r}; give run directories or the directory of a sweep."
            )
        directories = {file.parent.parent for file in path.rglob(".hydra/config.yaml")} | {
            file.parent for file in path.rglob("summary.json")
        }
        if not directories:
            raise RunDirectoryError(
                f"{str(path)!r} holds no run; give run directories or the directory of a sweep."
            )
        for directory in sorted(directories, key=lambda path: (_natural_order(path), str(path))):
            runs[directory.resolve()] = read_run(directory)
    return list(runs.values())


def read_run(directory: Path) -> Run:
    """Read one run directory."""
    content: dict[str, Any] = {}
    reason = ""
    try:
        content = json.loads((directory / "summary.json").read_text())
    except FileNotFoundError:
        reason = "killed before it began to train"
    except (OSError, ValueError):
        reason = "summary.json is not readable"
    if not isinstance(content, dict):
        content, reason = {}, "summary.json is not readable"
    status = str(content.get("status", "incomplete"))
    if status == "running":
        status, reason = "incomplete", "killed, or still running"
    overrides = content.get("overrides")
    if overrides is None:
        overrides = _read_list(directory / ".hydra" / "overrides.yaml")
    return Run(
        directory,
        status,
        str(content.get("reason") or reason),
        dict(mapping(content.get("choices"))),
        dict(str(o).lstrip("+~").split("=", 1) for o in overrides if "=" in str(o)),
        Summary.of(content),
    )


def _read_list(path: Path) -> list[Any]:
    from omegaconf import OmegaConf

    return list(OmegaConf.load(path)) if path.exists() else []


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts 2_x before 10_x."""
    head, _, tail = path.name.partition("_")
    return [(0, int(head), tail)] if head.isdigit() else [(1, 0, path.name)]
