"""``mtl-conform``: the laws of a method, checked on any class."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtl_runner.errors.command_line import CommandParser


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, check the class and print its card.

    Returns:
        The exit status: 0 if every law that applies holds, else 1.

    Raises:
        ConfigError: If the method is unknown, or the class cannot be found, made or called.
    """
    parser = CommandParser(
        prog="mtl-conform",
        description="Check what a method's paper says of it on any class: a weighting of losses or an aggregator of gradients. The exit status is 0 if every law that applies holds, else 1.",
        epilog="Example: mtl-conform torchjd.scalarization.FAMO --as famo --reference gamma=0.001",
    )
    parser.add_argument(
        "path",
        metavar="MODULE.CLASS",
        help="the class, or a function of losses or gradients; modules in the working directory are found, too",
    )
    parser.add_argument(
        "--as",
        dest="method",
        required=True,
        metavar="METHOD",
        help="the method that it says to be, by the name of weighting=, e.g. famo, gradnorm, mgda",
    )
    parser.add_argument(
        "--set",
        action="append",
        type=option,
        default=[],
        metavar="NAME=VALUE",
        help="an option of its constructor; may be repeated. The number of tasks and the shared parameter are filled in where their names are known",
    )
    parser.add_argument(
        "--call",
        default="",
        metavar="NAME",
        help="the method to call at every step; default: backward if it has one, else the object itself",
    )
    parser.add_argument(
        "--reference",
        action="append",
        type=option,
        default=[],
        metavar="NAME=VALUE",
        help="an option of the implementation here that it is compared with, or a number of the laws, such as alpha of gradnorm",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="LAW",
        help="a law to leave out, such as resume where the state lies in the trainer; may be repeated",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the card there, too")
    options = parser.parse_args(arguments)
    # torch takes a second to import, which --help need not wait for.
    from mtl_runner.config.working_directory import search_in_run, search_working_directory
    from mtl_runner.conform.card import make_card
    from mtl_runner.conform.laws import method_of
    from mtl_runner.conform.subject import load_subject
    from mtl_runner.files import write_json

    method_of(options.method)
    search_working_directory()
    search_in_run()  # programs that the class starts are ordinary ones
    subject = load_subject(options.path, dict(options.set), options.call)
    card = make_card(subject, options.method, dict(options.reference), options.without)
    print(card.text())
    if options.json:
        write_json(options.json, card.as_json())
    return 1 if card.failed else 0


def option(text: str) -> tuple[str, Any]:
    """Return the name and the value of an option, which is read as YAML is.

    Args:
        text: What the user wrote.

    Raises:
        argparse.ArgumentTypeError: If it has no ``=``.

    Example:
        >>> option("c=0.5"), option("names=[a, b]")
        (('c', 0.5), ('names', ['a', 'b']))
    """
    from omegaconf import OmegaConf

    name, sign, value = text.partition("=")
    if not (sign and name.strip().isidentifier()):
        raise argparse.ArgumentTypeError(f"{text!r} is no option; write it as NAME=VALUE")
    read = OmegaConf.create(f"value: {value}")
    return name.strip(), OmegaConf.to_container(read)["value"]  # type: ignore[index,call-overload]
