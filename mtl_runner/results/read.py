"""Run directories as plain records: whatever is there is read, whatever is missing or broken is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_runner.errors import RunDirectoryError


@dataclass(frozen=True)
class Run:
    """What the files of one run directory say."""

    directory: Path
    status: str  # finished | failed | interrupted | incomplete (killed, or still running)
    reason: str
    choices: dict[str, str]
    overrides: dict[str, str]
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.status == "finished"


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """All runs at or below the paths, in order of their directories' names (numbers as numbers).

    Raises ``RunDirectoryError`` for a path that does not exist or holds no run.
    """
    runs: dict[Path, Run] = {}
    for path in paths:
        if not path.is_dir():
            raise RunDirectoryError(
                f"There is no directory {str(path)!r}; give run directories or the directory of a sweep."
            )
        found = {file.parent.parent for file in path.rglob(".hydra/config.yaml")} | {
            f.parent for f in path.rglob("summary.json")
        }
        if not found:
            raise RunDirectoryError(
                f"{str(path)!r} holds no run; give run directories or the directory of a sweep."
            )
        for directory in sorted(found, key=lambda path: (_natural(path), str(path))):
            runs[directory.resolve()] = read_run(directory)
    return list(runs.values())


def read_run(directory: Path) -> Run:
    """One run directory."""
    summary: dict[str, Any] = {}
    reason = ""
    try:
        summary = json.loads((directory / "summary.json").read_text())
    except FileNotFoundError:
        reason = "killed before it began to train"
    except (OSError, ValueError):
        reason = "summary.json is not readable"
    status = str(summary.get("status", "incomplete"))
    if status == "running":
        status, reason = "incomplete", "killed, or still running"
    overrides = summary.get("overrides")
    if overrides is None:
        overrides = _yaml_list(directory / ".hydra" / "overrides.yaml")
    pairs = dict(str(o).lstrip("+~").split("=", 1) for o in overrides if "=" in str(o))
    return Run(
        directory,
        status,
        str(summary.get("reason") or reason),
        dict(summary.get("choices", {})),
        pairs,
        summary,
    )


def read_metrics(directory: Path) -> dict[str, list[str]]:
    """metrics.csv as columns of text; empty if there is none."""
    try:
        with (directory / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    return {column: [row[column] for row in rows] for column in rows[0]} if rows else {}


def _yaml_list(path: Path) -> list[Any]:
    from omegaconf import OmegaConf

    return list(OmegaConf.load(path)) if path.exists() else []


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorts 2_x before 10_x."""
    head, _, tail = path.name.partition("_")
    return [(0, int(head), tail)] if head.isdigit() else [(1, 0, path.name)]
