"""The parts of the commands that need no process. The commands as typed are in tests/cli."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mtl_runner.cli import _stopped, _take_option
from mtl_runner.launch.start import SweepStart
from mtl_runner.train.interruption import StoppedBySignal


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


def test_a_stopped_command_says_by_what_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a scheduler's signal is taken for Ctrl-C, or a sweep's user has to start anew."""
    assert _stopped(KeyboardInterrupt()) == ("Stopped.", 130)
    assert _stopped(StoppedBySignal(signal.SIGTERM)) == ("Stopped by SIGTERM.", 143)
    monkeypatch.setattr(SweepStart, "directory", Path("s"))
    sentence = "Stopped by Ctrl-C; go on with the same command and hydra.sweep.dir=s resume=true."
    assert _stopped(KeyboardInterrupt()) == (sentence, 130)


def test_ctrl_c_during_the_imports_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the answer to Ctrl-C needs a module that it has cut short."""
    name = "mtl_runner.launch.start"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert _stopped(KeyboardInterrupt()) == ("Stopped.", 130)
