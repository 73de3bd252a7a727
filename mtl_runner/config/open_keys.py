"""Config keys below which users may add keys without Hydra's ``+``."""

from __future__ import annotations

# Keys below these are options of a class or names of tasks. `experiment.build` knows the allowed
# ones and suggests the nearest, so `weighting.weights.y1=2` needs no `+`.
OPEN_PREFIXES = (
    "data.",
    "model.",
    "likelihood.",
    "weighting.",
    "schedule.",
    "update.",
    "optimizer.",
    "trainer.",
    "record.",
    "hydra.launcher.slurm.",
    # Mappings of a study, whose keys are those of other options.
    "study.knobs=",
    "study.regularisation=",
    "study.widths=",
)


def override_or_add(argument: str) -> str:
    """Return a command-line override that Hydra accepts whether or not its key exists.

    Args:
        argument: An override as the user wrote it, ``key=value``.

    Example:
        >>> override_or_add("optimizer.eps=1e-7"), override_or_add("seed=1")
        ('++optimizer.eps=1e-7', 'seed=1')
    """
    # A study, a search and a probe are in no run's defaults.
    if argument.startswith(("study=", "search=", "probe=")):
        return f"+{argument}"
    return f"++{argument}" if argument.startswith(OPEN_PREFIXES) else argument
