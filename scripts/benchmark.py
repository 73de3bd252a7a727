"""What a training step costs: the tutorial loop, a plain PyTorch loop, and mtl-runner with everything recorded.

    python scripts/benchmark.py            # cost per step
    python scripts/benchmark.py --whole    # a whole run: start-up, training, evaluation, checkpoints, plots; start-up; memory
    python scripts/benchmark.py --scale    # a table of a million rows
    python scripts/benchmark.py --problems reuters=DIR  # seconds per epoch of every problem, where the files of some are, you say
    python scripts/benchmark.py --stacked  # stacked replicas: cost per step and replica, whole sweeps (--steps-only, --sweeps-only)

All contenders run interleaved in one process with one thread; the numbers are medians of CPU time. Quote ratios, not times.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

BATCH = 20
Contender = Callable[[int], None]  # trains for so many epochs

TUTORIAL = '''
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

np.random.seed(0)
X = np.random.randn(100, 1)
Y1 = 2 * X + 8 + 10 * np.random.randn(100, 1)
Y2 = 3 * X + 3 + np.random.randn(100, 1)

class Points(Dataset):
    def __init__(self):
        self.x, self.y1, self.y2 = (torch.tensor(a, dtype=torch.float32) for a in (X, Y1, Y2))
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        return self.x[i], self.y1[i], self.y2[i]

class TwoNets(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.net1, self.net2 = (nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1)) for _ in range(2))
    def forward(self, x):
        return self.net1(x), self.net2(x)

class MultiTaskLoss(nn.Module):
    """The widely copied wrapper: model and log variances in one module."""
    def __init__(self, hidden, learned):
        super().__init__()
        self.model, self.learned = TwoNets(hidden), learned
        self.log_vars = nn.Parameter(torch.zeros(2))
    def forward(self, x, y1, y2):
        o1, o2 = self.model(x)
        losses = torch.mean((o1 - y1) ** 2), torch.mean((o2 - y2) ** 2)
        if not self.learned:
            return losses[0] + losses[1], losses
        total = sum(torch.exp(-s) * loss + s for s, loss in zip(self.log_vars, losses))
        return total, losses

def make(hidden, learned):
    mtl = MultiTaskLoss(hidden, learned)
    optimizer = torch.optim.Adam(mtl.parameters(), lr=1e-3, eps=1e-7)
    loader = DataLoader(Points(), batch_size=20, shuffle=True)
    history = []
    def train(epochs):
        for _ in range(epochs):
            for x, y1, y2 in loader:
                loss, losses = mtl(x, y1, y2)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                history.append((loss.item(), mtl.log_vars.tolist()))
    return train
'''


def tutorial(hidden: int, method: str) -> Contender:
    """Dataset, DataLoader, `.item()` and `.tolist()` at every step, the default Adam."""
    scope: dict[str, object] = {}
    exec(TUTORIAL, scope)  # the same text runs as a script of its own in --whole
    return scope["make"](hidden, method == "uncertainty")  # type: ignore[operator, no-any-return]


def plain(hidden: int, method: str) -> Contender:
    """What an expert writes by hand: tensors, index batches, fused Adam, nothing recorded."""
    import torch

    scope: dict = {}
    exec(TUTORIAL, scope)
    points, model = scope["Points"](), scope["TwoNets"](hidden)
    x, y1, y2 = points.x, points.y1, points.y2
    log_vars = [torch.nn.Parameter(torch.zeros(())) for _ in range(2)] if method == "uncertainty" else []
    optimizer = torch.optim.Adam([*model.parameters(), *log_vars], lr=1e-3, eps=1e-7, fused=True)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            order = torch.randperm(len(x))
            for at in range(0, len(x), BATCH):
                rows = order[at : at + BATCH]
                o1, o2 = model(x[rows])
                l1, l2 = ((o1 - y1[rows]) ** 2).mean(), ((o2 - y2[rows]) ** 2).mean()
                if log_vars:
                    s1, s2 = log_vars
                    loss = torch.exp(-s1) * l1 + s1 + torch.exp(-s2) * l2 + s2
                else:
                    loss = l1 + l2
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return train


def ours(hidden: int, method: str) -> Contender:
    """mtl-runner's own step and records: losses, weights, activity and objective of every step."""
    from hydra import compose, initialize_config_dir

    from mtl_runner.config.conf_directory import conf_directory
    from mtl_runner.experiment.build import build
    from mtl_runner.train.totals import EpochTotals
    from mtl_runner.train.trainer import Trainer

    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        overrides = [f"weighting={method}", f"model.hidden=[{hidden}]", "++optimizer.eps=1e-7", "name=benchmark"]
        experiment = build(compose("config", overrides))
    trainer = Trainer(experiment, Path(tempfile.mkdtemp()))
    totals = EpochTotals(trainer.tasks, trainer.batches.count, experiment.device)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            trainer.train_epoch(totals)

    return train


def steps(repeats: int, epochs: int) -> None:
    """Cost per step."""
    import torch

    torch.set_num_threads(1)
    contenders = {"tutorial loop": tutorial, "plain fused loop": plain, "mtl-runner": ours}
    print("| hidden | weighting | " + " | ".join(f"{name}: ms/step" for name in contenders) + " | to plain | to tutorial |")
    print("|---|---|" + "---|" * (len(contenders) + 2))
    for hidden, method in itertools.product((64, 1024), ("fixed", "uncertainty")):
        trains = {name: make(hidden, method) for name, make in contenders.items()}
        times: dict[str, list[float]] = {name: [] for name in trains}
        for repeat in range(repeats + 1):
            for name, train in trains.items():
                before = time.process_time()
                train(epochs)
                if repeat:  # the first round warms up
                    times[name].append((time.process_time() - before) / (epochs * 100 // BATCH) * 1000)
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
        [sys.executable, "-c", script, *command], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, float(memory)


def whole(repeats: int) -> None:
    """Whole runs as a user types them."""
    run = [str(Path(sys.executable).parent / "mtl-run")]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "tutorial.py"
        script.write_text("import torch\ntorch.set_num_threads(1)\n" + textwrap.dedent(TUTORIAL) + "\nmake(1024, True)(2000)\n")
        commands = {
            "tutorial script, 2000 epochs": [sys.executable, str(script)],
            "mtl-run experiment=toy_uncertainty": [*run, "experiment=toy_uncertainty"],
            "mtl-run trainer.epochs=1 record.plots=none": [*run, "trainer.epochs=1", "record.plots=none"],
            "mtl-run --help": [*run, "--help"],
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, command in commands.items():
                found[name].append(_cpu(command, folder))
    print("| command | CPU s | peak MB |\n|---|---|---|")
    for name, values in found.items():
        print(f"| `{name}` | {statistics.median(v[0] for v in values):.2f} | {max(v[1] for v in values):.0f} |")
    times = [statistics.median(v[0] for v in values) for values in found.values()]
    print(f"\nexperiment=toy_uncertainty over the tutorial script: {times[1] / times[0]:.2f}x")


def scale() -> None:
    """A table of a million rows and 20 columns: load, one epoch, and the cost per step against a small table."""
    import numpy as np
    import pandas as pd

    run = [str(Path(sys.executable).parent / "mtl-run"), "data=table", "data.targets={a: regression, b: classification}"]
    with tempfile.TemporaryDirectory() as folder:
        for rows in (20_000, 1_000_000):
            random = np.random.default_rng(0)
            frame = pd.DataFrame(random.standard_normal((rows, 18)).astype(np.float32), columns=[f"x{i}" for i in range(18)])
            frame["a"] = frame["x0"] + random.standard_normal(rows)
            frame["b"] = (frame["x1"] > 0).astype(int)
            frame.to_csv(Path(folder) / "table.csv", index=False)
            started = time.perf_counter()
            cpu, memory = _cpu(
                [*run, "data.path=table.csv", "data.batch_size=1024", "trainer.epochs=1", f"hydra.run.dir=run{rows}"], folder
            )
            wall = time.perf_counter() - started
            import json

            rate = json.loads((Path(folder) / f"run{rows}" / "summary.json").read_text())["time"]["steps_per_second"]
            print(
                f"{rows:>9,} rows: {wall:.1f} s wall, {cpu:.1f} s CPU, {memory:.0f} MB, {rate:.0f} steps/s (evaluation included)"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--stacked", action="store_true")
    parser.add_argument("--problems", nargs="*", metavar="DATA=PATH")
    parser.add_argument("--steps-only", action="store_true", help="of --stacked only the steps")
    parser.add_argument("--sweeps-only", action="store_true", help="of --stacked only the whole sweeps")
    parser.add_argument("--runs", type=int, nargs="+", default=[8, 32, 128], help="runs in a sweep of --stacked")
    parser.add_argument("--data", nargs="+", default=["toy_regression", "digits"], help="data of the sweeps of --stacked")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=40, help="epochs of 5 steps per measurement")
    options = parser.parse_args()
    if options.whole:
        whole(min(options.repeats, 3))
    elif options.problems is not None:
        from benchmark_problems import problems

        problems(dict(pair.split("=", 1) for pair in options.problems), min(options.repeats, 3))
    elif options.scale:
        scale()
    elif options.stacked:
        from benchmark_stacked import stacked_tables

        part = "steps" if options.steps_only else "sweeps" if options.sweeps_only else "all"
        stacked_tables(options.repeats, options.epochs, part, options.runs, options.data)
    else:
        steps(options.repeats, options.epochs)
