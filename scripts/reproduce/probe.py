r"""The studies that the probe is trained on: short runs and whole ones of many problems.

    python scripts/reproduce/probe.py outputs/probe --data folder

It makes a probe and a small study of every problem of `probe_places.py` (about twenty seconds of
one core each; what lies there already is not made again; `--only` begins with some of them) and
writes `docs/tables/probe_studies.csv`, a row per problem. Then `probe_fit.py` fits.

The study trains the strategies of the probe and its baselines for all epochs, each with two
learning rates and the same four seeds. A strategy's learning rate is the one with the least mean
monitor on validation, and so is the best strategy chosen; what is written down is its loss on test.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from probe_places import Place, has_table, places
from probe_tables import write_tables

from mtl_runner.files import write_atomic, write_json
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.evidence import (
    DatasetEvidence,
    StrategyEvidence,
    Values,
    gather,
)
from mtl_runner.study.probe.advice import STRATEGIES, name_of
from mtl_runner.study.probe.features import features, gain
from mtl_runner.study.probe.measurement import ShortRuns

TABLES = Path(__file__).parents[2] / "docs" / "tables"
STUDIES = TABLES / "probe_studies.csv"
COMMON = ("trainer.threads=1", "record.plots=none", "record.checkpoints=none")
# Whole runs of the same strategies, each at the learning rate that is best on validation.
STUDY = (
    *("+probe=weighting", "probe.share=1", "probe.steps=100000", "probe.seeds=4"),
    *("probe.rates=[1,4]", "trainer.evaluate_every=3"),
)
PRELOADED = (
    *("mtl_runner.cli", "mtl_runner.launch.stacked_launcher", "mtl_runner.runs.stacked"),
    *("mtl_runner.results.report.write", "mtl_runner.results.pictures.comparison", "scipy.stats"),
)


def collect(directory: Path, data: Path, only: int | None) -> None:
    """Make the probes and studies that are not there yet."""
    tables = directory / "tables"
    write_tables(tables, data)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    for place in places()[:only]:
        if not has_table(place, tables):
            print(f"{place.name}: its table is missing", flush=True)
            continue
        folder = directory / place.family / place.name
        for kind, command in (("probe", ("+probe=weighting",)), ("study", STUDY)):
            if (folder / f"{kind}.done").exists():
                continue
            options = [option.replace("{tables}", str(tables)) for option in place.options]
            sweep = [f"hydra.sweep.dir={folder / kind}"]
            sweep += ["resume=true"] if (folder / kind).exists() else []
            arguments = ["mtl-run", *command, *options, *COMMON, *sweep]
            folder.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            process = context.Process(target=_run, args=(arguments, folder, kind))
            process.start()
            process.join()
            state = "done" if (folder / f"{kind}.done").exists() else "FAILED"
            print(f"{place.name} {kind}: {state}, {time.monotonic() - began:.0f} s", flush=True)


def _run(arguments: Sequence[str], folder: Path, kind: str) -> None:
    """Do what a command would, in this process, and mark its end."""
    file = os.open(folder / f"{kind}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    from mtl_runner.cli import main

    sys.argv = list(arguments)
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    # A strategy that diverged or does not apply is a result; the exit status is 1 then.
    if code in (None, 0, 1) and (folder / kind / "probe.json").exists():
        write_json(folder / f"{kind}.done", {"cpu_seconds": time.process_time()})


def write_studies(directory: Path) -> None:
    """Write the table of all problems whose probe and study are there."""
    rows = []
    for place in places():
        folder = directory / place.family / place.name
        if all((folder / f"{kind}.done").exists() for kind in ("probe", "study")):
            rows.append(row_of(place, folder))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with _written(STUDIES) as file:
        file.write("# python scripts/reproduce/probe.py outputs/probe --data folder\n")
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} studies in {STUDIES.name}")


def row_of(place: Place, folder: Path) -> dict[str, Any]:
    """Return a row of the table: features, answers, and gains of strategies."""
    content = json.loads((folder / "probe" / "probe.json").read_text(encoding="utf-8"))
    m = ShortRuns.of(content["measurement"])
    short = {s: own for s in STRATEGIES if (own := name_of(m, s)) is not None}
    (data,) = gather(Records.read([folder / "study"])).datasets
    summary = next((folder / "study").glob("0_*/summary.json"))
    monitor = json.loads(summary.read_text(encoding="utf-8"))["monitor"]["name"]
    (equal,) = data.of_role("equal")
    joint = [s for s in data.of_role("equal", "fixed", "strategy") if s.is_reference]
    best = min(joint, key=lambda s: s.mean_monitor)
    alone = data.single_task_runs
    gains = {name: _gain(strategy, equal, monitor) for name, strategy in _named(data)}
    to_single = None if alone is None or not alone.is_reference else _gain(best, alone, monitor)
    seconds = [
        json.loads((folder / f"{kind}.done").read_text(encoding="utf-8"))["cpu_seconds"]
        for kind in ("probe", "study")
    ]
    return {
        "family": place.family,
        "problem": place.name,
        "best": best.name,
        "weighting": _cell(_gain(best, equal, monitor)),
        "joint": _cell(to_single),
        **{f"gain of {name}": _cell(value) for name, value in gains.items()},
        **{f"short gain of {name}": f"{gain(m, own):.4f}" for name, own in short.items()},
        **{name: f"{value:.4g}" for name, value in features(m).items()},
        "CPU seconds of the probe": f"{seconds[0]:.0f}",
        "and of the study": f"{seconds[1]:.0f}",
    }


def _named(data: DatasetEvidence) -> Iterator[tuple[str, StrategyEvidence]]:
    """Yield the strategies by the names of STRATEGIES; of fixed weights the best on validation."""
    for strategy in data.of_role("strategy", "single_task"):
        if strategy.is_reference:
            yield strategy.name.split(",")[0], strategy
    fixed = [s for s in data.of_role("fixed") if s.is_reference]
    for name in ("fixed 1/trivial", "fixed"):
        chosen = [s for s in fixed if s.name.startswith("fixed 1/") == (name != "fixed")]
        if chosen:
            yield name, min(chosen, key=lambda s: s.mean_monitor)


def _gain(strategy: StrategyEvidence, reference: StrategyEvidence, monitor: str) -> float:
    """Return the mean over seeds of the log ratio of the reference's monitor on test to its own.

    Where every task has a trivial predictor and the monitor is the mean relative loss, this is what
    a verdict of the house judges. Else it judges the main metrics of all tasks, residuals included.
    """
    seeds = [seed for seed in strategy.values if seed in reference.values]
    pairs = [
        [_monitor_on_test(s.values[seed], monitor) for s in (reference, strategy)] for seed in seeds
    ]
    ratios = [math.log(equal / own) for equal, own in pairs if equal > 0 and own > 0]
    return sum(ratios) / len(ratios) if ratios and len(ratios) == len(seeds) else math.nan


def _monitor_on_test(values: Values, monitor: str) -> float:
    """Return the monitor of a run on test; NaN if it cannot be known."""
    if monitor == "relative_loss":
        known = [task["relative_loss"] for task in values.values() if "relative_loss" in task]
        known = [loss for loss in known if math.isfinite(loss)]
        return sum(known) / len(known) if known else math.nan
    task, _, metric = monitor.rpartition(".")
    return values.get(task, {}).get(metric, math.nan)


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"


@contextlib.contextmanager
def _written(path: Path) -> Iterator[Any]:
    """Yield a text file that takes the place of another one in one piece."""
    text = io.StringIO(newline="")
    yield text
    write_atomic(path, text.getvalue().encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="of the studies")
    parser.add_argument("--data", type=Path, default=Path("data"), help="downloaded tables")
    parser.add_argument("--only", type=int, help="the first so many problems")
    parser.add_argument("--table", action="store_true", help="write the table of what is there")
    arguments = parser.parse_args()
    if not arguments.table:
        collect(arguments.directory.resolve(), arguments.data.resolve(), arguments.only)
    write_studies(arguments.directory.resolve())
