"""``mtl-conform`` as typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtl_runner.conform.command import main
from mtl_runner.errors import ConfigError
from tests.support.commands import Command

WEIGHTING = """
class Weighting:
    def __init__(self, num_tasks, factor=1.0):
        self.factor = factor

    def __call__(self, losses):
        return self.factor * losses.sum()

    def total(self, losses):
        return losses[0]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a weighting of the user's own."""
    (tmp_path / "my_weighting.py").write_text(WEIGHTING)
    return tmp_path


def test_a_class_of_the_working_directory_gets_a_card(mtl: Command, folder: Path) -> None:
    """Breaks if a user's own file is not found, or a right class is no success."""
    result = mtl(
        "mtl-conform", "my_weighting.Weighting", "--as", "fixed", "--json", "card.json", cwd=folder
    )
    assert result.code == 0, result.err
    assert result.out.startswith("my_weighting.Weighting (my_weighting) as fixed: equal weights")
    assert result.out.endswith("8 of 8 laws hold (1 not applicable).\n")
    card = json.loads((folder / "card.json").read_text())
    assert (card["method"], card["called"]) == ("fixed", "object(losses [T])")


def test_a_broken_law_is_an_exit_status(mtl: Command, folder: Path) -> None:
    """Breaks if a script cannot see that a law does not hold."""
    result = mtl(
        *("mtl-conform", "my_weighting.Weighting", "--as", "fixed", "--call", "total"), cwd=folder
    )
    assert result.code == 1
    assert result.err == ""
    assert result.out.endswith("; not: balance, objective, equal_tasks, order.\n")


def test_options_reach_the_class(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if --set, --reference or --without is lost."""
    arguments = ["mtl_runner.weighting.FAMO", "--as", "famo", "--set", "gamma=0.5"]
    assert main([*arguments, "--reference", "gamma=0.5", "--without", "resume"]) == 0
    out = capsys.readouterr().out
    assert "made with: gamma=0.5\n" in out
    assert "compared with: FAMO(gamma=0.5) of mtl-runner\nleft out: resume\n" in out
    assert main(arguments) == 1
    assert capsys.readouterr().out.endswith("; not: balance, objective.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("my_weighting.Weighting", "--as", "famoo"),
            "--as famoo is no method whose laws are known; did you mean 'famo'? allowed: ",
        ),
        (("my_weighting", "--as", "famo"), "'my_weighting' is no import path; "),
    ],
)
def test_errors_are_sentences(arguments: tuple[str, ...], sentence: str) -> None:
    """Breaks if a wrong word ends in a traceback."""
    with pytest.raises(ConfigError) as error:
        main(arguments)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "mtl-conform: MODULE.CLASS, --as are missing; mtl-conform --help explains all.\n"),
        (
            ("a.B", "--as", "famo", "--set", "gamma"),
            "mtl-conform: argument --set: 'gamma' is no option; write it as NAME=VALUE; mtl-conform --help explains all.\n",
        ),
    ],
)
def test_wrong_arguments_are_sentences(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    """Breaks if the usage is printed in place of what is wrong."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert capsys.readouterr().err == sentence


def test_the_help_does_not_wait_for_torch() -> None:
    """Breaks if `mtl-conform --help` takes the second that torch needs."""
    script = "import sys, mtl_runner.conform.command; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_environment_of_other_programs_is_left_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Breaks if whatever starts after a card, in the same process, finds no module beside it."""
    before = dict(os.environ)
    main(["torchjd.aggregation.Mean", "--as", "upgrad"])
    assert "laws hold" in capsys.readouterr().out
    assert dict(os.environ) == before
