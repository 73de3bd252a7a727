"""The cost of an epoch of every problem: ``python scripts/benchmark --problems``."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tables import Table

from mtl_runner.config.conf_directory import conf_directory

# Points in a space, and your own data.
WITHOUT_EPOCHS = ("cagrad_toy", "fonseca_fleming", "table")
COLUMNS = (
    "data",
    "model",
    "training rows",
    "parameters",
    "steps per epoch",
    "s until the first epoch",
    "s per epoch",
)


def measure_problems(paths: Mapping[str, str], epochs: int, folder: Path | None = None) -> None:
    """Print a row per problem, and write it to ``folder / "problems.csv"``.

    Every problem has its default model and ``weighting=uncertainty``, one thread, all recorded.

    Args:
        paths: ``data.path`` of the problems that need files; those without a path are left out.
        epochs: Number of epochs that are measured, after one that warms up.
        folder: Folder for the CSV file; None to print only.
    """
    table = Table(
        COLUMNS,
        folder and folder / "problems.csv",
        " ".join(["python scripts/benchmark --problems", *(f"{d}=FOLDER" for d in paths)])
        + " --csv docs/tables",
    )
    for option in sorted(path.stem for path in (conf_directory() / "data").glob("*.yaml")):
        if option not in WITHOUT_EPOCHS:
            row = _measure(option, paths.get(option), epochs)
            if row:
                table.row(row)


def _measure(option: str, path: str | None, epochs: int) -> list[str]:
    """Return the cells of a problem's row; none if its files are missing."""
    from hydra import compose, initialize_config_dir

    from mtl_runner.experiment.build import build
    from mtl_runner.train.epoch_record import EpochBuffer
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
        buffer = EpochBuffer(
            trainer.tasks, trainer.batches.count, trainer.experiment.device, trainer.learner.layout
        )
        times = []
        for _ in range(epochs + 1):
            begun = time.process_time()
            trainer.train_epoch(buffer)
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
