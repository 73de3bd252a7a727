"""What stacked replicas cost: ``python scripts/benchmark --stacked``."""

from __future__ import annotations

import importlib.util
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from contenders import TUTORIAL, Contender

STEPS = {"toy_regression": 5, "digits": 20}  # per epoch, with the data's own batch size
EPOCHS = {"toy_regression": 400, "digits": 30}  # of a whole run
CASES = [
    ("toy_regression", 64, 128),
    ("toy_regression", 1024, 32),
    ("digits", 64, 128),
]  # data, hidden, most replicas
REPLICAS = (1, 8, 32, 128)
MEASURED = 16  # runs of a launcher that trains them one by one
COLUMNS = ("tutorial loop", "single run", "stacked", "stacked, compiled")


def tutorial(hidden: int, device: str) -> Contender:
    """The tutorial loop; on a GPU with the two lines that a tutorial would change."""
    text = TUTORIAL
    if device == "cuda":
        text = text.replace(
            "mtl = MultiTaskLoss(hidden, learned)", "mtl = MultiTaskLoss(hidden, learned).cuda()"
        )
        text = text.replace(
            "in loader:\n",
            "in loader:\n                x, y1, y2 = x.cuda(), y1.cuda(), y2.cuda()\n",
        )
    scope: dict[str, Any] = {}
    exec(text, scope)
    return scope["make"](hidden, True)  # type: ignore[no-any-return]


def trainers(data: str, hidden: int, device: str, count: int) -> list[Any]:
    """As many trainers as a sweep over the seed has."""
    from hydra import compose, initialize_config_dir

    from mtl_runner.config.conf_directory import conf_directory
    from mtl_runner.experiment.build import build
    from mtl_runner.train.trainer import Trainer

    overrides = [
        f"data={data}",
        f"model.hidden=[{hidden}]",
        f"trainer.device={device}",
        "name=benchmark",
    ]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        cfg = compose("config", overrides)
    found = []
    for seed in range(count):
        cfg.seed = seed
        found.append(Trainer(build(cfg), Path(tempfile.mkdtemp())))
    return found


def single(data: str, hidden: int, device: str) -> Contender:
    """One run with all its records."""
    from mtl_runner.train.totals import EpochTotals

    (trainer,) = trainers(data, hidden, device, 1)
    totals = EpochTotals(
        trainer.tasks, trainer.batches.count, trainer.experiment.device, trainer.learner.layout
    )

    def train(epochs: int) -> None:
        for _ in range(epochs):
            trainer.train_epoch(totals)

    return train


def stacked(data: str, hidden: int, device: str, count: int, compiled: bool) -> Contender:
    """All replicas at once, with all their records."""
    from mtl_runner.train.stack import Stack

    stack = Stack(trainers(data, hidden, device, count), compiled=compiled)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            stack._train_epoch()
        assert stack.replica_step.compiled == compiled, "the step did not compile"

    return train


def steps(repeats: int, epochs: int, device: str) -> None:
    """Cost per step and replica."""
    import torch

    torch.set_num_threads(1)
    clock: Callable[[], float] = time.perf_counter if device == "cuda" else time.process_time
    what = (
        f"wall ms on {torch.cuda.get_device_name()}" if device == "cuda" else "CPU ms, one thread"
    )
    print(f"\nPer step and replica: {what}; weighting=uncertainty\n")
    print(
        "| data | hidden | replicas | "
        + " | ".join(COLUMNS)
        + " | tutorial / compiled | single / compiled |"
    )
    print("|---|" + "---:|" * (len(COLUMNS) + 4))
    for (data, hidden, most), count in itertools.product(CASES, REPLICAS):
        if count > most:
            continue
        trains: dict[str, tuple[Contender, int]] = {
            "single run": (single(data, hidden, device), 1),
            "stacked": (stacked(data, hidden, device, count, False), count),
            "stacked, compiled": (stacked(data, hidden, device, count, True), count),
        }
        if data == "toy_regression":
            trains["tutorial loop"] = tutorial(hidden, device), 1
        times: dict[str, list[float]] = {name: [] for name in trains}
        for repeat in range(repeats + 1):
            for name, (train, replicas) in trains.items():
                # Every measurement takes about as long, however many replicas it trains.
                some = max(
                    2, epochs * STEPS["toy_regression"] // (STEPS[data] * max(1, replicas // 4))
                )
                before = clock()
                train(some)
                if device == "cuda":
                    torch.cuda.synchronize()
                if repeat:  # the first round warms up, and compiles
                    times[name].append((clock() - before) / (some * STEPS[data] * replicas) * 1000)
        median = {name: statistics.median(values) for name, values in times.items()}
        cells = [f"{median[name]:.4f}" if name in median else "-" for name in COLUMNS]
        fast = median["stacked, compiled"]
        cells += [
            f"{median[name] / fast:.1f}x" if name in median else "-"
            for name in ("tutorial loop", "single run")
        ]
        print(f"| {data} | {hidden} | {count} | {' | '.join(cells)} |", flush=True)


def _sweep(data: str, count: int, options: Sequence[str], cache: str) -> float:
    """Wall seconds per run of a sweep over the seed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).parent / "mtl-run"),
            "-m",
            f"data={data}",
            "model.hidden=[64]",
        ]
        command += [
            "trainer.device=cpu",
            f"trainer.epochs={EPOCHS[data]}",
            "record.plots=none",
            f"seed=range(0,{count})",
            "hydra.sweep.dir=sweep",
        ]
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
        started = time.perf_counter()
        subprocess.run(
            [*command, *options], cwd=folder, check=True, capture_output=True, env=environment
        )
        seconds = time.perf_counter() - started
        done = len(list(Path(folder).glob("sweep/*/summary.json")))
        assert done == count, f"{done} of {count} runs have a summary"
    return seconds / count


def sweeps(counts: Sequence[int], datas: Sequence[str]) -> None:
    """Whole sweeps as a user types them."""
    one_by_one = {f"basic, at most {MEASURED} runs": ["hydra/launcher=basic"]}
    if importlib.util.find_spec("hydra_plugins") and importlib.util.find_spec(
        "hydra_plugins.hydra_joblib_launcher"
    ):
        one_by_one[f"joblib, n_jobs=2, at most {MEASURED} runs"] = [
            "hydra/launcher=joblib",
            "hydra.launcher.n_jobs=2",
        ]
    stack = ["hydra/launcher=stacked"]
    at_once = {
        "stacked": [*stack, "trainer.compile=false"],
        "stacked, compiled, cold": [*stack, "trainer.compile=true"],
        "stacked, compiled, warm": [*stack, "trainer.compile=true"],
    }
    print(
        "\nWhole sweeps over the seed: wall seconds per run, on the CPU; hidden 64, record.plots=none, start-up included."
    )
    print(
        f"Basic and joblib sweeps have at most {MEASURED} runs: their seconds per run hardly depend on how many there are.\n"
    )
    print("| data | epochs | runs | " + " | ".join([*one_by_one, *at_once]) + " |")
    print("|---|" + "---:|" * (len(one_by_one) + len(at_once) + 2))
    for data in datas:
        known: dict[tuple[str, int], float] = {}
        for count in counts:
            few = min(count, MEASURED)
            with tempfile.TemporaryDirectory() as cache:  # fresh: cold first, then warm
                for name, options in one_by_one.items():
                    if (name, few) not in known:
                        known[name, few] = _sweep(data, few, options, cache)
                cells = [known[name, few] for name in one_by_one]
                cells += [_sweep(data, count, options, cache) for options in at_once.values()]
            print(
                f"| {data} | {EPOCHS[data]} | {count} | {' | '.join(f'{cell:.3f}' for cell in cells)} |",
                flush=True,
            )


def stacked_tables(
    repeats: int, epochs: int, which: str, counts: Sequence[int], datas: Sequence[str]
) -> None:
    """Both tables, or one: ``which`` is all, steps or sweeps."""
    import torch

    if which != "sweeps":
        steps(repeats, epochs, "cpu")
        if torch.cuda.is_available():
            steps(repeats, epochs, "cuda")
    if which != "steps":
        sweeps(counts, datas)
