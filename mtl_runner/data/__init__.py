"""Datasets: each gives the tasks and the splits of (inputs, {task: target}). Data knows neither models nor losses."""

from mtl_runner.data.base import Dataset, Inputs, Split, random_splits
from mtl_runner.data.collapse import Collapse
from mtl_runner.data.digits import Digits
from mtl_runner.data.gradnorm_toy import GradNormToy
from mtl_runner.data.multi_digits import MultiDigits
from mtl_runner.data.multi_mnist import MultiMNIST
from mtl_runner.data.npy_folders import Cityscapes, NYUv2
from mtl_runner.data.objectives import CAGradToy, FonsecaFleming
from mtl_runner.data.reuters import Reuters
from mtl_runner.data.scenes import Scenes
from mtl_runner.data.speed_mismatch import SpeedMismatch
from mtl_runner.data.table import Table
from mtl_runner.data.toy import ToyMixed, ToyRegression

__all__ = [
    "CAGradToy",
    "Cityscapes",
    "Collapse",
    "Dataset",
    "Digits",
    "FonsecaFleming",
    "GradNormToy",
    "Inputs",
    "MultiDigits",
    "MultiMNIST",
    "NYUv2",
    "Reuters",
    "Scenes",
    "SpeedMismatch",
    "Split",
    "Table",
    "ToyMixed",
    "ToyRegression",
    "random_splits",
]
