"""Architectures: from inputs to ``{task: output}``. A model knows the tasks, not their losses.

A model is any ``nn.Module`` that is made from ``tasks`` and ``input_shape`` and returns one output
per task with a target; these are the ones that come with mtl-runner. :class:`Unshared` and
:class:`PredictsNoise` are no architectures but wrap another model.
"""

from mtl_runner.models.lenet import LeNet
from mtl_runner.models.mlp import MLP
from mtl_runner.models.point import Point
from mtl_runner.models.predicts_noise import PredictsNoise
from mtl_runner.models.separate import SeparateMLPs
from mtl_runner.models.text_rcnn import TextRCNN
from mtl_runner.models.two_fonts import TwoFonts
from mtl_runner.models.unet import UNet
from mtl_runner.models.unshared import Unshared

__all__ = [
    "MLP",
    "LeNet",
    "Point",
    "PredictsNoise",
    "SeparateMLPs",
    "TextRCNN",
    "TwoFonts",
    "UNet",
    "Unshared",
]
