"""The sweeper of a search: batches of trials through any launcher, and the best one by name.

It is free of torch until it begins.
"""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from mtl_runner.config.open_keys import override_or_add
from mtl_runner.errors import ConfigError
from mtl_runner.errors.words import counted
from mtl_runner.files import write_atomic
from mtl_runner.results.text import number
from mtl_runner.runs.sweep_report import SweepReport
from mtl_runner.study.launching import LaunchingSweeper
from mtl_runner.study.plan import PlannedRun
from mtl_runner.study.problem import check_middle_rate, read_problem
from mtl_runner.study.record import StudyRecord
from mtl_runner.study.search.options import SearchOptions, common_options
from mtl_runner.study.search.proposals import require_optuna
from mtl_runner.study.search.pruning import give_up_option
from mtl_runner.study.search.space import RATE, Space
from mtl_runner.study.search.trials import Search
from mtl_runner.study.sweeper import options_of_tuning
from mtl_runner.train.terminal import say

# Seeds in the command that repeats the best trial.
REPEATS = 5


class SearchSweeper(LaunchingSweeper):
    """A sweeper that searches weights; its options are those of ``conf/search/optuna.yaml``.

    It is started by ``mtl-run -m +search=optuna data=digits``.

    Example:
        >>> issubclass(SearchSweeper, LaunchingSweeper)
        True
    """

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run all trials of the search, and name the best one.

        Args:
            arguments: The options of the command line.

        Returns:
            What Hydra's launcher returned for each run, in their order.

        Raises:
            ConfigError: Before any run, if the search cannot be made as it is asked for; after the
                first batch, if every run of it failed.
        """
        lr = check_middle_rate(self.sweep_config)
        given = OmegaConf.to_container(self.sweep_config.search, resolve=True)
        options = SearchOptions.read(given, lr)
        parsed = OverridesParser.create().parse_overrides(arguments)
        typed = common_options(parsed, options.prune)
        require_optuna()
        common = self.with_plots(typed)
        problem = read_problem(self.context, self.sweep_config, common)
        problem.check_tasks("A search")
        directory = Path(str(self.sweep_config.hydra.sweep.dir)).absolute()
        seed = int(self.sweep_config.seed)
        space = Space(problem.trivial, options.weights, options.lr)
        search = Search(space, options, seed, StudyRecord(directory, None, "search"))
        search.read_points()
        say(
            f"search: {counted(options.trials, 'trial')} of {counted(problem.steps, 'step')} each, {options.batch} at a time: "
            f"the weights of {len(problem.trivial)} tasks and a learning rate from {options.lr[0]:.3g} to {options.lr[1]:.3g}."
        )
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / "multirun.yaml", OmegaConf.to_yaml(self.sweep_config).encode())
        returns = self._run_batches(search, lr, common)
        self._announce_best(search, typed)
        return returns

    def _run_batches(self, search: Search, lr: float, common: Sequence[str]) -> list[JobReturn]:
        """Launch the trials, batch by batch, and record them."""
        shared = [*common, *options_of_tuning(common, self.sweep_config)]
        record, trials = search.record, search.options.trials
        all_returns: list[JobReturn] = []
        began, trained = time.monotonic(), 0
        while len(search.monitors) < trials:
            points = search.next_batch(lr)
            runs = [search.space.run(point, search.seed) for point in points]
            done = len(search.monitors)
            limits = search.limits[done : done + len(runs)]
            batch = [
                [*shared, *map(override_or_add, run.overrides), *give_up_option(limit)]
                for run, limit in zip(runs, limits, strict=True)
            ]
            later = trials - len(search.monitors) - len(runs)
            # What was there already took no time, and says nothing about what is left.
            pace = (time.monotonic() - began) / trained if trained else math.nan
            record.begin_round(runs, (later, later), pace)
            first = record.count - len(runs)
            if SweepReport.current is not None:
                SweepReport.current.names = {
                    first + place: search.space.label(point) for place, point in enumerate(points)
                }
            reused = self.reused
            returns: list[JobReturn] = []
            # What is known is written even if the batch was stopped.
            try:
                returns += self.launcher.launch(batch, initial_job_idx=first)
            finally:
                record.end_round(runs, returns, self.folders)
                search.add_results(runs, returns)
                search.write()
            all_returns += returns
            began = began if self.reused == reused else time.monotonic()
            trained = trained + len(runs) if self.reused == reused else 0
            if search.best is None:
                raise ConfigError(
                    f"All {counted(len(runs), 'trial')} of the first batch failed, so there is nothing to go on from; their lines say why."
                )
        return all_returns

    def _announce_best(self, search: Search, typed: Sequence[str]) -> None:
        """Say which trial is the best one, and how to train it again."""
        if self.reused:
            trials = counted(len(search.monitors), "trial")
            say(f"search: {trials}, of which {self.reused} were there already.")
        if search.given_up:
            trials = counted(len(search.monitors), "trial")
            say(
                f"search: {len(search.given_up)} of {trials} ended early, worse than the median of those before (search.prune)."
            )
        best = search.best
        assert best is not None, "else the search has ended with an error"
        run, name = search.record.runs[best]
        summary = search.record.summary(name)
        result = number(summary.monitor.as_recorded(summary.judge))
        label = search.space.label(search.points[best])
        say(f"search: the best trial is {name} ({label}): {summary.monitor.name} {result}.")
        for setting in search.space.edges(search.points[best]):
            option = "search.lr" if setting == RATE else "search.weights"
            say(
                f"search: its {setting} lies near an end of {option}: a wider range may hold better ones."
            )
        say(
            f"search: it was chosen with one seed; this command trains it with others: {command_of(run, typed)}"
        )


def command_of(run: PlannedRun, typed: Sequence[str]) -> str:
    """Return the command that trains a trial again with several fresh seeds.

    Args:
        run: The run of the trial.
        typed: The options of the command line that all trials share.

    Example:
        >>> space = Space({"depth": 4.0, "label": 1.0}, (0.01, 100), (0.001, 0.1))
        >>> run = space.run({"lr": 0.01, "weight of label": 1.0}, seed=0)
        >>> command_of(run, ["data=digits", "++trainer.epochs=9"])  # doctest: +ELLIPSIS
        "mtl-run -m data=digits trainer.epochs=9 weighting=fixed weighting.weights.depth=0.4 ... 'seed=range(1,6)'"
    """
    kept = [
        # As it was typed: the runner itself adds what an open key needs.
        re.sub(r"^\+\+", "", option)
        for option in typed
        if not re.match(r"[+~]*hydra[./]", option)
    ]
    chosen = [option for option in run.overrides if not option.startswith("seed=")]
    seeds = f"seed=range({run.seed + 1},{run.seed + 1 + REPEATS})"
    return shlex.join(["mtl-run", "-m", *kept, *chosen, seeds])
