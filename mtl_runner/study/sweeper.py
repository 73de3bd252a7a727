"""The Hydra sweeper ``fair``: a study by the protocol of :mod:`mtl_runner.study`, with any launcher. Free of torch until it begins."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mtl_runner.config.open_keys import opened
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_number
from mtl_runner.files import write_json
from mtl_runner.runs.directory import read_summary
from mtl_runner.study import Candidate, Plan, PlannedRun, Protocol
from mtl_runner.study.options import candidates_of, checked, limit_of, refuse_own
from mtl_runner.study.weights import fixed_candidates

EAGER_STEP, EAGER_START = (
    0.4e-3,
    0.3,
)  # seconds of a small model's step, and of a run beside its steps, for the estimate


class FairSweeper(Sweeper):
    """Runs a study; its options are those of ``conf/study/fair.yaml``."""

    __module__ = "hydra_plugins.mtl_runner"  # Hydra takes plugins from this package only, whatever file they live in.

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's."""
        self.context, self.master = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """All rounds of the study."""
        options = checked(OmegaConf.to_container(self.master.study, resolve=True))
        parsed = OverridesParser.create().parse_overrides(arguments)
        parsed = [o for o in parsed if not re.match(r"study(\.|$)", o.key_or_group)]
        common = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
        refuse_own(parsed)
        if not any(option.lstrip("+").startswith("record.plots=") for option in common):
            common.append(
                f"record.plots={self.master.record.plots}"
            )  # the jobs are composed without +study=fair
        lr = self.master.optimizer.lr
        if not is_number(lr) or lr <= 0:
            raise ConfigError(
                f"optimizer.lr must be a positive number, the middle of the learning rates; found {lr!r}."
            )
        base, steps, trivial = self._problem(common)
        plan = Plan(
            lr=float(base.optimizer.lr),
            seed=int(base.seed),
            seeds=options["seeds"],
            per_decade=options["per_decade"],
            decades=options["decades"],
            extensions=options["extensions"],
        )
        if len(trivial) < 2:
            raise ConfigError(
                f"A study needs at least two tasks, this one has {', '.join(trivial)}: there is nothing to weigh."
            )
        candidates = candidates_of(
            parsed, options["knobs"], str(self.master.hydra.runtime.choices.weighting)
        ) + fixed_candidates(list(trivial), trivial, options["fixed_points"])
        directory = Path(str(self.master.hydra.sweep.dir)).absolute()
        study = _Study(directory, options["margin"])
        singles = (
            len(trivial) - 1
        ) * plan.seeds  # if the best learning rate of every task is another
        twins = plan.seeds * sum(c.role == "strategy" for c in candidates)
        least = len(candidates) * (plan.least_trials + plan.seeds)
        needed = least + twins + singles
        most = needed + len(candidates) * plan.extensions
        limit = limit_of(options["budget"], steps)
        print(_announced(candidates, plan, least, most, steps), flush=True)
        if needed > limit:
            raise ConfigError(
                f"The study needs at least {needed} runs, more than study.budget={options['budget']} allows; "
                "raise it, or lower study.seeds, study.fixed_points or trainer.epochs."
            )
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.master, directory / "multirun.yaml")
        protocol = Protocol(
            plan,
            candidates,
            study.average_weights,
            study.rates_per_task,
            lambda more: study.count + more + singles <= limit,
        )
        found: list[JobReturn] = []
        rounds = protocol.rounds()
        values: Sequence[float] | None = None
        while True:
            try:
                jobs = next(rounds) if values is None else rounds.send(values)
            except StopIteration:
                break
            study.add(jobs)
            batch = [[*common, *(opened(o) for o in job.overrides)] for job in jobs]
            returns: Sequence[JobReturn] = ()
            try:
                returns = self.launcher.launch(batch, initial_job_idx=study.count - len(jobs))
            finally:  # also when it was stopped
                study.directories(jobs, returns)
                study.write(protocol.notes)
            found += returns
            values = [study.monitor(job, done) for job, done in zip(jobs, returns, strict=True)]
        study.write(protocol.notes)
        return found

    def _problem(self, common: Sequence[str]) -> tuple[DictConfig, int, dict[str, float | None]]:
        """The config that all runs share, the steps of a run, and the trivial predictor's loss of every task."""
        config = self.context.config_loader.load_sweep_config(
            self.master, [*common, "weighting=fixed"]
        )
        with open_dict(config):
            del config["hydra"]
            config.name = "study"  # Hydra's own choices are not known yet
        from mtl_runner.config.settings import Settings
        from mtl_runner.experiment.build import build_data, trivial_losses

        plain: Any = OmegaConf.to_container(config, resolve=True)
        data = build_data(plain["data"])
        rows = len(data.splits["train"])
        settings = Settings.read(plain).for_rows(rows)
        losses = trivial_losses(data.tasks, data.splits["train"])
        steps = settings.trainer.epochs * -(-rows // settings.batch_size)
        return config, steps, dict(zip([task.name for task in data.tasks], losses, strict=True))


class _Study:
    """What is on disk of a study: ``study.json`` says of every run directory what it is."""

    def __init__(self, directory: Path, margin: float) -> None:
        self.directory, self.margin = directory, margin
        self.jobs: list[tuple[PlannedRun, str]] = []
        self.count = 0

    def add(self, jobs: Sequence[PlannedRun]) -> None:
        """Jobs that are about to be launched."""
        self.count += len(jobs)
        tuned = "final runs with fresh seeds" if jobs[0].final else "tuning"
        print(f"study: phase {jobs[0].phase} ({tuned}), {len(jobs)} runs", flush=True)

    def directories(self, jobs: Sequence[PlannedRun], returns: Sequence[JobReturn]) -> None:
        """Remember where each job's run lies; of jobs that did not come to an end, by the number that their folder begins with."""
        for i, job in enumerate(jobs):
            number = self.count - len(jobs) + i
            if i < len(returns):
                place = Path(
                    str(OmegaConf.select(returns[i].hydra_cfg, "hydra.runtime.output_dir"))
                )  # type: ignore[arg-type]
            else:
                place = next(self.directory.glob(f"{number}_*"), Path())
            if place.name:
                self.jobs.append((job, place.name))

    def monitor(self, job: PlannedRun, done: JobReturn) -> float:
        """The monitor at the last epoch, at which the final runs are judged; infinite for a run that failed."""
        if done.status is not JobStatus.COMPLETED:
            return math.inf
        name = next(name for known, name in reversed(self.jobs) if known is job)
        value = read_summary(self.directory / name).get("monitor", {}).get("final")
        return math.inf if value is None else float(value)

    def rates_per_task(self, candidate: Candidate) -> list[float]:
        """The learning rates at which the tasks of a single-task baseline come out best on validation, each once."""
        best: dict[str, tuple[float, float]] = {}
        for job, name in self.jobs:
            if job.candidate.name == candidate.name and not job.final:
                for task, row in read_summary(self.directory / name).get("tasks", {}).items():
                    val = row["final"]["val"]
                    loss = val.get("relative_loss", val["loss"])
                    if loss is not None and loss < best.get(task, (math.inf, 0.0))[0]:
                        best[task] = (loss, job.lr)
        return sorted({lr for _, lr in best.values()})

    def write(self, notes: Sequence[str]) -> None:
        """Write ``study.json``."""
        rows = {
            name: {
                "phase": job.phase,
                "strategy": job.candidate.name,
                "role": job.candidate.role,
                "of": job.candidate.of,
                "final": job.final,
                "lr": job.lr,
                "seed": job.seed,
            }
            for job, name in self.jobs
        }
        write_json(
            self.directory / "study.json",
            {"version": 1, "margin": self.margin, "notes": list(notes), "jobs": rows},
        )

    def average_weights(self, candidate: Candidate) -> dict[str, float] | None:
        """A strategy's own weights, averaged over the epochs and seeds of its final runs; None if they are unknown or equal."""
        from mtl_runner.results.read import read_metrics

        sums: dict[str, list[float]] = {}
        for job, name in self.jobs:
            if job.final and job.candidate.name == candidate.name:
                try:
                    metrics = read_metrics(self.directory / name)
                except OSError:
                    continue
                rows = zip(metrics["split"], metrics["task"], metrics["weight"], strict=True)
                for split, task, weight in rows:
                    if split == "train" and task != "total" and weight != "":
                        sums.setdefault(task, []).append(float(weight))
        means = {task: sum(values) / len(values) for task, values in sums.items()}
        if not means or not all(math.isfinite(mean) and mean >= 0 for mean in means.values()):
            return None
        largest = max(means.values())
        return None if largest <= 0 or largest - min(means.values()) < 1e-6 * largest else means


def _announced(
    candidates: Sequence[Candidate], plan: Plan, least: int, most: int, steps: int
) -> str:
    roles = [candidate.role for candidate in candidates]
    minutes = least * (steps * EAGER_STEP + EAGER_START) / 60
    return (
        f"study: {roles.count('strategy')} strategies, equal weights, the single-task baseline and {roles.count('fixed')} fixed weightings; "
        f"for each at least {plan.least_trials} trials, then {plan.seeds} fresh seeds: {least} to {most} runs of {steps} steps.\n"
        f"study: a small model takes about {minutes:.0f} minutes or more one run after another, and a fraction of that in stacks."
    )
