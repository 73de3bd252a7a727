"""The cost of stacked replicas: ``python scripts/benchmark --stacked``."""

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
from tables import Table

STEPS = {"toy_regression": 5, "digits": 20}  # per epoch, with the data's own batch size
EPOCHS = {"toy_regression": 400, "digits": 30}  # of a whole run
# Data, width of the hidden layer, most replicas.
CASES = [("toy_regression", 64, 128), ("toy_regression", 1024, 32), ("digits", 64, 128)]
REPLICAS = (1, 8, 32, 128)
MEASURED = 16  # runs of a launcher that trains them one by one
COLUMNS = ("tutorial loop", "single run", "stacked", "stacked, compiled")


def tutorial(hidden: int, device: str) -> Contender:
    """Return the tutorial loop; on a GPU with the two lines that a tutorial would change."""
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
    """Return the trainers of a sweep over the seed."""
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
    seeded = []
    for seed in range(count):
        cfg.seed = seed
        seeded.append(Trainer(build(cfg), Path(tempfile.mkdtemp())))
    return seeded


def single(data: str, hidden: int, device: str) -> Contender:
    """Return the loop of one run with all its records."""
    from mtl_runner.train.epoch_record import EpochBuffer

    (trainer,) = trainers(data, hidden, device, 1)
    buffer = EpochBuffer(
        trainer.tasks, trainer.batches.count, trainer.experiment.device, trainer.learner.layout
    )

    def train(epochs: int) -> None:
        for _ in range(epochs):
            trainer.train_epoch(buffer)

    return train


def stacked(data: str, hidden: int, device: str, count: int, compiled: bool) -> Contender:
    """Return the loop of a stack of replicas, with all their records."""
    from mtl_runner.train.stack import StackTrainer

    stack = StackTrainer(trainers(data, hidden, device, count), compiled=compiled)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            stack._train_epoch()
        assert stack.replica_step.compiled == compiled, "the step did not compile"

    return train


def _measure_steps(repeats: int, epochs: int, device: str, folder: Path | None = None) -> None:
    """Print the cost per step and replica; that of the CPU goes into ``stacked_steps.csv``."""
    import torch

    torch.set_num_threads(1)
    clock: Callable[[], float] = time.perf_counter if device == "cuda" else time.process_time
    unit = (
        f"wall ms on {torch.cuda.get_device_name()}" if device == "cuda" else "CPU ms, one thread"
    )
    print(f"\nPer step and replica: {unit}; weighting=uncertainty\n")
    table = Table(
        ["data", "hidden", "replicas", *COLUMNS, "tutorial / compiled", "single / compiled"],
        folder / "stacked_steps.csv" if folder is not None and device == "cpu" else None,
        "python scripts/benchmark --stacked --steps-only --csv docs/tables",
        "|---|" + "---:|" * (len(COLUMNS) + 4),
    )
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
                measured_epochs = max(
                    2, epochs * STEPS["toy_regression"] // (STEPS[data] * max(1, replicas // 4))
                )
                before = clock()
                train(measured_epochs)
                if device == "cuda":
                    torch.cuda.synchronize()
                # The first round warms up, and compiles.
                if repeat:
                    steps = measured_epochs * STEPS[data] * replicas
                    times[name].append((clock() - before) / steps * 1000)
        median = {name: statistics.median(values) for name, values in times.items()}
        cells = [f"{median[name]:.4f}" if name in median else "-" for name in COLUMNS]
        fast = median["stacked, compiled"]
        cells += [
            f"{median[name] / fast:.1f}x" if name in median else "-"
            for name in ("tutorial loop", "single run")
        ]
        table.row([data, str(hidden), str(count), *cells])


def _sweep(data: str, count: int, options: Sequence[str], cache: str) -> float:
    """Return the wall seconds per run of a sweep over the seed.

    Args:
        data: Option of the group ``data``.
        count: Number of runs.
        options: Overrides that choose the launcher.
        cache: Folder of compiled code.
    """
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


def _measure_sweeps(
    counts: Sequence[int], datas: Sequence[str], folder: Path | None = None
) -> None:
    """Print the cost of whole sweeps, and write it to ``folder / "sweeps.csv"``."""
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
    table = Table(
        ["data", "epochs", "runs", *one_by_one, *at_once],
        folder and folder / "sweeps.csv",
        "python scripts/benchmark --stacked --sweeps-only --csv docs/tables",
        "|---|" + "---:|" * (len(one_by_one) + len(at_once) + 2),
    )
    for data in datas:
        known: dict[tuple[str, int], float] = {}
        for count in counts:
            few = min(count, MEASURED)
            # A fresh cache: cold first, then warm.
            with tempfile.TemporaryDirectory() as cache:
                for name, options in one_by_one.items():
                    if (name, few) not in known:
                        known[name, few] = _sweep(data, few, options, cache)
                cells = [known[name, few] for name in one_by_one]
                cells += [_sweep(data, count, options, cache) for options in at_once.values()]
            seconds = [f"{cell:.3f}" for cell in cells]
            table.row([data, str(EPOCHS[data]), str(count), *seconds])


def measure_stacks(
    repeats: int,
    epochs: int,
    tables: str,
    counts: Sequence[int],
    datas: Sequence[str],
    folder: Path | None = None,
) -> None:
    """Print what stacked replicas cost, and write it to CSV files in a folder.

    Args:
        repeats: Number of measurements of the steps, after one that warms up.
        epochs: Epochs per measurement.
        tables: ``"steps"``, ``"sweeps"`` or ``"all"``.
        counts: Numbers of runs in a sweep.
        datas: Options of the group ``data`` for the sweeps.
        folder: Folder for the CSV files; None to print only.
    """
    import torch

    if tables != "sweeps":
        _measure_steps(repeats, epochs, "cpu", folder)
        if torch.cuda.is_available():
            _measure_steps(repeats, epochs, "cuda")
    if tables != "steps":
        _measure_sweeps(counts, datas, folder)
