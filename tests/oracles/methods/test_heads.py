"""The command in the first lines of a method's config runs the method."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import pytest

from tests.oracles.methods.runs import CONF, column, ignore_solver_warnings, train

AXES = ("likelihood", "weighting", "schedule", "update")
FILES = [path for axis in AXES for path in sorted((CONF / axis).glob("*.yaml"))]
QUICK = ("model.hidden=[8]", "trainer.epochs=2", "record.plots=none", "trainer.device=cpu")
WORD = re.compile(r"(?:[^\s'\"]|'[^']*')+")


def command_of(path: Path) -> list[str]:
    """Return the options of a line ``# mtl-run option option: meaning``, without quotes."""
    line = next(line for line in path.read_text().splitlines() if line.startswith("# mtl-run "))
    options = []
    for word in WORD.findall(line.removeprefix("# mtl-run ")):
        options += shlex.split(word.removesuffix(":"))
        if word.endswith(":"):
            break
    return options


@pytest.mark.long
@ignore_solver_warnings
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_the_command_at_the_head_of_a_config_chooses_it_and_trains(
    tmp_path: Path, path: Path
) -> None:
    """Breaks if a config's command names another method or an option that does not exist.

    It breaks, too, if the method cannot be used with the model that the command chooses.
    """
    options = command_of(path)
    assert f"{path.parent.name}={path.stem}" in options
    rows = train(tmp_path / "run", *options, *QUICK)
    assert all(map(math.isfinite, column(rows, "loss").flatten().tolist()))
