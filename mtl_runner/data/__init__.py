"""Datasets: each gives the tasks and the splits of (inputs, {task: target}). Data knows neither models nor losses."""

from mtl_runner.data.base import Dataset, Inputs, Split, random_splits
from mtl_runner.data.digits import Digits
from mtl_runner.data.objectives import CAGradToy, FonsecaFleming
from mtl_runner.data.table import Table
from mtl_runner.data.toy import ToyMixed, ToyRegression

__all__ = [
    "CAGradToy",
    "Dataset",
    "Digits",
    "FonsecaFleming",
    "Inputs",
    "Split",
    "Table",
    "ToyMixed",
    "ToyRegression",
    "random_splits",
]
