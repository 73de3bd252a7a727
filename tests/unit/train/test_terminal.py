"""Lines on the terminal, with and without a bar below them."""

from __future__ import annotations

import io
import sys

import pytest
from tqdm import tqdm

from mtl_runner.train.terminal import say
from tests.support.screen import shown


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_line_stands_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a notice begins on the bar's own line."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with tqdm(total=4, ncols=60, leave=True) as bar:
        bar.update(2)
        say("The loss is negative.")
    lines = shown(terminal.getvalue())
    assert lines[0] == "The loss is negative."
    assert lines[1].startswith(" 50%|")


def test_a_reader_that_is_gone_is_no_error() -> None:
    """Breaks if `mtl-run -m ... | head` ends in a traceback."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    say("nobody reads this", Closed())
