"""What a run from Python leaves as it was: random states, threads, loggers, and the caller's own Hydra."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def unchanged_process() -> Iterator[None]:
    """Put back what a run sets for the whole process."""
    import torch

    from mtl_runner.experiment.seeding import random_state, set_random_state

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state, threads, anomaly = (
        random_state(device),
        torch.get_num_threads(),
        torch.is_anomaly_enabled(),
    )
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    loggers = [logging.getLogger(name) for name in ("mtl_runner", "hydra.utils")]
    before = [(logger, logger.level, logger.propagate, logger.disabled) for logger in loggers]
    try:
        yield
    finally:
        set_random_state(state, device)
        torch.set_num_threads(threads)
        torch.autograd.set_detect_anomaly(anomaly)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        for logger, level, propagate, disabled in before:
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, disabled


@contextlib.contextmanager
def without_hydra() -> Iterator[None]:
    """Compose though the caller's own Hydra is initialized, which stays as it was."""
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before
