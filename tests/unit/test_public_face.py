"""The names that ``import mtl_runner`` offers."""

from __future__ import annotations

import pytest

import mtl_runner


def test_the_names_are_there() -> None:
    """Breaks if a documented name is gone, or is not what it says."""
    from mtl_runner import (
        Kind,
        Likelihood,
        Metric,
        Schedule,
        Task,
        Update,
        Weighting,
        compare,
        load,
        run,
    )

    for cls in (Kind, Likelihood, Metric, Schedule, Task, Update, Weighting):
        assert isinstance(cls, type)
    assert all(callable(function) for function in (run, load, compare))
    assert set(mtl_runner.__all__) <= {*dir(mtl_runner), "__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'rnu'"):
        mtl_runner.rnu  # noqa: B018


def test_functions_stay_callable_after_any_import() -> None:
    """Breaks if a submodule takes the name of a function of the public face."""
    import mtl_runner.results.compare
    import mtl_runner.runs.predictor
    import mtl_runner.runs.runner

    assert all(
        callable(function) for function in (mtl_runner.run, mtl_runner.load, mtl_runner.compare)
    )
