"""What whole runs cost, and a single step: ``python scripts/benchmark``, ``--whole`` and ``--scale``."""

from __future__ import annotations

import gc
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from contenders import BATCH, TUTORIAL, ours, plain, tutorial


def steps(repeats: int, epochs: int) -> None:
    """Cost per step."""
    import torch

    torch.set_num_threads(1)
    contenders = {"tutorial loop": tutorial, "plain fused loop": plain, "mtl-runner": ours}
    print(
        "| hidden | weighting | "
        + " | ".join(f"{name}: ms/step" for name in contenders)
        + " | to plain | to tutorial |"
    )
    print("|---|---|" + "---|" * (len(contenders) + 2))
    for hidden, method in itertools.product((64, 1024), ("fixed", "uncertainty")):
        trains = {name: make(hidden, method) for name, make in contenders.items()}
        times: dict[str, list[float]] = {name: [] for name in trains}
        gc.freeze()  # as a run does when it starts: what was imported need not be looked at again and again
        for repeat in range(repeats + 1):
            for name, train in trains.items():
                before = time.process_time()
                train(epochs)
                if repeat:  # the first round warms up
                    times[name].append(
                        (time.process_time() - before) / (epochs * 100 // BATCH) * 1000
                    )
        median = {name: statistics.median(values) for name, values in times.items()}
        cells = " | ".join(f"{value:.3f}" for value in median.values())
        mine = median["mtl-runner"]
        print(
            f"| {hidden} | {method} | {cells} | {mine / median['plain fused loop']:.2f}x | {mine / median['tutorial loop']:.2f}x |"
        )


def _cpu(command: list[str], folder: str) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of a command."""
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


def whole(repeats: int) -> None:
    """Whole runs as a user types them."""
    run = [str(Path(sys.executable).parent / "mtl-run")]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "tutorial.py"
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
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, command in commands.items():
                found[name].append(_cpu(command, folder))
    print("| command | CPU s | peak MB |\n|---|---|---|")
    for name, values in found.items():
        print(
            f"| `{name}` | {statistics.median(v[0] for v in values):.2f} | {max(v[1] for v in values):.0f} |"
        )
    times = [statistics.median(v[0] for v in values) for values in found.values()]
    print(f"\nexperiment=toy_uncertainty over the tutorial script: {times[1] / times[0]:.2f}x")


def scale() -> None:
    """A table of a million rows and 20 columns: load, one epoch, and the cost per step against a small table."""
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
            cpu, memory = _cpu(
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
            import json

            rate = json.loads((Path(folder) / f"run{rows}" / "summary.json").read_text())["time"][
                "steps_per_second"
            ]
            print(
                f"{rows:>9,} rows: {wall:.1f} s wall, {cpu:.1f} s CPU, {memory:.0f} MB, {rate:.0f} steps/s (evaluation included)"
            )
