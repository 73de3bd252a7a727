"""Import what a sweep needs, so that the processes of the cells begin with it.

A fork of a process that has taken a gradient cannot take one itself: nothing here does.
"""

from __future__ import annotations

import matplotlib.pyplot as plt  # noqa: F401
import scipy.stats  # noqa: F401
import torch

import mtl_runner.cli
import mtl_runner.launch.stacked_launcher
import mtl_runner.results.pictures.comparison
import mtl_runner.results.report.write
import mtl_runner.runs.stacked  # noqa: F401

# A first step of an optimizer imports a good part of torch.
_parameter = torch.nn.Parameter(torch.zeros(1))
_optimizer = torch.optim.Adam([_parameter])
_parameter.grad = torch.zeros(1)
_optimizer.step()
