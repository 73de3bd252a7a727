"""The parts of the commands that need no process. The commands as typed are in tests/cli."""

from __future__ import annotations

import pytest

from mtl_runner.cli import _take_option


@pytest.mark.parametrize(
    ("arguments", "value", "kept"),
    [
        (["seed=1"], None, ["seed=1"]),
        (["resume=runs/a", "seed=1"], "runs/a", ["seed=1"]),
        (["+resume=a", "++resume=b=c"], "b=c", []),
        (["trainer.resume=x", "resumed=y"], None, ["trainer.resume=x", "resumed=y"]),
        (["resume="], "", []),
    ],
)
def test_an_option_of_the_command_is_kept_from_hydra(
    arguments: list[str], value: str | None, kept: list[str]
) -> None:
    """Breaks if Hydra refuses resume= as an unknown key, or loses an option that looks like it."""
    assert _take_option(arguments, "resume") == (value, kept)
