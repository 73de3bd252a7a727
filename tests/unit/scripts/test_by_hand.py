"""The methods that are written by hand, with which the speed of ours is compared."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.support.paths import SCRIPTS
from tests.unit.scripts.script_modules import load_script

pytest.importorskip("quadprog")
pytest.importorskip("torchjd")

METHODS = [
    *("cov", "frozen_mean", "lra", "norm_balance", "ntk", "relobralo", "softadapt"),
    *("auxinash", "db_mtl", "moco", "modo", "sdmgrad"),
    "mgda update.every=10",
    "nash_mtl update.every=10",
    "mgda update.at=representation",
    "mgda update.blocks=layer",
    "upgrad update.blocks=layer",
]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """Return the script as a module; its neighbours are imported as it does when it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS / "benchmark"))
        yield load_script("benchmark/by_hand.py")


def test_every_method_that_is_written_by_hand_is_listed_here(script: ModuleType) -> None:
    """Breaks if a method is measured against something that no test has compared with it."""
    assert METHODS == script.METHODS


@pytest.mark.parametrize(
    "method",
    [
        method if method in ("moco", "softadapt") else pytest.param(method, marks=pytest.mark.long)
        for method in METHODS
    ],
)
def test_the_same_by_hand_has_the_same_losses(script: ModuleType, method: str) -> None:
    """Breaks if ours is compared with something that does other, or less, work."""
    assert script.largest_difference(method, script.step_of(method)) < script.ROUNDING


@pytest.mark.parametrize(
    ("method", "other"),
    [
        ("moco", "db_mtl"),
        pytest.param("softadapt", "frozen_mean", marks=pytest.mark.long),
        pytest.param("auxinash", "nash_mtl update.every=10", marks=pytest.mark.long),
        pytest.param(
            "upgrad update.blocks=layer", "mgda update.blocks=layer", marks=pytest.mark.long
        ),
        pytest.param("mgda update.every=10", "mgda update.blocks=layer", marks=pytest.mark.long),
    ],
)
def test_another_method_has_other_losses(script: ModuleType, method: str, other: str) -> None:
    """Breaks if two methods count as the same: then the comparison of losses tells nothing."""
    assert script.largest_difference(method, script.step_of(other)) > 1e-3
