"""Datasets, one folder per family: each has tasks and the splits ``train``, ``val`` and ``test``.

A dataset is any object with ``tasks`` and ``splits`` (:class:`Dataset`); a split holds inputs and
one target per task (:class:`Split`). Every dataset is checked and brought into one form by
:func:`mtl_runner.data.prepare.prepare`. Data knows neither models nor losses.
"""

from mtl_runner.data.dataset import Dataset, Split, random_splits
from mtl_runner.data.huggingface import HuggingFaceDataset
from mtl_runner.data.image_folder.image_folder import ImageFolder
from mtl_runner.data.images.collapse import Collapse
from mtl_runner.data.images.digits import Digits
from mtl_runner.data.images.multi_digits import MultiDigits
from mtl_runner.data.images.multi_mnist import MultiMNIST
from mtl_runner.data.images.speed_mismatch import SpeedMismatch
from mtl_runner.data.images.vae_digits import VAEDigits
from mtl_runner.data.inputs import Inputs
from mtl_runner.data.molecules.qm9 import QM9
from mtl_runner.data.physics.burgers import Burgers, BurgersInverse
from mtl_runner.data.physics.derivatives import derivatives
from mtl_runner.data.physics.domain import Box, Sides
from mtl_runner.data.physics.elliptic import Helmholtz, Poisson
from mtl_runner.data.physics.klein_gordon import KleinGordon
from mtl_runner.data.physics.kovasznay import Kovasznay
from mtl_runner.data.physics.problem import Equation, PhysicsProblem
from mtl_runner.data.scenes.npy_folders import Cityscapes, NYUv2
from mtl_runner.data.scenes.scenes import Scenes
from mtl_runner.data.table.table import Table
from mtl_runner.data.text.reuters import Reuters
from mtl_runner.data.toys.gradnorm_toy import GradNormToy
from mtl_runner.data.toys.objectives import CAGradToy, FonsecaFleming
from mtl_runner.data.toys.related import Related
from mtl_runner.data.toys.toy import ToyMixed, ToyRegression
from mtl_runner.tasks.points import PointSet

__all__ = [
    "QM9",
    "Box",
    "Burgers",
    "BurgersInverse",
    "CAGradToy",
    "Cityscapes",
    "Collapse",
    "Dataset",
    "Digits",
    "Equation",
    "FonsecaFleming",
    "GradNormToy",
    "Helmholtz",
    "HuggingFaceDataset",
    "ImageFolder",
    "Inputs",
    "KleinGordon",
    "Kovasznay",
    "MultiDigits",
    "MultiMNIST",
    "NYUv2",
    "PhysicsProblem",
    "PointSet",
    "Poisson",
    "Related",
    "Reuters",
    "Scenes",
    "Sides",
    "SpeedMismatch",
    "Split",
    "Table",
    "ToyMixed",
    "ToyRegression",
    "VAEDigits",
    "derivatives",
    "random_splits",
]
