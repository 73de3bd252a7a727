"""The file in which a launcher lists the runs of a stack for the process that trains them.

Free of torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_runner.errors import RunDirectoryError
from mtl_runner.files import write_json
from mtl_runner.results.records.reading import UnreadableError, read_json
from mtl_runner.runs.request import Request


@dataclass(frozen=True)
class StackFile:
    """The runs of a stack.

    Attributes:
        runs: The directory of each run, and its label in the sweep.
        memory: The memory in bytes that the stack may take.

    Example:
        >>> StackFile(((Path("sweep/0_run"), "0: seed=0"),), 2e9).memory
        2000000000.0
    """

    runs: tuple[tuple[Path, str], ...]
    memory: float

    @classmethod
    def read(cls, path: Path) -> StackFile:
        """Return what a file lists.

        Args:
            path: The file.

        Raises:
            RunDirectoryError: If it cannot be read.
        """
        try:
            record = read_json(path)
            runs = tuple(
                (Path(str(entry["directory"])), str(entry["job"])) for entry in record["runs"]
            )
            return cls(runs, float(record["memory"]))
        except (UnreadableError, OSError, LookupError, TypeError, ValueError) as error:
            raise RunDirectoryError(
                f"{str(path)!r} lists no stack of runs ({error}); start the sweep again with resume=true."
            ) from error


def write_stack(folder: Path, requests: Sequence[Request], memory: float) -> Path:
    """Write the file that lists the runs of a stack, which is named after the first one.

    Args:
        folder: The folder of the launcher in the sweep.
        requests: The runs.
        memory: The memory in bytes that the stack may take.

    Returns:
        Its path.
    """
    name = os.path.relpath(requests[0].directory, folder.parent).replace("/", "_")
    path = folder / f"stack_{name}.json"
    runs = [{"directory": str(r.directory), "job": r.job} for r in requests]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"version": 1, "memory": memory, "runs": runs})
    return path
