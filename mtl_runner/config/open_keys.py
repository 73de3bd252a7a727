"""Options of a class, or names of tasks, need no ``+`` of Hydra's."""

from __future__ import annotations

# Below these, keys are options of a class or names of tasks: `build` knows the allowed ones and suggests the nearest, so
# `weighting.weights.y1=2` and `optimizer.eps=1e-7` need no Hydra `+`.
OPEN = (
    "data.",
    "model.",
    "likelihood.",
    "weighting.",
    "schedule.",
    "update.",
    "optimizer.",
    "trainer.",
    "record.",
)


def opened(argument: str) -> str:
    """The argument so that Hydra takes it whether its key is there or not."""
    return f"++{argument}" if argument.startswith(OPEN) else argument
