"""Measure the cost of each method, against the plain sum and against TorchJD called by hand.

    python scripts/benchmark/methods.py                 # every option of conf/weighting
    python scripts/benchmark/methods.py upgrad famo     # some of them
    python scripts/benchmark/methods.py --csv docs/tables    # also write methods.csv

Digits (4 tasks, 128-128 trunk, batch 64), one thread, CPU time per step, all contenders of a row
interleaved, medians. The plain sum and the direct calls are hand-written loops over tensors with
fused Adam, which record nothing; ours records everything. A direct call of an aggregator is
TorchJD's `mtl_backward` and `jac_to_grad`. Quote ratios, not times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tables import Table

Contender = Callable[[], None]  # trains for one epoch
#: Trains one batch, given the model, the tasks, the batch, the optimizer, and the other batches of a
#: step that takes several.
Step = Callable[..., None]
LEARNING_RATE = 1e-3
EPOCHS_PER_MEASUREMENT = 3
SLOW = 0.02  # seconds per step from which one epoch is enough

SCALARIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed": ("Sum", {}),
    "geometric_mean": ("GeometricMean", {}),
    "imtl_l": ("IMTLL", {"shape": 4}),
    "random": ("Random", {}),
    "stch": ("STCH", {"mu": 0.1}),
    "pbi": ("PBI", {"theta": 5.0, "weights": torch.full((4,), 0.25)}),
    "cosmos": ("COSMOS", {"lambda_": 1.0, "weights": torch.full((4,), 0.25)}),
    "famo": ("FAMO", {"shape": 4}),
    "dwa": ("DWA", {}),
    "uncertainty": ("UW", {"shape": 4}),
}
# TorchJD has them, too; here they are solved exactly.
SOLVED_EXACTLY = ("mgda", "nash_mtl")


def experiment(method: str, *overrides: str) -> Any:
    """Build the experiment of a method as the command line builds it."""
    from hydra import compose, initialize_config_dir

    from mtl_runner.config.conf_directory import conf_directory
    from mtl_runner.experiment.build import build

    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return build(
            compose("config", [f"weighting={method}", "data=digits", "name=benchmark", *overrides])
        )


def ours(method: str, *overrides: str) -> Contender:
    """Return mtl-runner's training epoch, everything recorded."""
    from mtl_runner.train.epoch_record import EpochBuffer
    from mtl_runner.train.trainer import Trainer

    trainer = Trainer(experiment(method, *overrides), Path(tempfile.mkdtemp()))
    buffer = EpochBuffer(
        trainer.tasks, trainer.batches.count, trainer.experiment.device, trainer.learner.layout
    )
    return lambda: trainer.train_epoch(buffer).means() and None


def by_hand(step: Step, learned: Any = None, batches: int = 1) -> Contender:
    """Return a hand-written loop around one step, on the same model and data.

    Args:
        step: The step.
        learned: A module whose parameters are trained with the model's.
        batches: Number of batches of a step, each of a stream that passes over the rows once.
    """
    built = experiment("fixed")
    model, tasks, split = built.learner.model, built.data.tasks, built.data.splits["train"]
    parameters = [
        *model.parameters(),
        *(learned.parameters() if isinstance(learned, torch.nn.Module) else []),
    ]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    size = built.settings.batch_size

    def epoch() -> None:
        orders = [torch.randperm(len(split)) for _ in range(batches)]
        for at in range(0, len(split), size):
            first, *extra = [split.rows(order[at : at + size]) for order in orders]
            step(model, tasks, first, optimizer, *extra)

    return epoch


def plain(model: Any, tasks: Any, batch: Any, optimizer: torch.optim.Optimizer) -> None:
    """Train a batch on the sum of the losses."""
    outputs = model(batch.inputs)
    optimizer.zero_grad()
    sum(task.loss(outputs, batch.targets) for task in tasks).backward()
    optimizer.step()


def direct(method: str) -> Contender | None:
    """Return a loop with TorchJD called by hand; None where it does not have the method."""
    from mtl_runner.update.aggregator_methods import METHODS

    if method in SCALARIZERS:
        return _scalarizer(*SCALARIZERS[method])
    if method in METHODS and (METHODS[method].torchjd_class or method in SOLVED_EXACTLY):
        return _aggregator(method)
    return None


def _scalarizer(name: str, options: dict[str, Any]) -> Contender:
    from torchjd import scalarization

    scalarizer = getattr(scalarization, name)(**options)

    def step(model: Any, tasks: Any, batch: Any, optimizer: torch.optim.Optimizer) -> None:
        outputs = model(batch.inputs)
        losses = torch.stack([task.loss(outputs, batch.targets) for task in tasks])
        optimizer.zero_grad()
        scalarizer(losses).backward()
        optimizer.step()
        if name == "FAMO":
            with torch.no_grad():
                outputs = model(batch.inputs)
                scalarizer.update(
                    torch.stack([task.loss(outputs, batch.targets) for task in tasks])
                )

    return by_hand(step, scalarizer)


def aggregator_of(method: str, options: dict[str, Any]) -> Any:
    """Return TorchJD's aggregator, made as mtl-runner makes it."""
    from mtl_runner.tasks.task import Task
    from mtl_runner.update.aggregators import Aggregation

    return Aggregation(method, options, [Task(str(i)) for i in range(4)], seed=0).make(
        range(4), torch.zeros(())
    )


def _aggregator(method: str) -> Contender:
    from torchjd.autojac import jac_to_grad, mtl_backward

    from mtl_runner.update.aggregator_methods import METHODS

    if method == "nash_mtl":
        from torchjd.aggregation import NashMTL

        aggregator = NashMTL(n_tasks=4)
    else:  # with our settings, so that the same work is compared
        aggregator = aggregator_of(method, METHODS[method].options)

    def step(model: Any, tasks: Any, batch: Any, optimizer: torch.optim.Optimizer) -> None:
        features = model.trunk(batch.inputs)
        outputs = {
            name: head(features) for name, head in zip(model.task_names, model.heads, strict=True)
        }
        losses = [task.loss(outputs, batch.targets) for task in tasks]
        optimizer.zero_grad()
        mtl_backward(losses, features)
        jac_to_grad(model.trunk.parameters(), aggregator)
        optimizer.step()

    return by_hand(step)


def measure(contenders: dict[str, Contender], repeats: int, steps: int) -> dict[str, float]:
    """Return the median CPU milliseconds per step of each contender, measured interleaved."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    epochs = EPOCHS_PER_MEASUREMENT
    for repeat in range(repeats + 1):
        for name, epoch in contenders.items():
            before = time.process_time()
            for _ in range(epochs):
                epoch()
            spent = (time.process_time() - before) / (epochs * steps)
            if repeat:  # the first round warms up
                times[name].append(spent * 1000)
            elif spent > SLOW:
                epochs = 1
    return {name: statistics.median(values) for name, values in times.items()}


def main(methods: list[str], repeats: int, folder: Path | None = None) -> None:
    """Measure the methods, print the table and write it to ``folder / "methods.csv"``."""
    torch.set_num_threads(1)
    steps = -(-len(experiment("fixed").data.splits["train"]) // 64)
    table = Table(
        ["`weighting=`", "ms/step", "to the plain sum", "to TorchJD by hand"],
        folder and folder / "methods.csv",
        "python scripts/benchmark/methods.py --csv docs/tables",
    )
    for method in methods:
        contenders = {"plain": by_hand(plain), "ours": ours(method)}
        by_torchjd = direct(method)
        if by_torchjd is not None:
            contenders["direct"] = by_torchjd
        times = measure(contenders, repeats, steps)
        direct_ratio = f"{times['ours'] / times['direct']:.2f}x" if "direct" in times else ""
        plain_ratio = f"{times['ours'] / times['plain']:.2f}x"
        table.row([f"`{method}`", f"{times['ours']:.2f}", plain_ratio, direct_ratio])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--csv", type=Path, metavar="FOLDER", help="write methods.csv there, too")
    arguments = parser.parse_args()
    if arguments.methods and arguments.csv:
        parser.error("--csv writes the table of all methods; name none of them.")
    if not arguments.methods:
        from mtl_runner.config.conf_directory import conf_directory

        arguments.methods = sorted(
            path.stem for path in (conf_directory() / "weighting").glob("*.yaml")
        )
    main(arguments.methods, arguments.repeats, arguments.csv)
