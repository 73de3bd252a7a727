"""The problem of a study or a search, read before its first run. Free of torch until then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from mtl_runner.config.working_directory import working_directory_searched
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_number


@dataclass(frozen=True)
class Problem:
    """The problem that all runs of a sweep share.

    Attributes:
        config: The config that the runs share, without Hydra's own node.
        steps: The steps of a run.
        epochs: The epochs of a run.
        rows: The number of training rows.
        trivial: The loss of the trivial predictor on the training rows, per task; None where there
            is none.

    Example:
        >>> list(Problem(OmegaConf.create({}), 100, 10, 6400, {"depth": 4.0, "pde": None}).trivial)
        ['depth', 'pde']
    """

    config: DictConfig
    steps: int
    epochs: int
    rows: int
    trivial: Mapping[str, float | None]


def read_problem(context: HydraContext, sweep_config: DictConfig, common: Sequence[str]) -> Problem:
    """Compose the config that all runs share, and read their data.

    Args:
        context: Hydra's config loader and callbacks.
        sweep_config: The config of the sweep.
        common: The options that all runs share.
    """
    config = context.config_loader.load_sweep_config(sweep_config, [*common, "weighting=fixed"])
    with open_dict(config):
        del config["hydra"]
        # The name of a run is made of Hydra's choices, which are not known yet.
        config.name = "study"
    from mtl_runner.config.settings import Settings
    from mtl_runner.experiment.dataset import build_data, trivial_losses

    plain: Any = OmegaConf.to_container(config, resolve=True)
    with working_directory_searched():
        data = build_data(plain["data"])
        rows = len(data.splits["train"])
        losses = trivial_losses(data.tasks, data.splits["train"])
    settings = Settings.read(plain).with_batch_size_for(rows)
    epochs = settings.trainer.epochs
    steps = epochs * -(-rows // settings.batch_size)
    names = [task.name for task in data.tasks]
    return Problem(config, steps, epochs, rows, dict(zip(names, losses, strict=True)))


def check_choices(
    context: HydraContext, sweep_config: DictConfig, choices: Iterable[Sequence[str]]
) -> None:
    """Compose a config from each choice, so that a misspelt one is found before the first run.

    Args:
        context: Hydra's config loader and callbacks.
        sweep_config: The config of the sweep.
        choices: The options of each choice.

    Raises:
        HydraException: If there is no such config.
    """
    for options in choices:
        context.config_loader.load_sweep_config(sweep_config, list(options))


def check_middle_rate(config: DictConfig) -> float:
    """Return ``optimizer.lr``, around which learning rates are tried.

    Args:
        config: The config of the sweep.

    Raises:
        ConfigError: If it is no positive number.

    Example:
        >>> check_middle_rate(OmegaConf.create({"optimizer": {"lr": 0.01}}))
        0.01
    """
    lr = config.optimizer.lr
    if not is_number(lr) or lr <= 0:
        raise ConfigError(
            f"optimizer.lr must be a positive number, the middle of the learning rates; found {lr!r}."
        )
    return float(lr)
