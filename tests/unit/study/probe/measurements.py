"""Measurements of a probe, as the tests of its modules want them."""

from __future__ import annotations

from typing import Any

from mtl_runner.study.probe.measurement import ShortRuns


def measurement(**changes: Any) -> ShortRuns:
    """Return a measurement of two tasks, with some fields of your own."""
    fields: dict[str, Any] = {
        "tasks": ("depth", "label"),
        "rows": 1000,
        "parameters": 10_000,
        "scales": (100.0, 1.0),
        "norms": ((50.0, 1.0), (5.0, 0.5)),
        "cosines": (((1.0, 0.5), (0.5, 1.0)), ((1.0, -0.2), (-0.2, 1.0))),
        "relative_losses": (0.5, 0.05),
        "monitors": {
            "equal": ((0.4, 0.6), (0.3, 0.5)),
            "single_task": ((0.4, 0.4), (0.5, 0.5)),
            "uncertainty": ((0.3, 0.5), (0.2, 0.4)),
            "famo": ((0.9, 0.9), (0.8, 0.8)),
            "fixed depth=1.6 label=0.4": ((0.9, 0.9), (0.7, 0.7)),
            "fixed depth=0.4 label=1.6": ((0.5, 0.5), (0.6, 0.6)),
            "fixed 1/trivial depth=0.02 label=1.98": ((0.2, 0.2), (0.3, 0.3)),
        },
    }
    return ShortRuns(**(fields | changes))
