"""The fair comparison of loss weightings: what is tuned how, and which runs decide.

:mod:`~mtl_runner.study.plan` has what is compared and trained, and
:mod:`~mtl_runner.study.protocol` is the protocol, a generator of rounds of runs;
:mod:`~mtl_runner.study.options` reads the user's options, :mod:`~mtl_runner.study.weights` makes
the fixed weights, :mod:`~mtl_runner.study.sweeper` runs it all as a sweeper of Hydra's, and
:mod:`~mtl_runner.study.record` writes ``study.json``. What is imported here knows neither torch
nor Hydra.
"""

from mtl_runner.study.plan import Candidate, Plan, PlannedRun
from mtl_runner.study.protocol import Protocol

__all__ = ["Candidate", "Plan", "PlannedRun", "Protocol"]
