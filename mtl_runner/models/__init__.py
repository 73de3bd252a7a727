"""Architectures: from inputs to ``{task: output}``. A model knows the tasks, not their losses.

A model is any ``nn.Module`` that is made from ``tasks`` and ``input_shape`` and returns one output
per task with a target; these are the ones that come with mtl-runner. :class:`MLPTrunk`,
:class:`LeNetTrunk`, :class:`UNetTrunk` and :class:`ResNetTrunk` are networks from inputs to
features, of which others are made. :class:`Unshared`, :class:`PredictsNoise` and
:class:`EmbedsCategories` are no architectures but wrap another model.
"""

from mtl_runner.models.backbone import Backbone
from mtl_runner.models.cross_stitch import CrossStitch
from mtl_runner.models.dselect_k import DSelectK
from mtl_runner.models.embeddings import EmbedsCategories
from mtl_runner.models.lenet import LeNet, LeNetTrunk
from mtl_runner.models.mlp import MLP, MLPTrunk
from mtl_runner.models.mmoe import MMoE
from mtl_runner.models.mpnn import MPNN
from mtl_runner.models.mtan import MTAN
from mtl_runner.models.pinn_mlp import PinnMLP
from mtl_runner.models.ple import CGC, PLE
from mtl_runner.models.point import Point
from mtl_runner.models.predicts_noise import PredictsNoise
from mtl_runner.models.resnet import ResNetTrunk
from mtl_runner.models.separate import SeparateMLPs
from mtl_runner.models.text_rcnn import TextRCNN
from mtl_runner.models.two_fonts import TwoFonts
from mtl_runner.models.unet import UNet, UNetTrunk
from mtl_runner.models.unshared import Unshared
from mtl_runner.models.vae import VAE

__all__ = [
    "CGC",
    "MLP",
    "MPNN",
    "MTAN",
    "PLE",
    "VAE",
    "Backbone",
    "CrossStitch",
    "DSelectK",
    "EmbedsCategories",
    "LeNet",
    "LeNetTrunk",
    "MLPTrunk",
    "MMoE",
    "PinnMLP",
    "Point",
    "PredictsNoise",
    "ResNetTrunk",
    "SeparateMLPs",
    "TextRCNN",
    "TwoFonts",
    "UNet",
    "UNetTrunk",
    "Unshared",
]
