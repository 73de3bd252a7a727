"""The sweeper of a study, by the protocol of :mod:`mtl_runner.study`.

It works with any launcher, and is free of torch until it begins.
"""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from mtl_runner.config.open_keys import override_or_add
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_number
from mtl_runner.errors.words import counted
from mtl_runner.files import write_atomic
from mtl_runner.results.records.roles import group_name
from mtl_runner.study import Plan, Protocol
from mtl_runner.study.budget import Budget
from mtl_runner.study.extent import (
    LEAST_SEEDS,
    MOST_SEEDS,
    Extent,
    announcement,
    needed_seeds,
    precision,
)
from mtl_runner.study.factors import OPTIMIZER, check_given, groups_of
from mtl_runner.study.launching import CountsRuns, LaunchingSweeper, Rounds
from mtl_runner.study.norms import norms_at_start
from mtl_runner.study.options import (
    candidates_of,
    check_chosen,
    check_sweep,
    checked_options,
    splits_of,
)
from mtl_runner.study.problem import (
    check_choices,
    check_middle_rate,
    check_option,
    config_with,
    read_problem,
)
from mtl_runner.study.record import StudyRecord
from mtl_runner.study.regularisation import regularisation_of
from mtl_runner.study.search.result import searched_candidate
from mtl_runner.study.weights import fixed_candidates
from mtl_runner.train.terminal import say


class StudySweeper(LaunchingSweeper):
    """A sweeper that runs a study; its options are those of ``conf/study/fair.yaml``.

    It is started by ``mtl-run -m +study=fair data=digits weighting=fixed,uncertainty,dwa``.

    Example:
        >>> issubclass(StudySweeper, LaunchingSweeper)
        True
    """

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run all rounds of the study.

        Args:
            arguments: The options of the command line.

        Returns:
            What Hydra's launcher returned for each run, in their order.

        Raises:
            ConfigError: Before any run, if the study cannot be made as it is asked for.
        """
        options = checked_options(OmegaConf.to_container(self.sweep_config.study, resolve=True))
        overrides = OverridesParser.create().parse_overrides(arguments)
        overrides = [o for o in overrides if not re.match(r"study(\.|$)", o.key_or_group)]
        # Those of the weighting are the strategies' own.
        common = [
            str(o.input_line)
            for o in overrides
            if not o.is_sweep_override() and not re.match(r"weighting(\.|$)", o.key_or_group)
        ]
        optimizers = options["optimizers"] or []
        regularisation = regularisation_of(options["regularisation"])
        check_given(overrides, optimizers)
        check_sweep(overrides)
        common = self.with_plots(common)
        check_middle_rate(self.sweep_config)
        problem = read_problem(self.context, self.sweep_config, common)
        base, steps, trivial = problem.config, problem.steps, problem.trivial
        automatic = options["seeds"] == "auto"
        seeds = MOST_SEEDS if automatic else options["seeds"]
        plan = Plan(
            lr=float(base.optimizer.lr),
            seed=int(base.seed),
            seeds=seeds,
            least_seeds=LEAST_SEEDS if automatic else None,
            per_decade=options["per_decade"],
            decades=options["decades"],
            extensions=options["extensions"],
            tuning_seeds=options["tuning_seeds"],
            splits=splits_of(
                options["splits"], seeds, problem.rows, is_number(base.data.get("seed"))
            ),
            data_seed=int(base.data.get("seed") or 0),
            regularisation=regularisation,
        )
        known = self.context.config_loader.get_group_options("optimizer")
        groups = groups_of(optimizers, options["widths"], base, known)
        chosen = {key: "study.regularisation" for key, _ in regularisation}
        chosen |= {key: "study.widths" for group in groups for key in group.keys}
        check_chosen(overrides, chosen)
        configs = [
            config_with(self.context, self.sweep_config, base, group.level(OPTIMIZER))
            for group in groups
        ]
        rates = [check_middle_rate(config) for config in configs]
        for config, (key, asked_by) in itertools.product(configs, chosen.items()):
            check_option(config, key, asked_by)
        problem.check_tasks("A study")
        candidates = candidates_of(
            overrides, options["knobs"], str(self.sweep_config.hydra.runtime.choices.weighting)
        )
        candidates += fixed_candidates(
            list(trivial), trivial, options["fixed_points"], norms_of(base, len(trivial))
        )
        if options["search"]:
            candidates.append(searched_candidate(Path(options["search"]), list(trivial)))
        strategies = [candidate for candidate in candidates if candidate.role == "strategy"]
        check_choices(
            self.context,
            self.sweep_config,
            (
                [*common, *map(override_or_add, s.overrides)]
                for place, group in enumerate(groups)
                for s in group.candidates(strategies if place == 0 else strategies[:1])
            ),
        )
        extent = Extent(plan, len(candidates), len(strategies), len(trivial), len(groups))
        directory = Path(str(self.sweep_config.hydra.sweep.dir)).absolute()
        study = StudyRecord(directory, options["margin"])
        study.read_pace()
        budget = Budget(options["budget"], steps, study.seconds_per_run)
        judged = "best evaluation" if base.trainer.judge == "best" else "last epoch"
        names = [group_name(group.levels) for group in groups if group.levels]
        say(announcement(candidates, extent, steps, judged, names))
        budget.check(extent)
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / "multirun.yaml", OmegaConf.to_yaml(self.sweep_config).encode())
        all_returns: list[JobReturn] = []
        self.began = time.monotonic()
        for place, (group, lr) in enumerate(zip(groups, rates, strict=True)):
            later = len(groups) - place - 1
            # What the groups after this one need is not this one's to take.
            reserved = extent.single_task_runs + later * extent.most_without_extension // len(
                groups
            )
            protocol = Protocol(
                replace(plan, lr=lr),
                group.candidates(candidates),
                study.average_weights,
                study.settings_per_task,
                partial(_is_within, study, budget, reserved),
                study.refusal,
                (lambda noise: needed_seeds(noise, options["margin"])) if automatic else None,
            )
            study.begin_group(group.levels, protocol.notes)
            all_returns += self._run_rounds(protocol, study, extent, budget, common, later)
        if self.reused:
            say(f"study: {counted(study.count, 'run')}, of which {self.reused} were there already.")
        return all_returns

    def _run_rounds(
        self,
        protocol: Rounds,
        study: StudyRecord,
        extent: CountsRuns,
        budget: Budget,
        common: Sequence[str],
        later: int,
    ) -> list[JobReturn]:
        """Launch the rounds of a group, one after another, and record them.

        Args:
            protocol: The protocol of the group.
            study: The record of the study.
            extent: How many runs the study takes.
            budget: How many it may take.
            common: The options that all runs share.
            later: How many groups follow.
        """
        tuning = options_of_tuning(common, self.sweep_config)
        measured = options_of_equal_weights(common)
        all_returns: list[JobReturn] = []
        rounds = protocol.rounds()
        monitors: Sequence[float] | None = None
        while True:
            try:
                runs = next(rounds) if monitors is None else rounds.send(monitors)
            except StopIteration:
                break
            batch = [
                [
                    *(o for o in common if run.data_seed is None or not _is_data_seed(o)),
                    *([] if run.final else tuning),
                    *(measured if run.final and run.candidate.role == "equal" else []),
                    *map(override_or_add, run.overrides),
                ]
                for run in runs
            ]
            settled = precision(protocol.noise, study.margin or 0.0, protocol.plan.seeds)
            if runs[0].phase == 4 and settled:
                say(settled)
            pace = (time.monotonic() - self.began) / study.count if study.count else math.nan
            # What was there already took no time, and says nothing about what is left.
            pace = math.nan if self.reused else pace
            phase = runs[0].phase
            left = extent.after(phase, study.rounds[phase] + 1, later)
            study.begin_round(runs, left, pace)
            first = study.count - len(runs)
            returns: list[JobReturn] = []
            # What is known is written even if the round was stopped.
            try:
                if budget.is_open:
                    returns += self.launcher.launch(batch[:1], initial_job_idx=first)
                    study.seconds_per_run = budget.measure(study.seconds_of(returns[0]))
                    # At once, so that a study that is killed keeps its number of runs.
                    study.write()
                    budget.check(extent)
                remaining = batch[len(returns) :]
                returns += self.launcher.launch(remaining, initial_job_idx=first + len(returns))
            finally:
                study.end_round(runs, returns, self.folders)
                study.write()
            all_returns += returns
            monitors = [study.monitor(run, job) for run, job in zip(runs, returns, strict=True)]
        study.write()
        return all_returns


def norms_of(config: DictConfig, tasks: int) -> dict[str, float] | None:
    """Return the norms of the tasks' gradients at the start; None if they are not wanted or known.

    Two tasks have a sweep over all of their weights, which needs no further point.

    Args:
        config: The config that all runs share.
        tasks: The number of tasks.
    """
    if tasks < 3:
        return None
    try:
        return norms_at_start(config)
    except ConfigError as error:
        say(f"study: no fixed weights 1/norm: {error}")
        return None


def _is_within(study: StudyRecord, budget: Budget, reserved: int, runs: int) -> bool:
    """Return whether so many more runs are within the budget, beside those that are reserved."""
    return study.count + runs + reserved <= budget.limit


def _is_data_seed(option: str) -> bool:
    return option.lstrip("+").startswith("data.seed=")


def options_of_tuning(common: Sequence[str], config: DictConfig) -> list[str]:
    """Return the options of the tuning runs: unless asked for, they keep no checkpoint.

    They are most of a study's runs, and nothing but their results is used.

    Args:
        common: The options that all runs share.
        config: The config of the sweep.
    """
    if any(option.lstrip("+").startswith("record.checkpoints=") for option in common):
        return []
    # The pictures of the best runs are drawn from checkpoints, and are of final runs only.
    pictures = ["record.plots=none"] if config.record.plots == "best" else []
    return [*pictures, "record.checkpoints=none"]


def options_of_equal_weights(common: Sequence[str]) -> list[str]:
    """Return the options of the final runs of equal weights: unless told, they measure more.

    How far the tasks interfere is asked of the runs in which nothing weighs them.

    Args:
        common: The options that all runs share.

    Example:
        >>> options_of_equal_weights([]), options_of_equal_weights(["record.interference=false"])
        (['++record.interference=true'], [])
    """
    if any(option.lstrip("+").startswith("record.interference=") for option in common):
        return []
    return ["++record.interference=true"]
