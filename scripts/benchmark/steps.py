"""The cost of a training step: ``python scripts/benchmark``."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from pathlib import Path

from contenders import BATCH, ours, plain, tutorial
from tables import Table


def measure_steps(repeats: int, epochs: int, folder: Path | None = None) -> None:
    """Print the CPU milliseconds per training step, and write them to ``folder / "steps.csv"``.

    Args:
        repeats: Number of measurements, after one that warms up.
        epochs: Epochs of 5 steps per measurement.
        folder: Folder for the CSV file; None to print only.
    """
    import torch

    torch.set_num_threads(1)
    contenders = {"tutorial loop": tutorial, "plain fused loop": plain, "mtl-runner": ours}
    columns = ["hidden", "weighting", *(f"{name}: ms/step" for name in contenders)]
    table = Table(
        [*columns, "to plain", "to tutorial"],
        folder and folder / "steps.csv",
        "python scripts/benchmark --csv docs/tables",
    )
    for hidden, method in itertools.product((64, 1024), ("fixed", "uncertainty")):
        trains = {name: make(hidden, method) for name, make in contenders.items()}
        times: dict[str, list[float]] = {name: [] for name in trains}
        # As a run does when it starts: the garbage collector need not look at what was imported.
        gc.freeze()
        for repeat in range(repeats + 1):
            for name, train in trains.items():
                before = time.process_time()
                train(epochs)
                # The first round warms up.
                if repeat:
                    times[name].append(
                        (time.process_time() - before) / (epochs * 100 // BATCH) * 1000
                    )
        median = {name: statistics.median(values) for name, values in times.items()}
        runner = median["mtl-runner"]
        ratios = [runner / median[name] for name in ("plain fused loop", "tutorial loop")]
        table.row(
            [
                str(hidden),
                method,
                *(f"{value:.3f}" for value in median.values()),
                *(f"{ratio:.2f}x" for ratio in ratios),
            ]
        )
