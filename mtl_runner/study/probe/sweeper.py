"""The sweeper of a probe: short runs through any launcher, and what they say.

It is free of torch until it begins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from mtl_runner.config.open_keys import override_or_add
from mtl_runner.errors import ConfigError
from mtl_runner.errors.words import counted, duration
from mtl_runner.files import write_atomic
from mtl_runner.study.launching import LaunchingSweeper
from mtl_runner.study.plan import PlannedRun
from mtl_runner.study.probe.answer import Answer
from mtl_runner.study.probe.measurement import ShortRuns, has_gradients, measure
from mtl_runner.study.probe.options import ProbeOptions, common_options, is_own
from mtl_runner.study.probe.plan import first_runs, other_runs
from mtl_runner.study.problem import Problem, check_middle_rate, read_problem
from mtl_runner.study.record import StudyRecord
from mtl_runner.study.sweeper import options_of_tuning
from mtl_runner.train.terminal import say

NOTE = "These are the short runs of a probe, with two seeds or few more: they judge no strategy, +study=fair does."


class ProbeSweeper(LaunchingSweeper):
    """A sweeper that probes a problem; its options are those of ``conf/probe/weighting.yaml``.

    It is started by ``mtl-run +probe=weighting data=digits``.

    Example:
        >>> issubclass(ProbeSweeper, LaunchingSweeper)
        True
    """

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the short runs, and say what they make probable.

        Args:
            arguments: The options of the command line.

        Returns:
            What Hydra's launcher returned for each run, in their order.

        Raises:
            ConfigError: Before any run, if the probe cannot be made as it is asked for; after the
                first runs, if they failed or have no gradients.
        """
        began = time.monotonic()
        lr = check_middle_rate(self.sweep_config)
        options = ProbeOptions.read(OmegaConf.to_container(self.sweep_config.probe, resolve=True))
        overrides = OverridesParser.create().parse_overrides(arguments)
        common = self.with_plots(common_options(overrides))
        self._check_optimizer()
        # The epochs of a whole run, of which the short runs have a share.
        full_length = [f"++trainer.epochs={self.sweep_config.trainer.epochs}"]
        problem = read_problem(self.context, self.sweep_config, [*common, *full_length])
        problem.check_tasks("A probe")
        steps_per_epoch = problem.steps // problem.epochs
        epochs = options.epochs(problem.epochs, steps_per_epoch)
        seeds = [int(self.sweep_config.seed) + i for i in range(options.seeds)]
        rates = [factor * lr for factor in options.rates]
        stackable = other_runs(problem.trivial, rates, seeds)
        first = first_runs(rates[0], seeds)
        say(
            f"probe: {counted(len(first) + len(stackable), 'short run')} of {counted(epochs * steps_per_epoch, 'step')}, where a whole one has {problem.steps:,}."
        )
        if steps_per_epoch > options.steps:
            say(
                f"probe: an epoch has more steps than probe.steps={options.steps}, and a short run trains one: it may take longer than a minute."
            )
        directory = Path(str(self.sweep_config.hydra.sweep.dir)).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / "multirun.yaml", OmegaConf.to_yaml(self.sweep_config).encode())
        record = StudyRecord(directory, None, "probe")
        shared = [*common, *options_of_tuning(common, self.sweep_config)]
        shared.append(f"++trainer.epochs={epochs}")
        returns = self._launch(record, first, shared, len(stackable))
        self._check_first(record, first, returns, list(problem.trivial))
        returns += self._launch(record, stackable, shared, 0)
        measurement = _measured(record, problem, len(first), returns)
        _mark_best(record, returns)
        record.write([NOTE])
        typed = [str(o.input_line) for o in overrides if not is_own(o)]
        answer = Answer.of(measurement, typed)
        answer.write(directory)
        for sentence in answer.sentences:
            say(f"probe: {sentence}")
        if self.reused:
            say(
                f"probe: {counted(record.count, 'run')}, of which {self.reused} were there already."
            )
        say(f"probe: it took {duration(time.monotonic() - began)}; {directory / 'probe.md'}")
        return returns

    def _check_optimizer(self) -> None:
        """Raise an error for an optimizer that none of the studies had which the probe knows."""
        target = str(self.sweep_config.optimizer.get("_target_"))
        if target.endswith("LBFGS"):
            raise ConfigError(
                "A probe knows studies of optimizers that take one gradient per step; L-BFGS takes many, so leave optimizer=lbfgs out."
            )

    def _launch(
        self, record: StudyRecord, runs: Sequence[PlannedRun], shared: Sequence[str], later: int
    ) -> list[JobReturn]:
        """Launch runs, and record them even if they were stopped."""
        record.begin_round(runs, (later, later))
        returns: list[JobReturn] = []
        batch = [[*shared, *map(override_or_add, run.overrides)] for run in runs]
        try:
            returns += self.launcher.launch(batch, initial_job_idx=record.count - len(runs))
        finally:
            record.end_round(runs, returns, self.folders)
            record.write([NOTE])
        return returns

    def _check_first(
        self,
        record: StudyRecord,
        runs: Sequence[PlannedRun],
        returns: Sequence[JobReturn],
        tasks: Sequence[str],
    ) -> None:
        """Raise an error if a run of equal weights failed, or has measured no gradients."""
        if any(
            record.monitor(run, job) == float("inf") for run, job in zip(runs, returns, strict=True)
        ):
            raise ConfigError(
                "Equal weights failed in a short run, so there is nothing to compare with; its line says why."
            )
        if not all(has_gradients(record.directory / name, tasks) for _, name in record.runs):
            raise ConfigError(
                "A probe needs parameters that all tasks share, whose gradients it compares, and this model has none; choose another model, as model=mlp."
            )


def _measured(
    record: StudyRecord, problem: Problem, first: int, returns: Sequence[JobReturn]
) -> ShortRuns:
    """Return what the runs of a probe have recorded."""
    monitors: dict[str, dict[float, list[float]]] = {}
    for (run, _), job in zip(record.runs, returns, strict=True):
        rates = monitors.setdefault(run.candidate.name, {})
        rates.setdefault(run.lr, []).append(record.monitor(run, job))
    # A candidate that no run of which could begin does not apply here.
    kept = {
        run.candidate.name: list(monitors[run.candidate.name].values())
        for run, _ in record.runs
        if not record.refusal(run.candidate)
    }
    equal = [record.directory / name for _, name in record.runs[:first]]
    return measure(list(problem.trivial), problem.rows, problem.trivial, equal, kept)


def _mark_best(record: StudyRecord, returns: Sequence[JobReturn]) -> None:
    """Mark the better learning rate of each candidate as the one that a comparison shows."""
    sums: dict[str, dict[float, float]] = {}
    for (run, _), job in zip(record.runs, returns, strict=True):
        rates = sums.setdefault(run.candidate.name, {})
        rates[run.lr] = rates.get(run.lr, 0.0) + record.monitor(run, job)
    best = {name: min(rates, key=rates.__getitem__) for name, rates in sums.items()}
    record.runs = [
        (replace(run, final=run.lr == best[run.candidate.name]), name) for run, name in record.runs
    ]
