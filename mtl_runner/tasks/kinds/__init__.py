"""The kinds of tasks: each class holds everything that its outputs and targets mean."""

from mtl_runner.tasks.kinds.base import Kind, Noise
from mtl_runner.tasks.kinds.classification import MISSING_CLASS, Classification
from mtl_runner.tasks.kinds.direction import Direction
from mtl_runner.tasks.kinds.multilabel import Multilabel
from mtl_runner.tasks.kinds.regression import Regression, RegressionL1
from mtl_runner.tasks.kinds.regression_log import RegressionLog
from mtl_runner.tasks.kinds.term import Term

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Regression(),
        RegressionL1(),
        RegressionLog(),
        Classification(),
        Multilabel(),
        Direction(),
        Term(),
    )
}

__all__ = [
    "KINDS",
    "MISSING_CLASS",
    "Classification",
    "Direction",
    "Kind",
    "Multilabel",
    "Noise",
    "Regression",
    "RegressionL1",
    "RegressionLog",
    "Term",
]
