"""mtl-run --list and --explain as a user types them: at once and without torch."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Command

QUESTIONS = [("--list",), ("--list", "weighting"), ("--explain", "weighting=uncertainty")]
HEAVY = ("torch", "pandas", "matplotlib", "sklearn", "numpy", "scipy")


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_an_answer_needs_neither_torch_nor_time(question: tuple[str, ...], tmp_path: Path) -> None:
    """Breaks if a question waits for torch or pandas, or takes more than half a second."""
    code = (
        "import sys; from mtl_runner import cli\n"
        f"assert not {{*sys.modules}} & {{*{HEAVY}}}\n"
        f"sys.argv = ['mtl-run', *{question}]\n"
        "try:\n    cli.main()\n"
        f"except SystemExit as end:\n    print(end.code, sorted({{*sys.modules}} & {{*{HEAVY}}}))\n"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert result.stdout.endswith("\n0 []\n"), result.stderr
    assert min(seconds) < 0.5


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
