"""The next trials of a search, by Optuna's ask and tell."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError
from mtl_runner.study.search.options import Range

# Of Optuna; earlier ones have no FloatDistribution or another sampler.
LEAST_VERSION = 4


def require_optuna() -> Any:
    """Return the module ``optuna``.

    Raises:
        ConfigError: If it is not installed, or is the old one of Hydra's plugin.
    """
    optuna = import_extra("optuna", "optuna", "+search=optuna")
    if int(optuna.__version__.partition(".")[0]) < LEAST_VERSION:
        raise ConfigError(
            f"+search=optuna needs an Optuna of at least {LEAST_VERSION}, but {optuna.__version__} is installed, which hydra-optuna-sweeper wants; the two need an environment each: pip install 'mtl-runner[optuna]' in another one."
        )
    return optuna


def propose(
    ranges: Mapping[str, Range],
    results: Sequence[tuple[Mapping[str, float], float]],
    first: Sequence[Mapping[str, float]],
    count: int,
    seed: int,
    given_up: Mapping[int, int] = MappingProxyType({}),
) -> list[dict[str, float]]:
    """Return the settings that are to be tried next.

    They depend on the arguments alone, so that a search that was stopped asks the same again: the
    sampler, a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), is told all results
    anew. Trials of one batch keep a distance from each other.

    Args:
        ranges: The least and the largest value of each setting, searched on a log scale.
        results: The settings and the monitor of each trial so far; infinity for one that failed.
        first: Settings to begin with.
        count: How many trials to propose.
        seed: The seed of the sampler.
        given_up: ``{number of a trial: the epoch after which it was given up}``: the sampler ranks
            these behind those that were trained to their end, and among themselves by their epoch
            and their monitor.

    Raises:
        ConfigError: If Optuna is not installed.
    """
    optuna = require_optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=_seed_of_batch(seed, len(results)), multivariate=True, constant_liar=True
            )
            study = optuna.create_study(sampler=sampler)
            scales = {
                name: optuna.distributions.FloatDistribution(*ends, log=True)
                for name, ends in ranges.items()
            }
            for number, (point, monitor) in enumerate(results):
                end: dict[str, Any] = {"value": monitor}
                if number in given_up:
                    pruned = optuna.trial.TrialState.PRUNED
                    end = {"state": pruned, "intermediate_values": {given_up[number]: monitor}}
                trial = optuna.trial.create_trial(params=dict(point), distributions=scales, **end)
                study.add_trial(trial)
            for point in first[len(results) :]:
                study.enqueue_trial(dict(point))
            return [dict(study.ask(scales).params) for _ in range(count)]
    finally:
        optuna.logging.set_verbosity(verbosity)


def _seed_of_batch(seed: int, trials: int) -> int:
    """Return a seed of its own for the sampler of every batch, by the number of trials before."""
    return random.Random(f"{seed} {trials}").getrandbits(32)
