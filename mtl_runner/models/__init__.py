"""Models: any nn.Module from inputs to ``{task: output}``. A model knows the tasks, not their losses."""

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
