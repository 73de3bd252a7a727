"""Axis 2, the weightings: what each loss is worth now.

A weighting turns the losses ``[T]`` of a batch into one objective. The derivative of the objective
with respect to a loss is the weight of its task. A weighting knows losses, not models or data.
"""

from mtl_runner.weighting.analytic import UncertaintyAnalytic, UncertaintySoftmax
from mtl_runner.weighting.base import Weighting, WrappedScalarizer
from mtl_runner.weighting.cov import CoV
from mtl_runner.weighting.dwa import DWA
from mtl_runner.weighting.famo import FAMO
from mtl_runner.weighting.fixed import Fixed
from mtl_runner.weighting.frozen_mean import FrozenMean
from mtl_runner.weighting.gradnorm import GradNorm
from mtl_runner.weighting.igb import IGB
from mtl_runner.weighting.imtl_l import IMTLL
from mtl_runner.weighting.learned import Learned
from mtl_runner.weighting.logarithmic import GeometricMean, LogSum
from mtl_runner.weighting.lr_annealing import LRAnnealing
from mtl_runner.weighting.norm_balance import NormBalance
from mtl_runner.weighting.ntk import NTK
from mtl_runner.weighting.preference import COSMOS, PBI, STCH
from mtl_runner.weighting.random import Random
from mtl_runner.weighting.relobralo import ReLoBRaLo
from mtl_runner.weighting.softadapt import SoftAdapt
from mtl_runner.weighting.uncertainty import Uncertainty

__all__ = [
    "COSMOS",
    "DWA",
    "FAMO",
    "IGB",
    "IMTLL",
    "NTK",
    "PBI",
    "STCH",
    "CoV",
    "Fixed",
    "FrozenMean",
    "GeometricMean",
    "GradNorm",
    "LRAnnealing",
    "Learned",
    "LogSum",
    "NormBalance",
    "Random",
    "ReLoBRaLo",
    "SoftAdapt",
    "Uncertainty",
    "UncertaintyAnalytic",
    "UncertaintySoftmax",
    "Weighting",
    "WrappedScalarizer",
]
