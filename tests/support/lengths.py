"""Which cases of a test the default run takes: of many alike a few, the long tests the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def long_but(quick: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """Return the cases of a test, marked as long but for a few.

    Args:
        quick: The cases that the default run takes.
        cases: All of them; a tuple is the values of several arguments.
    """
    return [
        case
        if case in quick
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
        for case in cases
    ]
