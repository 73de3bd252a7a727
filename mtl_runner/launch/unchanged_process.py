"""A run from Python leaves the caller's process as it was.

That is: random states, threads, loggers and the caller's own Hydra.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def unchanged_process() -> Iterator[None]:
    """Put back, at the end, what a run sets for the whole process.

    Example:
        >>> import torch
        >>> before = torch.get_num_threads()
        >>> with unchanged_process():
        ...     torch.set_num_threads(before + 1)
        >>> torch.get_num_threads() == before
        True
    """
    import torch

    from mtl_runner.experiment.seeding import random_state, set_random_state

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = random_state(device)
    threads, anomaly = torch.get_num_threads(), torch.is_anomaly_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    loggers = [logging.getLogger(name) for name in ("mtl_runner", "hydra.utils")]
    settings = [(logger, logger.level, logger.propagate, logger.disabled) for logger in loggers]
    try:
        yield
    finally:
        set_random_state(state, device)
        torch.set_num_threads(threads)
        torch.autograd.set_detect_anomaly(anomaly)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        for logger, level, propagate, disabled in settings:
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, disabled


@contextlib.contextmanager
def without_hydra() -> Iterator[None]:
    """Hide the caller's own Hydra, which may be initialized, and put it back at the end."""
    from hydra.core.global_hydra import GlobalHydra

    callers_hydra = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = callers_hydra
