"""A run from Python puts back what it sets for the whole process."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.launch.unchanged_process import unchanged_process, without_hydra


def draw() -> tuple[float, float, float]:
    """Draw a number from each of the generators that everything shares."""
    return random.random(), float(np.random.rand()), torch.rand(1).item()


def seed() -> None:
    """Set the state of all generators."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


@pytest.mark.parametrize("fails", [False, True], ids=["finished", "failed"])
def test_random_numbers_go_on_as_if_there_had_been_no_run(fails: bool) -> None:
    """Breaks if a random search in a notebook draws the same numbers after every run."""
    seed()
    expected = draw()
    seed()
    try:
        with unchanged_process():
            torch.manual_seed(7)
            draw()
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert draw() == expected


def test_settings_are_put_back() -> None:
    """Breaks if a caller's logging falls silent, or its own training becomes slower."""
    logger = logging.getLogger("mtl_runner")
    before = (
        *(logger.level, logger.propagate, logger.disabled, torch.get_num_threads()),
        *(torch.is_anomaly_enabled(), torch.backends.cudnn.benchmark),
    )
    with unchanged_process():
        logger.setLevel(logging.ERROR)
        logger.propagate, logger.disabled = not logger.propagate, True
        torch.set_num_threads(2)
        torch.autograd.set_detect_anomaly(True)
        torch.backends.cudnn.benchmark = True
    after = (
        *(logger.level, logger.propagate, logger.disabled, torch.get_num_threads()),
        *(torch.is_anomaly_enabled(), torch.backends.cudnn.benchmark),
    )
    assert after == before


def test_a_callers_hydra_is_hidden_and_put_back() -> None:
    """Breaks if mtl_runner.run cannot be called from a program that uses Hydra itself."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        callers = GlobalHydra.instance().hydra
        with without_hydra(), initialize_config_dir(str(conf_directory()), version_base="1.3"):
            assert GlobalHydra.instance().hydra is not callers
        assert GlobalHydra.instance().hydra is callers
