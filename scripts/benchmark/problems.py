"""What an epoch of every problem costs: ``python scripts/benchmark --problems``."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mtl_runner.config.conf_directory import conf_directory

WITHOUT_EPOCHS = ("cagrad_toy", "fonseca_fleming", "table")  # points in a space, and your own data
COLUMNS = (
    "data",
    "model",
    "training rows",
    "parameters",
    "steps per epoch",
    "s until the first epoch",
    "s per epoch",
)


def problems(paths: Mapping[str, str], epochs: int) -> None:
    """Print a row per problem with its default model and ``weighting=uncertainty``, one thread, everything recorded.

    Args:
        paths: ``data.path`` of the problems that need files; those without are left out. epochs: measured, after one to warm up.
    """
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for option in sorted(path.stem for path in (conf_directory() / "data").glob("*.yaml")):
        if option not in WITHOUT_EPOCHS:
            row = _measured(option, paths.get(option), epochs)
            if row:
                print(f"| {' | '.join(row)} |", flush=True)


def _measured(option: str, path: str | None, epochs: int) -> list[str]:
    from hydra import compose, initialize_config_dir

    from mtl_runner.experiment.build import build
    from mtl_runner.train.totals import EpochTotals
    from mtl_runner.train.trainer import Trainer

    overrides = [f"data={option}", "name=benchmark", "trainer.threads=1"]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        cfg = compose("config", overrides)
    if "path" in cfg.data and path is None and cfg.data.path is None:
        return []
    if path is not None:
        cfg.data.path = path
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(build(cfg), Path(folder))
        ready = time.perf_counter() - started
        totals = EpochTotals(
            trainer.tasks, trainer.batches.count, trainer.experiment.device, trainer.learner.layout
        )
        times = []
        for _ in range(epochs + 1):
            begun = time.process_time()
            trainer.train_epoch(totals)
            times.append(time.process_time() - begun)
        parameters = sum(p.numel() for p in trainer.learner.model.parameters())
    rows = len(trainer.experiment.data.splits["train"])
    model = str(cfg.model._target_).rpartition(".")[2]
    seconds = statistics.median(times[1:])
    return [
        option,
        model,
        f"{rows:,}",
        f"{parameters:,}",
        str(trainer.batches.count),
        f"{ready:.1f}",
        f"{seconds:.3g}",
    ]
