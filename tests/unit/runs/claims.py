"""Claims of run directories for small configs."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mtl_runner.runs.directory import claimed


def config(**options: object) -> DictConfig:
    """Return a config as Hydra composes it, but small."""
    return OmegaConf.create({"seed": 0, "data": {"n": 60, "metrics": {}}, **options})


def claim_for(directory: Path, run: DictConfig) -> None:
    """Claim a directory for a run with fixed overrides and choices."""
    with claimed(directory, run, ["data=toy", "seed=0"], {"data": "toy"}, None):
        pass
