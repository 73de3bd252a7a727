"""Axis 2: what each loss is worth now. A weighting knows losses, not models or data."""

from mtl_runner.weighting.base import Foreign, Weighting
from mtl_runner.weighting.fixed import Fixed
from mtl_runner.weighting.uncertainty import Uncertainty

__all__ = ["Fixed", "Foreign", "Uncertainty", "Weighting"]
