"""The sweeper of a study of transfer: its rounds through any launcher, and what came out.

It is free of torch until it begins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from mtl_runner.errors.checks import is_number
from mtl_runner.errors.words import counted
from mtl_runner.files import write_atomic
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import gather
from mtl_runner.study.budget import Budget
from mtl_runner.study.options import splits_of
from mtl_runner.study.plan import Candidate, Plan
from mtl_runner.study.problem import check_choices, check_middle_rate, read_problem
from mtl_runner.study.record import StudyRecord
from mtl_runner.study.sweeper import StudySweeper
from mtl_runner.study.transfer.options import TransferOptions, common_options
from mtl_runner.study.transfer.protocol import (
    NARROW,
    NARROW_EDGE,
    WIDE,
    WIDE_EDGE,
    TransferExtent,
    TransferProtocol,
)
from mtl_runner.study.transfer.proxy import proxy_options
from mtl_runner.study.weights import fixed_candidates
from mtl_runner.train.terminal import say


class TransferSweeper(StudySweeper):
    """A sweeper of a study of transfer; its options are those of ``conf/study/transfer.yaml``.

    It is started by ``mtl-run -m +study=transfer data=digits model.hidden=[512,512]``.

    Example:
        >>> issubclass(TransferSweeper, StudySweeper)
        True
    """

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run all rounds of the study, and say what transferred.

        Args:
            arguments: The options of the command line.

        Returns:
            What Hydra's launcher returned for each run, in their order.

        Raises:
            ConfigError: Before any run, if the study cannot be made as it is asked for.
        """
        given = OmegaConf.to_container(self.sweep_config.study, resolve=True)
        options = TransferOptions.read(given)
        check_middle_rate(self.sweep_config)
        common = self.with_plots(
            common_options(OverridesParser.create().parse_overrides(arguments))
        )
        problem = read_problem(self.context, self.sweep_config, common)
        base, trivial = problem.config, problem.trivial
        problem.check_tasks("A study")
        proxy = options.proxy
        if proxy is None:
            model: Any = OmegaConf.to_container(base.model, resolve=True)
            name = str(self.sweep_config.hydra.runtime.choices.model)
            proxy = proxy_options(model, options.narrow, name)
        check_choices(self.context, self.sweep_config, [[*common, *proxy]])
        has_seed = is_number(base.data.get("seed"))
        plan = Plan(
            lr=float(base.optimizer.lr),
            seed=int(base.seed),
            seeds=options.seeds,
            per_decade=options.per_decade,
            decades=options.decades,
            extensions=options.extensions,
            tuning_seeds=options.tuning_seeds,
            splits=splits_of(options.splits, options.seeds, problem.rows, has_seed),
            data_seed=int(base.data.get("seed") or 0),
        )
        equal = Candidate("equal", "equal", ("weighting=fixed",))
        candidates = [equal, *fixed_candidates(list(trivial), trivial, options.fixed_points)]
        extent = TransferExtent(plan, len(candidates), options.rates)
        directory = Path(str(self.sweep_config.hydra.sweep.dir)).absolute()
        study = StudyRecord(directory, options.margin)
        say(announcement(extent, proxy, problem.steps))
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / "multirun.yaml", OmegaConf.to_yaml(self.sweep_config).encode())
        protocol = TransferProtocol(plan, candidates, proxy, options.rates)
        study.begin_group((), protocol.notes)
        self.began = time.monotonic()
        returns = self._run_rounds(protocol, study, extent, Budget(None, problem.steps), common, 0)
        # The comparison, its report and a later mtl-compare show them under their table.
        study.write(answers_of(protocol, study))
        if self.reused:
            say(f"study: {counted(study.count, 'run')}, of which {self.reused} were there already.")
        return returns


def announcement(extent: TransferExtent, proxy: Sequence[str], steps: int) -> str:
    """Return what a study of transfer will take, in the words that it begins with.

    Args:
        extent: The number of its runs.
        proxy: The options that make the model narrow.
        steps: The steps of a run.

    Example:
        >>> extent = TransferExtent(Plan(lr=1e-3, seeds=5), 8, 3)
        >>> announcement(extent, ["model.hidden=[32]"], 600).splitlines()[1][:55]
        'study: 72 to 77 runs, and up to 30 more if a best learn'
    """
    plan = extent.plan
    of_seeds = f" with {plan.tuning_seeds} seeds" if plan.tuning_seeds > 1 else ""
    more = extent.most - extent.most_without_extension
    edge = f", and up to {more} more if a best learning rate lies on the edge" if more else ""
    narrow = extent.candidates * len(plan.grid) * plan.tuning_seeds
    return (
        f"study: equal weights and {counted(extent.candidates - 1, 'fixed weighting')} on the narrow model ({' '.join(proxy)}), "
        f"{counted(len(plan.grid), 'learning rate')} of each{of_seeds}; "
        f"then the best of them and equal weights on the wide model, {counted(extent.rates, 'learning rate')} of each{of_seeds}, then {counted(plan.seeds, 'fresh seed')}.\n"
        f"study: {extent.least} to {extent.most_without_extension} runs{edge}, of {counted(steps, 'step')} each; {narrow} of them are narrow."
    )


def answers_of(protocol: TransferProtocol, study: StudyRecord) -> list[str]:
    """Return what came out: whether the weights and the rate hold, and what it cost.

    Args:
        protocol: The protocol, after its last round.
        study: The record of its runs.
    """
    # Its statistics need numpy, for which a question such as --list should not wait.
    from mtl_runner.study.transfer.answers import (
        Cost,
        difference,
        rate_sentence,
        weights_sentence,
    )

    chosen = protocol.chosen
    if chosen is None or chosen.name not in protocol.wide:
        return []
    (data,) = gather(Records.read([study.directory])).datasets
    margin = study.margin or 0.0
    versus = difference(data, chosen.name, "equal")
    kept = None if protocol.kept is None else difference(data, protocol.kept.name, chosen.name)
    wide_rate = protocol.wide[chosen.name].settled.lr
    seconds = [
        (run.phase, study.summary(name).seconds) for run, name in study.runs if not run.final
    ]
    cost = Cost(
        [value for phase, value in seconds if phase in (NARROW, NARROW_EDGE)],
        [value for phase, value in seconds if phase in (WIDE, WIDE_EDGE)],
    )
    return [
        weights_sentence(versus, chosen.name, margin, data.replicate),
        rate_sentence(protocol.rate_of(chosen), wide_rate, kept, protocol.rates),
        cost.sentence,
    ]
