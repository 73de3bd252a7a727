"""Requests and outcomes, which are compared and kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mtl_runner.runs.request import Outcome, Request


def test_a_request_cannot_be_changed_by_the_run_it_starts() -> None:
    """Breaks if a run that is tried again is another one."""
    request = Request(OmegaConf.create({}), Path("run"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.directory = Path("other")  # type: ignore[misc]


def test_an_outcome_is_judged_by_its_result_not_by_its_exception() -> None:
    """Breaks if two runs that failed alike are told apart by the identity of an exception."""
    first, second = (Outcome(0.5, "The disk is full.", 1, cause=OSError("full")) for _ in range(2))
    assert first == second
    assert first.cause is not second.cause
