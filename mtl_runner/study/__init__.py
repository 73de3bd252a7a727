"""The fair comparison as a protocol: who is tried at what, in which order. Knows no torch and no Hydra."""

from mtl_runner.study.protocol import Candidate, Plan, PlannedRun, Protocol

__all__ = ["Candidate", "Plan", "PlannedRun", "Protocol"]
