"""The cost of gradients at the parameters and at the representation: ``--representation``.

A U-Net with three answers per pixel and a ResNet-18 with three answers per image, each with MGDA: a
step of every place, block and interval of the gradients, beside the sum of the losses and beside
MGDA-UB in a loop written by hand that records nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tables import Table
from torch import Tensor, nn

from mtl_runner.data import Split
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.likelihood import Standard
from mtl_runner.models import Backbone, UNet
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.update import Jacobian, Joint, Update
from mtl_runner.update.shortest_vector import ShortestVector
from mtl_runner.weighting import Fixed

#: Takes one training step.
Step = Callable[[], object]

SIDE = 64
STEPS = 10  # of a measurement: as many as weights are held
TASKS = 3
make_optimizer = partial(torch.optim.Adam, lr=1e-3, fused=True)
OPTIONS: dict[str, dict[str, object]] = {
    "parameters": {},
    "by module": {"blocks": "module"},
    "every 10": {"every": STEPS},
    "representation": {"at": "representation"},
}


def unet() -> tuple[nn.Module, Sequence[Task], Split]:
    """Return a U-Net with three answers per pixel, and a batch."""
    tasks = [Task(f"map{i}", size=1, places=(SIDE, SIDE)) for i in range(TASKS)]
    targets = {task.name: torch.randn(8, 1, SIDE, SIDE) for task in tasks}
    return UNet(tasks, (3, SIDE, SIDE)), tasks, Split(torch.randn(8, 3, SIDE, SIDE), targets)


def backbone() -> tuple[nn.Module, Sequence[Task], Split]:
    """Return a ResNet-18 with three answers per image, and a batch."""
    tasks = [Task(f"number{i}", size=1) for i in range(TASKS)]
    targets = {task.name: torch.randn(16, 1) for task in tasks}
    return Backbone(tasks, (3, SIDE, SIDE)), tasks, Split(torch.randn(16, 3, SIDE, SIDE), targets)


def ours(
    make: Callable[[], tuple[nn.Module, Sequence[Task], Split]], options: dict[str, object] | None
) -> Step:
    """Return a step of mtl-runner.

    Args:
        make: Makes model, tasks and batch.
        options: Options of ``update=jacobian``; None: ``update=joint``.
    """
    torch.manual_seed(0)
    model, tasks, batch = make()
    likelihood, weighting = Standard(tasks), Fixed(tasks)
    parameters = find_parameters(model, likelihood, batch)
    update: Update = Joint(parameters, make_optimizer)
    if options is not None:
        chosen: Any = {"aggregator": "mgda", **options}
        update = Jacobian(parameters, make_optimizer, tasks, **chosen)
    own_optimizers = OwnOptimizers(weighting, make_optimizer)
    learner = Learner(model, likelihood, weighting, update, own_optimizers)
    return lambda: learner.step(batch, Active.all(len(tasks)))


def by_hand(make: Callable[[], tuple[nn.Module, Sequence[Task], Split]]) -> Step:
    """Return a step of MGDA-UB that takes the model apart itself and records nothing."""
    torch.manual_seed(0)
    model, tasks, batch = make()
    assert isinstance(model, UNet | Backbone)
    likelihood, optimizer, shortest = (
        Standard(tasks),
        make_optimizer(model.parameters()),
        ShortestVector(),
    )
    heads = [list(head.parameters()) for head in model.heads]

    def features_of(inputs: Tensor) -> Tensor:
        if isinstance(model, UNet):
            return model.decoded(model.encoded(inputs))
        features: Tensor = model.network.features(inputs)
        return features

    def step() -> None:
        features = features_of(batch.inputs)
        outputs = {task.name: head(features) for task, head in zip(tasks, model.heads, strict=True)}
        optimizer.zero_grad()
        rows = []
        for loss, head in zip(likelihood.losses(outputs, batch.targets), heads, strict=True):
            row, *gradients = torch.autograd.grad(loss, [features, *head], retain_graph=True)
            rows.append(row.flatten())
            for parameter, gradient in zip(head, gradients, strict=True):
                parameter.grad = gradient
        direction = shortest(torch.stack(rows))
        features.backward(direction.view_as(features))
        optimizer.step()

    return step


def measure_representation(repeats: int, folder: Path | None = None) -> None:
    """Print CPU milliseconds per step, and write them to ``folder / "representation.csv"``.

    Args:
        repeats: Number of measurements of ten steps, after one that warms up.
        folder: Folder for the CSV file; None to print only.
    """
    torch.set_num_threads(1)
    names = ["sum of losses", *OPTIONS, "by hand"]
    table = Table(
        [
            "model",
            "sum of losses: ms",
            *(f"{name}: to the sum" for name in names[1:]),
            "representation: to by hand",
        ],
        folder and folder / "representation.csv",
        f"python scripts/benchmark --representation --repeats {repeats} --csv docs/tables",
    )
    for name, make in (("unet", unet), ("backbone (resnet18)", backbone)):
        steps: dict[str, Step] = {
            "sum of losses": ours(make, None),
            **{option: ours(make, values) for option, values in OPTIONS.items()},
            "by hand": by_hand(make),
        }
        times: dict[str, list[float]] = {option: [] for option in steps}
        for repeat in range(repeats + 1):
            for option, step in steps.items():
                before = time.process_time()
                for _ in range(STEPS):
                    step()
                # The first round warms up.
                if repeat:
                    times[option].append((time.process_time() - before) / STEPS * 1000)
        medians = {option: statistics.median(values) for option, values in times.items()}
        ratios = [medians[option] / medians["sum of losses"] for option in names[1:]]
        ratios.append(medians["representation"] / medians["by hand"])
        cells = [f"{ratio:.2f}x" for ratio in ratios]
        table.row([name, f"{medians['sum of losses']:.1f}", *cells])
