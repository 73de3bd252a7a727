"""The cost of whole commands: ``python scripts/benchmark --whole`` and ``--scale``."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from contenders import TUTORIAL
from tables import Table


def _cpu_seconds_and_memory(command: list[str], folder: str) -> tuple[float, float]:
    """Return CPU seconds and peak memory in MB of a command that runs in a folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    memory = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, float(memory)


def measure_commands(repeats: int, folder: Path | None = None) -> None:
    """Print time and memory of whole commands, and write them to ``folder / "whole_runs.csv"``.

    Args:
        repeats: How often every command is run.
        folder: Folder for the CSV file; None to print only.
    """
    run = [str(Path(sys.executable).parent / "mtl-run")]
    with tempfile.TemporaryDirectory() as temporary:
        script = Path(temporary) / "tutorial.py"
        script.write_text(
            "import torch\ntorch.set_num_threads(1)\n"
            + textwrap.dedent(TUTORIAL)
            + "\nmake(1024, True)(2000)\n"
        )
        commands = {
            "tutorial script, 2000 epochs": [sys.executable, str(script)],
            "mtl-run experiment=toy_uncertainty": [*run, "experiment=toy_uncertainty"],
            "mtl-run trainer.epochs=1 record.plots=none": [
                *run,
                "trainer.epochs=1",
                "record.plots=none",
            ],
            "mtl-run --help": [*run, "--help"],
        }
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, command in commands.items():
                costs[name].append(_cpu_seconds_and_memory(command, temporary))
    table = Table(
        ["command", "CPU s", "peak MB"],
        folder and folder / "whole_runs.csv",
        "python scripts/benchmark --whole --csv docs/tables",
    )
    for name, values in costs.items():
        seconds = statistics.median(cpu for cpu, _ in values)
        table.row([f"`{name}`", f"{seconds:.2f}", f"{max(memory for _, memory in values):.0f}"])
    times = [statistics.median(v[0] for v in values) for values in costs.values()]
    print(f"\nexperiment=toy_uncertainty over the tutorial script: {times[1] / times[0]:.2f}x")


def measure_large_table() -> None:
    """Print what one epoch on a table of a million rows costs, and on a small table."""
    import numpy as np
    import pandas as pd

    run = [
        str(Path(sys.executable).parent / "mtl-run"),
        "data=table",
        "data.targets={a: regression, b: classification}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for rows in (20_000, 1_000_000):
            random = np.random.default_rng(0)
            frame = pd.DataFrame(
                random.standard_normal((rows, 18)).astype(np.float32),
                columns=[f"x{i}" for i in range(18)],
            )
            frame["a"] = frame["x0"] + random.standard_normal(rows)
            frame["b"] = (frame["x1"] > 0).astype(int)
            frame.to_csv(Path(folder) / "table.csv", index=False)
            started = time.perf_counter()
            cpu, memory = _cpu_seconds_and_memory(
                [
                    *run,
                    "data.path=table.csv",
                    "data.batch_size=1024",
                    "trainer.epochs=1",
                    f"hydra.run.dir=run{rows}",
                ],
                folder,
            )
            wall = time.perf_counter() - started
            rate = json.loads((Path(folder) / f"run{rows}" / "summary.json").read_text())["time"][
                "steps_per_second"
            ]
            print(
                f"{rows:>9,} rows: {wall:.1f} s wall, {cpu:.1f} s CPU, {memory:.0f} MB, {rate:.0f} steps/s (evaluation included)"
            )
