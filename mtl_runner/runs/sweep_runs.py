"""The runs that a sweep's directory holds already, so that a larger sweep uses them again."""

from __future__ import annotations

import re
from pathlib import Path

from mtl_runner.errors import MtlError
from mtl_runner.runs.directory import config_in_effect
from mtl_runner.runs.records import CONFIG, read_config, read_recorded_options, read_result
from mtl_runner.runs.request import Request


class SweepRuns:
    """The runs in the directory of a sweep when a command begins, each to be used once.

    A run is known by its config, whatever its number: a job with the same one is this run.

    Attributes:
        directory: The directory of the sweep.
        numbers: The numbers of the runs' jobs.
        next_number: The first number that is larger than those of all runs.

    Example:
        >>> runs = SweepRuns(Path("no/such/sweep"))
        >>> len(runs), runs.next_number
        (0, 0)
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        folders = sorted(run_folders(directory), key=self._number)
        self.numbers = {self._number(path) for path in folders}
        self.next_number = max([len(folders), *(number + 1 for number in self.numbers)])
        self._by_config: dict[str, list[Path]] = {}
        self._by_options: dict[frozenset[str], list[Path]] = {}
        self._used: set[Path] = set()
        for folder in folders:
            # A damaged record is the record of no run that could be used.
            try:
                key, options = config_in_effect(read_config(folder)), read_recorded_options(folder)
            except MtlError:
                continue
            self._by_config.setdefault(key, []).append(folder)
            self._by_options.setdefault(frozenset(options), []).append(folder)

    def __len__(self) -> int:
        return sum(map(len, self._by_config.values())) - len(self._used)

    @property
    def options(self) -> list[frozenset[str]]:
        """The options that runs have recorded, each set of them once."""
        return list(self._by_options)

    def take(self, request: Request) -> Path | None:
        """Return the directory of the run that a job asks for; None if there is none, or no more.

        A run with the same config is preferred, and of several one that has finished. One with
        the same options may be of an older version, with other defaults: the launcher finds out.

        Args:
            request: The job.
        """
        for group in (
            self._by_config.get(config_in_effect(request.config), ()),
            self._by_options.get(frozenset(request.overrides), ()),
        ):
            if free := [folder for folder in group if folder not in self._used]:
                folder = next(filter(is_finished, free), free[0])
                self._used.add(folder)
                return folder
        return None

    def _number(self, folder: Path) -> int:
        """Return the number that the name of a job's folder begins with, -1 without one."""
        match = re.match(r"\d+", folder.relative_to(self.directory).parts[0])
        return int(match.group()) if match else -1


def run_folders(sweep: Path) -> list[Path]:
    """Return the run directories in the directory of a sweep.

    Args:
        sweep: The directory of the sweep.

    Example:
        >>> run_folders(Path("no/such/sweep"))
        []
    """
    # A name with a slash makes a folder in a folder.
    records = [*sweep.glob(f"*/{CONFIG}"), *sweep.glob(f"*/*/{CONFIG}")]
    return [path.parent.parent for path in records]


def is_finished(directory: Path) -> bool:
    """Return whether the run in a directory has come to its end.

    Args:
        directory: A run directory.

    Example:
        >>> is_finished(Path("no/such/run"))
        False
    """
    return read_result(directory) is not None
