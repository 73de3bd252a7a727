"""The Hydra sweeper ``fair``: a study by the protocol of :mod:`mtl_runner.study`, with any launcher. Free of torch until it begins."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mtl_runner.conf_directory import conf_directory
from mtl_runner.directory import read_summary
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.files import write_json
from mtl_runner.study import Candidate, Job, Plan, Protocol
from mtl_runner.study.protocol import EXTRA
from mtl_runner.study.weights import fixed_candidates
from mtl_runner.sweep.opened import opened

EAGER_STEP, EAGER_START = 0.4e-3, 0.3  # seconds of a small model's step, and of a run beside its steps, for the estimate
OWN = ("seed", "optimizer.lr")  # what a study chooses itself
OPTIONS = ("margin", "seeds", "fixed_points", "per_decade", "decades", "extensions", "budget", "knobs")


class FairSweeper(Sweeper):
    """Runs a study; its options are those of ``conf/study/fair.yaml``."""

    __module__ = "hydra_plugins.mtl_runner"  # Hydra takes plugins from this package only, whatever file they live in.

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's."""
        self.context, self.master = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """All rounds of the study."""
        options = _checked(OmegaConf.to_container(self.master.study, resolve=True))
        parsed = OverridesParser.create().parse_overrides(arguments)
        parsed = [o for o in parsed if not re.match(r"study(\.|$)", o.key_or_group)]
        common = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
        _refuse_own(parsed)
        if not any(option.lstrip("+").startswith("record.plots=") for option in common):
            common.append(f"record.plots={self.master.record.plots}")  # the jobs are composed without +study=fair
        lr = self.master.optimizer.lr
        if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < math.inf:
            raise ConfigError(f"optimizer.lr must be a positive number, the middle of the learning rates; found {lr!r}.")
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
        candidates = _candidates(parsed, options["knobs"], str(self.master.hydra.runtime.choices.weighting)) + fixed_candidates(
            list(trivial), trivial, options["fixed_points"]
        )
        directory = Path(str(self.master.hydra.sweep.dir)).absolute()
        study = _Study(directory, options["margin"])
        singles = (len(trivial) - 1) * plan.seeds  # if the best learning rate of every task is another
        twins = plan.seeds * sum(c.role == "strategy" for c in candidates)
        least = len(candidates) * (plan.least_trials + plan.seeds)
        needed = least + twins + singles
        most = needed + len(candidates) * plan.extensions
        limit = _limit(options["budget"], steps)
        print(_announced(candidates, plan, least, most, steps), flush=True)
        if needed > limit:
            raise ConfigError(
                f"The study needs at least {needed} runs, more than study.budget={options['budget']} allows; "
                "raise it, or lower study.seeds, study.fixed_points or trainer.epochs."
            )
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.master, directory / "multirun.yaml")
        protocol = Protocol(
            plan, candidates, study.average_weights, study.rates_per_task, lambda more: study.count + more + singles <= limit
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
        config = self.context.config_loader.load_sweep_config(self.master, [*common, "weighting=fixed"])
        with open_dict(config):
            del config["hydra"]
            config.name = "study"  # Hydra's own choices are not known yet
        from mtl_runner.build import build_data, trivial_losses
        from mtl_runner.settings import Settings

        plain: Any = OmegaConf.to_container(config, resolve=True)
        data = build_data(plain["data"])
        rows = len(data.splits["train"])
        settings = Settings.read(plain).for_rows(rows)
        losses = trivial_losses(data.tasks, data.splits["train"])
        steps = settings.epochs * -(-rows // settings.batch_size)
        return config, steps, dict(zip([task.name for task in data.tasks], losses, strict=True))


class _Study:
    """What is on disk of a study: ``study.json`` says of every run directory what it is."""

    def __init__(self, directory: Path, margin: float) -> None:
        self.directory, self.margin = directory, margin
        self.jobs: list[tuple[Job, str]] = []
        self.count = 0

    def add(self, jobs: Sequence[Job]) -> None:
        """Jobs that are about to be launched."""
        self.count += len(jobs)
        tuned = "final runs with fresh seeds" if jobs[0].final else "tuning"
        print(f"study: phase {jobs[0].phase} ({tuned}), {len(jobs)} runs", flush=True)

    def directories(self, jobs: Sequence[Job], returns: Sequence[JobReturn]) -> None:
        """Remember where each job's run lies; of jobs that did not come to an end, by the number that their folder begins with."""
        for i, job in enumerate(jobs):
            number = self.count - len(jobs) + i
            if i < len(returns):
                place = Path(str(OmegaConf.select(returns[i].hydra_cfg, "hydra.runtime.output_dir")))  # type: ignore[arg-type]
            else:
                place = next(self.directory.glob(f"{number}_*"), Path())
            if place.name:
                self.jobs.append((job, place.name))

    def monitor(self, job: Job, done: JobReturn) -> float:
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
        write_json(self.directory / "study.json", {"version": 1, "margin": self.margin, "notes": list(notes), "jobs": rows})

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


def _checked(options: Any) -> dict[str, Any]:
    given = dict(options or {})
    for name in given:
        if name not in OPTIONS:
            raise ConfigError(f"study.{name} is not an option of a study; {suggest(str(name), OPTIONS)}.")
    for name in OPTIONS:
        if name not in given:
            raise ConfigError(f"study.{name} is missing; conf/study/fair.yaml has its default.")
    for name, least in (("seeds", 2), ("fixed_points", 3), ("per_decade", 1), ("extensions", 0)):
        if isinstance(given[name], bool) or not isinstance(given[name], int) or given[name] < least:
            raise ConfigError(f"study.{name} must be a whole number of at least {least}; found {given[name]!r}.")
    for name in ("margin", "decades"):
        if isinstance(given[name], bool) or not isinstance(given[name], int | float) or not 0 < given[name] < math.inf:
            raise ConfigError(f"study.{name} must be a positive number; found {given[name]!r}.")
    _check_knobs(given["knobs"])
    return given


def _refuse_own(parsed: Sequence[Override]) -> None:
    for override in parsed:
        if override.key_or_group in OWN and override.is_sweep_override():
            raise ConfigError(
                f"A study chooses {override.key_or_group} itself; give one number, the middle of the learning rates or the seed of the tuning, "
                "and study.seeds."
            )
        if re.match(r"data(\.|$)", override.key_or_group) and override.is_sweep_override():
            raise ConfigError("A study is about one dataset; start one study for each.")


def _candidates(parsed: Sequence[Override], knobs: Mapping[str, Mapping[str, Sequence[Any]]], default: str) -> list[Candidate]:
    """Equal weights, the single-task baseline, and every combination of what the command line sweeps over, each once.

    ``default``: the weighting where none is swept.
    """
    found = [
        Candidate("equal", "equal", ("weighting=fixed",)),
        Candidate("single_task", "single_task", ("weighting=single_task",)),
    ]
    swept = [
        list(dict.fromkeys(f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()))
        for o in parsed
        if o.is_sweep_override()
    ]
    if not swept:
        raise ConfigError("A study compares strategies; name some: weighting=fixed,uncertainty,dwa.")
    for combination in itertools.product(*swept):
        chosen = dict(part.split("=", 1) for part in combination)
        if combination in (("weighting=fixed",), ("weighting=single_task",)):
            continue  # there already
        rest = [f"{key.rsplit('.', 1)[-1]}={value}" for key, value in chosen.items() if key != "weighting"]
        weighting = chosen.get("weighting", default)
        options = knobs.get(weighting, {})
        knob = next(((key, tuple(map(str, values))) for key, values in options.items() if key not in chosen), None)
        given = any("weighting.weights" in override.key_or_group for override in parsed)
        role = "fixed" if weighting == "fixed" and given else "strategy"
        name = ", ".join([*([chosen["weighting"]] if "weighting" in chosen else []), *rest])
        found.append(Candidate(name, role, tuple(combination), knob))
    return found


def _check_knobs(knobs: Any) -> None:
    """Raise ``ConfigError`` unless every strategy that is named exists and has its options with two further values each."""
    example = "{dwa: {weighting.temperature: [1, 5]}}"
    if not isinstance(knobs, Mapping):
        raise ConfigError(f"study.knobs must name options and two values each, e.g. {example}; found {knobs!r}.")
    known = sorted(path.stem for path in (conf_directory() / "weighting").glob("*.yaml"))
    for name, options in knobs.items():
        own = Path.cwd() / "conf" / "weighting" / f"{name}.yaml"
        if name not in known and not own.exists():
            raise ConfigError(f"study.knobs names the unknown weighting {name!r}; {suggest(str(name), known)}.")
        if not isinstance(options, Mapping) or not all(isinstance(v, list) and len(v) == EXTRA for v in options.values()):
            raise ConfigError(f"study.knobs.{name} must give two values for an option, e.g. {example}; found {options!r}.")


def _limit(budget: Any, steps: int) -> float:
    """The most runs that ``study.budget`` allows."""
    if budget is None:
        return math.inf
    match = re.fullmatch(r"(\d+)(?:\s*(runs|steps))?", str(budget).strip())
    if match is None or int(match.group(1)) < 1:
        raise ConfigError(f"study.budget={budget!r} is unknown; give a number of runs (400) or of steps ('200000 steps').")
    number = int(match.group(1))
    return number // steps if match.group(2) == "steps" else number


def _announced(candidates: Sequence[Candidate], plan: Plan, least: int, most: int, steps: int) -> str:
    roles = [candidate.role for candidate in candidates]
    minutes = least * (steps * EAGER_STEP + EAGER_START) / 60
    return (
        f"study: {roles.count('strategy')} strategies, equal weights, the single-task baseline and {roles.count('fixed')} fixed weightings; "
        f"for each at least {plan.least_trials} trials, then {plan.seeds} fresh seeds: {least} to {most} runs of {steps} steps.\n"
        f"study: a small model takes about {minutes:.0f} minutes or more one run after another, and a fraction of that in stacks."
    )
