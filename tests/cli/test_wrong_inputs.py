"""Hundreds of wrong inputs: each is refused in one sentence, or accepted for a written reason.

``MTL_RUNNER_SEED=7 pytest -m long tests/cli/test_wrong_inputs.py`` tries 500 others.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtl_runner.errors.messages import cli_message
from tests.support import defended, wrong_inputs
from tests.support.commands import Command, Result
from tests.support.defended import RANGES, complaint, number, reason
from tests.support.wrong_inputs import WrongInput

SEED = int(os.environ.get("MTL_RUNNER_SEED", "1"))
PATIENCE = 120  # seconds that a run of a moment may take on a busy machine
SAMPLE = 8


@pytest.fixture
def ended(mtl: Command, tmp_path: Path) -> Callable[[WrongInput], Result]:
    """Return a function that runs a case in a folder of its own."""
    numbers: Iterator[int] = iter(range(10**6))

    def run(case: WrongInput) -> Result:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        case.write(folder)
        place = () if case.key.startswith("hydra") else ("hydra.run.dir=run",)
        return mtl("mtl-run", *case.options, *place, cwd=folder, meanwhile=_no_longer_than_patience)

    return run


def _no_longer_than_patience(pid: int) -> None:
    """Kill a process that hangs; its exit status then is a complaint."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    os.kill(pid, 9)


def _complaints(count: int, ended: Callable[[WrongInput], Result]) -> list[str]:
    complaints = []
    for case in wrong_inputs.wrong_inputs(SEED, count):
        result = ended(case)
        problem = complaint(case, result)
        if problem:
            complaints.append(
                f"{problem}: {case} ({case.key}): {(result.err or result.out)[-300:]}"
            )
    return complaints


def test_a_sample_of_wrong_inputs(ended: Callable[[WrongInput], Result]) -> None:
    """Breaks if a wrong input ends in a raw error, or is accepted for no reason."""
    complaints = _complaints(SAMPLE, ended)
    assert not complaints, "\n".join(complaints)


@pytest.mark.long
def test_500_wrong_inputs(ended: Callable[[WrongInput], Result]) -> None:
    """Breaks if a wrong input ends in a raw error, or is accepted for no reason."""
    complaints = _complaints(500, ended)
    assert not complaints, "\n".join(complaints)


def test_another_seed_gives_other_inputs() -> None:
    """Breaks if the fresh inputs of a seed are the ones that were tried before."""
    first, again, second = (
        [str(case) for case in wrong_inputs.wrong_inputs(seed, 20)] for seed in (1, 1, 2)
    )
    assert first == again
    assert len(set(first) & set(second)) < 5


def test_every_flaw_is_listed_with_what_must_come_out() -> None:
    """Breaks if the generator gets a flaw of which nobody has said what is right."""
    assert set(defended.TABLES) == set(wrong_inputs.TABLE_FLAWS)
    assert set(defended.TARGETS) == set(wrong_inputs.TARGETS)
    assert set(defended.SPLITS) == set(wrong_inputs.SPLITS)
    for due in (*defended.TABLES.values(), *defended.TARGETS.values(), *defended.SPLITS.values()):
        assert due.refused or due.accepted


def test_every_number_of_the_configs_has_a_range() -> None:
    """Breaks if a new option takes numbers that nobody has compared with its comment."""
    for setting in wrong_inputs.SETTINGS:
        for key, value in wrong_inputs.options_of(setting).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert any(re.fullmatch(keys, key) for keys in RANGES), key


@pytest.mark.parametrize(
    "result",
    [
        Result(1, "", cli_message(KeyError("epoch"))),
        Result(1, "", "Traceback (most recent call last):\nKeyError: 1"),
        Result(1, "", "one line\nanother line"),
        Result(1, "", "Something else is wrong."),
        Result(-9, "", ""),
        Result(0, "trained", ""),
    ],
)
def test_a_bad_end_is_noticed(result: Result) -> None:
    """Breaks if the test of all the others passes whatever happens."""
    case = WrongInput("option", ("share=1",), key="share", value="1", default=True)
    assert complaint(case, result)
    assert not complaint(case, Result(1, "", "share must be true or false; found 1."))


TRAINED = Result(0, "trained", "")


@pytest.mark.parametrize(
    ("key", "value", "default", "fits"),
    [
        ("optimizer.lr", "1e-300", 0.001, False),
        ("optimizer.lr", "2", 0.001, True),
        ("weighting.init", "1e3", "log_loss", False),
        ("data.ink", "123456789012345678901", 8, False),
        ("model.dropout", "1", 0.0, False),
        ("model.dropout", "0", 0.0, True),
        ("trainer.epochs", "1.5", 100, False),
        ("trainer.patience", "null", None, True),
        ("model.hidden", "[0]", [4], False),
        ("data.slopes.y1", "false", 2.0, False),
    ],
)
def test_a_number_is_accepted_in_its_documented_range_only(
    key: str, value: str, default: object, fits: bool
) -> None:
    """Breaks if any positive number is called one in range."""
    case = WrongInput("option", (f"{key}={value}",), key=key, value=value, default=default)
    assert bool(reason(case, TRAINED)) == fits


def _table(flaw: str, targets: str = "[c]", split: str = "") -> WrongInput:
    options = ("data=table", "data.path=t.csv", f"data.targets={targets}")
    return WrongInput("table", (*options, *([f"data.split={split}"] if split else ())), (), flaw)


def test_a_table_is_accepted_for_its_own_flaw_only() -> None:
    """Breaks if any cell, column, header, line, target or split will do."""
    assert reason(_table("Windows"), TRAINED)
    assert not reason(_table("semicolons"), TRAINED)
    assert not reason(_table("cell 'inf'"), TRAINED)
    assert not reason(_table("Windows", "[a,b,c]"), TRAINED)
    assert not reason(_table("Windows", split="{val: t.csv, test: t.csv}"), TRAINED)
    # A text among numbers must be told.
    warning = "Column 'a' is a number in 59 of 60 rows, but row 22 holds 'x', so that every value"
    assert not reason(_table("cell 'x'"), TRAINED)
    assert reason(_table("cell 'x'"), Result(0, warning, ""))
    # A refusal must be for what is wrong.
    assert complaint(_table("Windows"), Result(1, "", "The table 't.csv' cannot be read (x)."))


@pytest.mark.parametrize("text", ["nan", "inf", "'1'", "true", "", "[1]", "1.5.2"])
def test_what_is_no_number_is_in_no_range(text: str) -> None:
    """Breaks if the range of a key is asked for something else than a number."""
    assert number(text) is None
