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

    def check_tasks(self, kind: str) -> None:
        """Check that there is something to weigh.

        Args:
            kind: What is asked for, for the error, as "A search".

        Raises:
            ConfigError: If there are fewer than two tasks.
        """
        if len(self.trivial) < 2:
            raise ConfigError(
                f"{kind} needs at least two tasks, this one has {', '.join(self.trivial)}: there is nothing to weigh."
            )


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


def check_option(config: DictConfig, key: str, asked_by: str) -> None:
    """Check that the class behind a config node has an option.

    Args:
        config: The config that all runs share.
        key: The option, such as ``model.dropout``.
        asked_by: The option of the study that names it.

    Raises:
        ConfigError: If it has none of this name.

    Example:
        >>> model = {"_target_": "torch.nn.Linear"}
        >>> check_option(OmegaConf.create({"model": model}), "model.dropout", "study.widths")
        ... # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: study.widths names model.dropout, which torch.nn...
    """
    from mtl_runner.config.instantiate import takes

    parent, _, option = key.rpartition(".")
    node: Any = OmegaConf.select(config, parent)
    if not isinstance(node, DictConfig) or not (option in node or takes(node, option)):
        owner = node.get("_target_", parent) if isinstance(node, DictConfig) else "the config"
        raise ConfigError(f"{asked_by} names {key}, which {owner} does not have.")


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


def config_with(
    context: HydraContext, sweep_config: DictConfig, config: DictConfig, optimizer: str | None
) -> DictConfig:
    """Return a config with the options of an optimizer, its learning rate among them.

    They are those of the optimizer's own file, but for the one that all runs would have without a
    choice: the data may have set its learning rate.

    Args:
        context: Hydra's config loader and callbacks.
        sweep_config: The config of the sweep.
        config: The config that all runs share.
        optimizer: The optimizer; None where the study does not choose it.
    """
    if optimizer in (None, sweep_config.hydra.runtime.choices.optimizer):
        return config
    # Digits set nothing of an optimizer.
    options = ["data=digits", f"optimizer={optimizer}"]
    chosen = context.config_loader.load_sweep_config(sweep_config, options)
    config = config.copy()
    with open_dict(config):
        config.optimizer = chosen.optimizer
    return config
