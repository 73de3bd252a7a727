"""Which weighting gets which calls from the training step and the trainer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner import weighting
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import Weighting
from mtl_runner.weighting.protocols import (
    KeepsLosses,
    ObservesGradients,
    ObservesLosses,
    ObservesNorms,
    ObservesTraces,
    RemembersLosses,
)

TASKS = [Task("a"), Task("b")]
CALLED = {
    ObservesNorms: {"GradNorm", "NormBalance"},
    ObservesGradients: {"LRAnnealing"},
    ObservesTraces: {"NTK"},
    ObservesLosses: {"FAMO"},
    KeepsLosses: {"DWA", "IGB"},
    RemembersLosses: {"CoV", "ReLoBRaLo", "SoftAdapt"},
}


def instances() -> list[Weighting]:
    """Return every weighting of the package that needs no other package."""
    names = set(weighting.__all__) - {
        "Weighting",
        "WrappedScalarizer",
        "STCH",
        "PBI",
        "COSMOS",
        "FrozenMean",
    }
    return [getattr(weighting, name)(TASKS) for name in sorted(names)]


@pytest.mark.parametrize("protocol", CALLED, ids=lambda protocol: protocol.__name__)
def test_only_the_weightings_that_want_a_call_get_it(protocol: Any) -> None:
    """Breaks if GradNorm, FAMO or DWA miss their calls, or another weighting pays for them."""
    called = {type(w).__name__ for w in instances() if isinstance(w, protocol)}
    assert called == CALLED[protocol]


def test_a_module_with_the_methods_takes_part_without_a_base_class() -> None:
    """Breaks if a user's weighting must derive from a class of ours to be told of epochs."""

    class Remembers(nn.Module):
        def accumulate(self, losses: torch.Tensor, active: Any = None) -> None: ...

        def begin_epoch(self) -> None: ...

    assert isinstance(Remembers(), KeepsLosses)
    assert not isinstance(Remembers(), ObservesNorms | ObservesLosses)
