"""mtl-run --list and --explain as a user types them: at once and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.paths import ROOT

QUESTIONS = [("--list",), ("--list", "weighting"), ("--explain", "weighting=uncertainty")]
HEAVY = ("torch", "pandas", "matplotlib", "sklearn", "numpy", "scipy")


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_an_answer_waits_for_no_heavy_import(question: tuple[str, ...], tmp_path: Path) -> None:
    """Breaks if a question takes seconds, since it imports torch or pandas."""
    code = (
        "import sys; from mtl_runner import cli\n"
        f"assert not {{*sys.modules}} & {{*{HEAVY}}}\n"
        f"sys.argv = ['mtl-run', *{question}]\n"
        "try:\n    cli.main()\n"
        f"except SystemExit as end:\n    print(end.code, sorted({{*sys.modules}} & {{*{HEAVY}}}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout.endswith("\n0 []\n"), result.stderr


def test_a_wrong_question_is_the_last_line_and_an_exit_status(mtl: Command) -> None:
    """Breaks if a mistake in a question is a traceback, or counts as success."""
    result = mtl("mtl-run", "--list", "wieghting")
    assert result.code == 1
    assert result.err.startswith("There is no group 'wieghting'; did you mean 'weighting'?")
    assert result.err.count("\n") == 1
    assert result.out == ""


def test_an_own_option_is_explained_from_its_folder(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the class of a user's option is not looked for in the working directory."""
    (tmp_path / "own_roots.py").write_text('class Roots:\n    """Add the roots of the losses."""\n')
    folder = tmp_path / "elsewhere" / "weighting"
    folder.mkdir(parents=True)
    (folder / "roots.yaml").write_text("# cost: none\n_target_: own_roots.Roots\n")
    result = mtl("mtl-run", "--config-dir", "elsewhere", "--explain", "weighting=roots")
    assert result.code == 0, result.err
    assert "Add the roots of the losses." in result.out


@pytest.mark.parametrize("question", [["--list", "data"], ["--help"], ["-sc", "install=bash"]])
def test_a_reader_that_closes_early_is_no_error(question: list[str]) -> None:
    """Breaks if `mtl-run --help | head` ends in a sentence about a broken pipe."""
    code = f"import sys; from mtl_runner.cli import main; sys.argv[1:] = {question}; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    process.stdout.close()  # type: ignore[union-attr]
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")  # as if by SIGPIPE


def test_the_help_of_hydra_names_its_groups(mtl: Command) -> None:
    """Breaks if `--hydra-help` ends with a head and nothing below it."""
    _, _, groups = mtl("mtl-run", "--hydra-help").out.partition("== Configuration groups ==")
    assert "\nhydra/launcher: basic, gpus, joblib, slurm, stacked\n" in groups
