"""Docstrings without imports: which one is found, and how it reads in a terminal."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from mtl_runner.launch.catalog import AXES, Catalog
from mtl_runner.launch.docstrings import docstring_of, plain_docstring
from tests.support.paths import CONF

OPTIONS = [option for axis in AXES for option in Catalog([CONF]).options(axis)]


@pytest.mark.parametrize("target", sorted({o.target for o in OPTIONS if o.target}))
def test_it_is_the_docstring_that_an_import_finds(target: str) -> None:
    """Breaks if a class that a package passes on is not found, or another one of its name is."""
    module, _, name = target.rpartition(".")
    docstring = getattr(importlib.import_module(module), name).__doc__
    assert docstring_of(target).split() == docstring.split()


def test_nothing_is_imported(tmp_path: Path) -> None:
    """Breaks if a question about an option runs the user's code, or waits for torch."""
    package = tmp_path / "lab" / "losses"
    package.mkdir(parents=True)
    (tmp_path / "lab" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "__init__.py").write_text("from .roots import Roots as Root\n")
    (package / "roots.py").write_text('raise RuntimeError\nclass Roots:\n    """Add roots."""\n')
    code = (
        "import sys; from mtl_runner.launch.docstrings import docstring_of as d;"
        "print([d('lab.losses.Root'), d('lab.losses.roots.Roots'), d('lab.Nothing'), d('nowhere.X'),"
        " d('mtl_runner.weighting.FAMO') is None], 'torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout == "['Add roots.', 'Add roots.', None, None, False] False\n"


@pytest.mark.parametrize("target", ["", "torch", "a.", ".", "builtins.int", "mtl_runner..x"])
def test_a_path_without_a_source_has_none(target: str) -> None:
    """Breaks if an unusual `_target_` ends a question in a traceback."""
    assert docstring_of(target) is None


DOCSTRING = r"""
    Weigh each loss by :math:`w_t` (see :class:`~lab.losses.Roots` and :func:`lab.roots`).

    .. math::
        \sum_t w_t L_t, \qquad
        w = \tfrac12

    A sentence that has to be filled, since it goes on and on until it does not fit into a line.

    Args:
        tasks: The tasks, in the order of the losses, with a description of more than one line.
        form: ``"a"`` or *b*.

    Example:
        >>> print("``untouched   spaces``")
        ``untouched   spaces``
"""


def test_a_docstring_reads_as_plain_text() -> None:
    """Breaks if a terminal shows markup, runs arguments together or refills an example."""
    assert plain_docstring(DOCSTRING, width=60).splitlines() == [
        "Weigh each loss by wₜ (see Roots and lab.roots).",
        "",
        "    Σₜ wₜ Lₜ, w = 1/2",
        "",
        "A sentence that has to be filled, since it goes on and on",
        "until it does not fit into a line.",
        "",
        "Args:",
        "    tasks: The tasks, in the order of the losses, with a",
        "        description of more than one line.",
        '    form: "a" or b.',
        "",
        "Example:",
        '    >>> print("``untouched   spaces``")',
        "    ``untouched   spaces``",
    ]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: f"{option.group}={option.name}")
def test_no_markup_is_left_in_any_of_ours(option: object) -> None:
    """Breaks if a new docstring uses LaTeX or a role that a terminal would show raw."""
    text = plain_docstring(option.docstring or "")  # type: ignore[attr-defined]
    lines = [line for line in text.splitlines() if not line.strip().startswith((">>>", "..."))]
    prose = "\n".join(lines)
    for markup in ("\\", ":math:", ":class:", ".. ", "\x00"):
        assert markup not in prose, (markup, text)
