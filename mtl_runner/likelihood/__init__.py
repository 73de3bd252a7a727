"""Axis 1, the likelihoods: how one task's output and target become a loss.

A likelihood knows tasks and outputs, not models or weightings.
"""

from mtl_runner.likelihood.base import Likelihood, Standard
from mtl_runner.likelihood.heteroscedastic import Heteroscedastic
from mtl_runner.likelihood.homoscedastic import Homoscedastic

__all__ = ["Heteroscedastic", "Homoscedastic", "Likelihood", "Standard"]
