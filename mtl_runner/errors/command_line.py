"""The flags of a command, and one sentence for each that is wrong."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from mtl_runner.errors import suggest
from mtl_runner.version import __version__


def unknown_flag(
    argument: str, flags: Iterable[str], unabbreviated: Iterable[str] = ()
) -> str | None:
    """Return the end of a sentence about a flag that does not exist; None if it does.

    Args:
        argument: What the user wrote; what does not begin with a dash is no flag.
        flags: The flags that exist. As in argparse, the beginning of a long one stands for it, and
            a value may follow a short one without a space.
        unabbreviated: Flags of which the beginning is not enough.

    Example:
        >>> unknown_flag("--formt=md", ["--format", "--figures"])
        "--formt is no option; did you mean '--format'? allowed: --figures, --format"
        >>> unknown_flag("--fig", ["--format", "--figures"])
    """
    known = list(flags)
    name = argument.partition("=")[0]
    if not re.match(r"--?[a-zA-Z]", name):
        return None
    if name.startswith("--"):
        exists = any(flag.startswith(name) for flag in known)
    else:
        exists = any(name.startswith(flag) for flag in known if not flag.startswith("--"))
    if exists or name in (complete := list(unabbreviated)):
        return None
    return f"{name} is no option; {suggest(name, {*known, *complete})}"


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the block of its usage.

    Example:
        >>> parser = CommandParser(prog="mtl-export")
        >>> parser.add_argument("--output").dest
        'output'
        >>> parser.parse_args(["--output", "here"]).output
        'here'
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.add_argument("--version", action="version", version=f"mtl-runner {__version__}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but name a flag that does not exist before all that is missing.

        Args:
            args: The arguments; None takes those of the process.
            namespace: Where the values go.
        """
        flags = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", self.format_help())
        for argument in args or ():
            if argument == "--":  # paths follow, whatever they begin with
                break
            if sentence := unknown_flag(argument, flags):
                self.error(sentence)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the command with a sentence.

        Args:
            message: What is wrong, in argparse's or our words.
        """
        missing = re.fullmatch(r"the following arguments are required: (.+)", message)
        verb = "are" if missing and "," in missing[1] else "is"
        sentence = f"{missing[1]} {verb} missing" if missing else message
        self.exit(2, f"{self.prog}: {sentence}; {self.prog} --help explains all.\n")
