"""The kinds of verdict: words and marks for each."""

from __future__ import annotations

import pytest

from mtl_runner.results.report.forest import MARKS
from mtl_runner.results.verdict.answers import answer
from mtl_runner.results.verdict.sentences import describe, describe_refused
from mtl_runner.results.verdict.verdict import (
    BETTER,
    HELPS,
    HURTS,
    NO_DIFFERENCE,
    NOT_APPLICABLE,
    STATIC,
    UNDECIDED,
)
from tests.unit.results.verdict.made_verdicts import verdict, versus

KINDS = (BETTER, HELPS, HURTS, NO_DIFFERENCE, NOT_APPLICABLE, STATIC, UNDECIDED)


@pytest.mark.parametrize("role", ["strategy", "fixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_sentence_an_answer_and_a_mark(kind: str, role: str) -> None:
    """Breaks if a kind of verdict cannot be put into words for a method or for fixed weights."""
    judged = verdict("s", kind, versus(-0.5, -0.6, -0.4), role)
    sentence = describe_refused if kind == NOT_APPLICABLE else describe
    assert sentence(judged).startswith("s ")
    assert "on d" in answer([judged], "d").lower()
    assert MARKS[kind]


def test_no_kind_has_a_mark_but_no_name() -> None:
    """Breaks if a kind is renamed in one place only."""
    assert set(MARKS) == set(KINDS)
