"""A step of two processes beside that of torch's ``DistributedDataParallel``, for the joint update.

It is the one update that the wrapper does rightly, so what exactness costs can be measured on it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes

from mtl_runner.compat.torch_stores import connect_store, host_store
from mtl_runner.data import Split
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.gradients.ranks import Ranks, Reports, joined
from mtl_runner.likelihood import Standard
from mtl_runner.models import MLP
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update import Joint
from mtl_runner.weighting import Fixed

PROCESSES = 2
INPUTS, HIDDEN = 256, (1024, 1024, 1024, 750)  # 3.1 million parameters
BATCHES = (16, 64)  # rows of each process
STEPS, BLOCKS = 10, 12


def measure_devices() -> None:
    """Print the CPU time and the wall time of a step of both, as ratios of interleaved blocks."""
    print(f"{PROCESSES} processes, one thread each; medians over {BLOCKS} blocks of {STEPS} steps")
    for rows in BATCHES:
        store = host_store()
        start_processes(_measure, (store.port, rows), nprocs=PROCESSES)


def _measure(rank: int, port: int, rows: int) -> None:
    """Take steps of both in turn, as one of the processes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    board = Reports(connect_store(port))
    with joined(Ranks(rank, PROCESSES, rank, PROCESSES, board)) as ranks:
        steps = _steps(rows, ranks)
        cpu: dict[str, list[float]] = {name: [] for name in steps}
        wall: dict[str, list[float]] = {name: [] for name in steps}
        for block in range(BLOCKS + 1):
            for name in sorted(steps, reverse=bool(block % 2)):
                dist.barrier()
                began = time.process_time(), time.perf_counter()
                for _ in range(STEPS):
                    steps[name]()
                if block:  # the first one warms up
                    cpu[name].append(time.process_time() - began[0])
                    wall[name].append(time.perf_counter() - began[1])
        if ranks.writes:
            print(
                f"{rows} rows each: CPU time {_ratio(cpu):.2f}x, wall time {_ratio(wall):.2f}x "
                f"of DistributedDataParallel ({_milliseconds(cpu['torch']):.1f} ms CPU per step)"
            )


def _ratio(times: dict[str, list[float]]) -> float:
    return statistics.median(a / b for a, b in zip(times["ours"], times["torch"], strict=True))


def _milliseconds(times: list[float]) -> float:
    return 1000 * statistics.median(times) / STEPS


def _steps(rows: int, ranks: Ranks) -> dict[str, Callable[[], object]]:
    """Return a step of both, for the same model and rows."""
    tasks = [Task("a", size=4), Task("b", size=4)]
    inputs = torch.randn(rows, INPUTS)
    targets = {task.name: torch.randn(rows, 4) for task in tasks}
    batch, likelihood = Split(inputs, targets), Standard(tasks)
    adam = partial(torch.optim.Adam, lr=1e-3, fused=True)
    model, weighting = MLP(tasks, (INPUTS,), hidden=HIDDEN), Fixed(tasks)
    parameters = find_parameters(model, likelihood, batch)
    own_optimizers = OwnOptimizers(weighting, adam)
    learner = Learner(
        model, likelihood, weighting, Joint(parameters, adam), own_optimizers, ranks=ranks
    )
    active = Active.all(len(tasks))
    wrapped = nn.parallel.DistributedDataParallel(MLP(tasks, (INPUTS,), hidden=HIDDEN))
    optimizer = adam(wrapped.parameters())

    def ours() -> None:
        learner.step(batch, active)
        ranks.largest([0, 0, 0, 0])  # as a run does after every step, to hear of signals

    def with_wrapper() -> None:
        optimizer.zero_grad()
        outputs = wrapped(inputs)
        sum((outputs[name] - target).square().mean() for name, target in targets.items()).backward()
        optimizer.step()

    return {"ours": ours, "torch": with_wrapper}
