"""The flags of a command, and one sentence for each that is wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from mtl_runner.errors.command_line import CommandParser, unknown_flag
from mtl_runner.launch.overrides import HYDRA_FLAGS
from mtl_runner.version import __version__

FLAGS = ("--format", "--figures", "-o", "-sc")


@pytest.mark.parametrize(
    "argument",
    ["--format", "--format=md", "--fig", "-o", "-ohere", "-sc", "-", "--", "-0.5", "data=digits"],
)
def test_what_exists_or_is_no_flag_is_let_through(argument: str) -> None:
    """Breaks if a negative number, the beginning of a flag, or -ofile is refused."""
    assert unknown_flag(argument, FLAGS) is None


@pytest.mark.parametrize(
    ("argument", "start"),
    [
        ("--formt=md", "--formt is no option; did you mean '--format'? allowed: --figures, "),
        ("--x", "--x is no option; allowed: --figures, --format, --list, -o, -sc"),
        ("-z", "-z is no option; allowed: "),
        ("--lis", "--lis is no option; did you mean '--list'?"),
    ],
)
def test_what_does_not_exist_is_named_with_the_nearest(argument: str, start: str) -> None:
    """Breaks if a misspelt flag is passed over, or hears nothing of what was meant."""
    sentence = unknown_flag(argument, FLAGS, ("--list",))
    assert sentence is not None
    assert sentence.startswith(start)


def test_a_flag_that_must_be_whole_is_one() -> None:
    """Breaks if a flag of our own is refused."""
    assert unknown_flag("--list", FLAGS, ("--list",)) is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "mtl-export: RUN, --to are missing; mtl-export --help explains all."),
        (("run",), "mtl-export: --to is missing; mtl-export --help explains all."),
        (
            ("run", "--to", "onx"),
            "mtl-export: argument --to: invalid choice: 'onx' (choose from 'onnx', 'torch'); mtl-export --help explains all.",
        ),
        (
            ("--too", "onnx"),
            "mtl-export: --too is no option; did you mean '--to'? allowed: --help, --to, --version, -h; mtl-export --help explains all.",
        ),
    ],
)
def test_a_wrong_command_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the sentence drowns in argparse's usage, or the exit status is not 2."""
    parser = CommandParser(prog="mtl-export")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--to", choices=("onnx", "torch"), required=True)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(arguments)
    assert end.value.code == 2
    found = capsys.readouterr().err.rstrip("\n")
    # Python 3.12 and later do not quote the choices.
    assert found.replace("onnx, torch", "'onnx', 'torch'") == sentence


def test_a_path_may_begin_with_a_dash() -> None:
    """Breaks if a folder called -old cannot be named, not even behind ``--``."""
    parser = CommandParser(prog="mtl-compare")
    parser.add_argument("paths", nargs="+")
    assert parser.parse_args(["--", "-old", "--older"]).paths == ["-old", "--older"]


def test_every_command_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if somebody who reports a mistake cannot say of which version."""
    with pytest.raises(SystemExit) as end:
        CommandParser(prog="mtl-compare").parse_args(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"mtl-runner {__version__}\n"


def test_no_flag_of_hydra_is_refused() -> None:
    """Breaks if Hydra has a flag that mtl-run does not let through."""
    usage = "from hydra import main; main(version_base='1.3')(lambda config: None)()"
    result = subprocess.run(
        [sys.executable, "-c", usage, "--no-such-flag"],
        capture_output=True,
        text=True,
        check=False,
    )
    flags = set(re.findall(r"--[a-z-]+", result.stderr)) - {"--no-such-flag"}
    assert flags
    assert flags <= set(HYDRA_FLAGS)
