"""Measure methods against the same thing written by hand in plain torch.

    python scripts/benchmark/by_hand.py                      # every method that is written here
    python scripts/benchmark/by_hand.py cov mgda             # some of them
    python scripts/benchmark/by_hand.py --csv docs/tables    # also write by_hand.csv
    python scripts/benchmark/by_hand.py --check              # that both train alike, without times

As `methods.py`: digits (4 tasks, 128-128 trunk, batch 64), one thread, CPU time per step, both
contenders interleaved, medians. The hand-written loops record nothing; ours records everything.
Weightings are written here, methods that combine gradients in `by_hand_gradients.py`. Before a
method is measured, both train from the same weights on the same batches, in double precision, and
must have the same losses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from by_hand_gradients import METHODS as GRADIENT_METHODS
from by_hand_gradients import losses_of
from methods import LEARNING_RATE, Step, by_hand, experiment, measure, ours
from tables import Table
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

TASKS = 4
# Options of a method in the comparison, the same by hand. Those of a name with options are in it.
OPTIONS = {
    "auxinash": ("+update.options.preferences.digit=2",),
    "frozen_mean": (
        "weighting.after=1 step",
        "weighting@weighting.of=fixed",
        "+weighting.of.weights={digit: 0.5, parity: 1, ink: 2, image: 0.1}",
    ),
    "ntk": ("weighting.every=20",),
}
# Batches of a step.
BATCHES = {"modo": 2, "sdmgrad": 3}
# Steps that both train alike, and how much their losses may differ: rounding, in double precision.
STEPS_OF_CHECK = 25
ROUNDING = 1e-6


@dataclass(frozen=True)
class Given:
    """What a hand-written method sees of a step."""

    model: Any
    losses: list[Tensor]
    batch: Any

    @property
    def values(self) -> Tensor:
        """The losses as one tensor without a graph."""
        return torch.stack([loss.detach() for loss in self.losses])


Weights = Callable[[Given], Tensor]


def cov() -> Weights:
    """Return CoV-Weighting with running sums."""
    steps, mean_loss, mean_ratio, sums = 0, torch.zeros(4), torch.zeros(4), torch.zeros(4)

    def weights(given: Given) -> Tensor:
        nonlocal steps, mean_loss, mean_ratio, sums
        values = given.values
        if steps > 1:
            variation = torch.sqrt(sums / steps + 1e-8) / mean_ratio
            result = variation / variation.sum()
        else:
            result = torch.full_like(values, 1 / TASKS)
        ratio = values / mean_loss if steps else torch.ones_like(values)
        steps += 1
        new_mean = mean_ratio + (ratio - mean_ratio) / steps
        sums = sums + (ratio - mean_ratio) * (ratio - new_mean)
        mean_loss, mean_ratio = mean_loss + (values - mean_loss) / steps, new_mean
        return result

    return weights


def softadapt() -> Weights:
    """Return SoftAdapt with beta 0.1."""
    previous: Tensor | None = None

    def weights(given: Given) -> Tensor:
        nonlocal previous
        values = given.values
        slopes = torch.zeros_like(values) if previous is None else values - previous
        previous = values
        return torch.softmax(0.1 * slopes, 0)

    return weights


def relobralo() -> Weights:
    """Return ReLoBRaLo with its defaults."""
    first, previous, before = None, None, torch.ones(TASKS)
    generator = torch.Generator().manual_seed(0)

    def weights(given: Given) -> Tensor:
        nonlocal first, previous, before
        values = given.values
        first = values if first is None else first
        previous = values if previous is None else previous
        since_first = TASKS * torch.softmax(values / first, 0)
        since_last = TASKS * torch.softmax(values / previous, 0)
        keeps = float(torch.rand(1, generator=generator) < 0.999)
        past = keeps * before + (1 - keeps) * since_first
        before, previous = 0.999 * past + 0.001 * since_last, values
        return before

    return weights


def norm_balance() -> Weights:
    """Return gradient-norm balancing at the last layer of the trunk."""
    total, mass = torch.zeros(TASKS), 0.0

    def weights(given: Given) -> Tensor:
        nonlocal total, mass
        layer = [p for p in given.model.trunk.parameters() if p.dim() > 1][-1]
        norms = torch.stack(
            [torch.autograd.grad(loss, layer, retain_graph=True)[0].norm() for loss in given.losses]
        )
        total, mass = 0.999 * total + 0.001 * norms, 0.999 * mass + 0.001
        means = total / mass
        return means.mean() / means

    return weights


def lra() -> Weights:
    """Return learning-rate annealing every 10 steps."""
    current, step = torch.ones(TASKS), 0

    def weights(given: Given) -> Tensor:
        nonlocal current, step
        if step % 10 == 0:
            rows = []
            for loss in given.losses:
                parts = torch.autograd.grad(
                    loss, list(given.model.trunk.parameters()), retain_graph=True
                )
                rows.append(torch.cat([part.flatten().abs() for part in parts]))
            means = torch.stack([row.mean() for row in rows])
            current = 0.9 * current + 0.1 * rows[0].max() / (current * means)
            current[0] = 1.0
        step += 1
        return current

    return weights


def ntk() -> Weights:
    """Return NTK weighting every 20 steps, which is once per epoch here."""
    current, step = torch.ones(TASKS), 0

    def weights(given: Given) -> Tensor:
        nonlocal current, step
        if step % 20 == 0:
            parameters = {name: p.detach() for name, p in given.model.named_parameters()}

            def outputs(tensors: dict[str, Tensor], row: Tensor) -> Tensor:
                answers = functional_call(given.model, tensors, (row[None],))
                return torch.cat([answer.flatten() for answer in answers.values()])

            def lengths(row: Tensor) -> Tensor:
                jacobian = jacrev(outputs)(parameters, row)
                return sum(part.flatten(1).square().sum(1) for part in jacobian.values())

            with torch.no_grad():
                sizes = [answer.shape[1] for answer in given.model(given.batch.inputs[:1]).values()]
            diagonal = vmap(lengths, chunk_size=6)(given.batch.inputs)
            traces = torch.stack([part.mean() for part in diagonal.split(sizes, 1)])
            current = traces.sum() / traces
        step += 1
        return current

    return weights


def frozen_mean() -> Weights:
    """Return constant weights, which is what is left once the weights are frozen."""
    constant = torch.tensor([0.5, 1.0, 2.0, 0.1])
    return lambda given: constant.to(given.values)


WEIGHTINGS: dict[str, Callable[[], Weights]] = {
    "cov": cov,
    "frozen_mean": frozen_mean,
    "lra": lra,
    "norm_balance": norm_balance,
    "ntk": ntk,
    "relobralo": relobralo,
    "softadapt": softadapt,
}
METHODS = [*WEIGHTINGS, *GRADIENT_METHODS]


def step_of(method: str) -> Step:
    """Return a hand-written training step of a method."""
    if method in GRADIENT_METHODS:
        return GRADIENT_METHODS[method]()
    weights_of = WEIGHTINGS[method]()

    def step(model: Any, tasks: Any, batch: Any, optimizer: torch.optim.Optimizer) -> None:
        losses = losses_of(model, tasks, batch)
        weights = weights_of(Given(model, losses, batch))
        optimizer.zero_grad()
        torch.dot(weights, torch.stack(losses)).backward()
        optimizer.step()

    return step


def overrides_of(method: str) -> list[str]:
    """Return the preset of a method and its options, as they are given to ours."""
    return [*method.split(), *OPTIONS.get(method, ())]


def largest_difference(method: str, step: Step, steps: int = STEPS_OF_CHECK) -> float:
    """Return by how much the losses of a hand-written step and of ours differ, relatively.

    Args:
        method: The method as ours has it.
        step: The hand-written step.
        steps: Number of steps that both train, from the same weights and on the same batches.
    """
    from mtl_runner.train.batch_groups import make_batches

    ours_built, hand_built = experiment(*overrides_of(method)), experiment("fixed")
    learner, model, tasks = ours_built.learner, hand_built.learner.model, hand_built.data.tasks
    for module in (learner.model, learner.weighting, model):
        module.double()
    splits = ours_built.data.splits
    splits["train"] = splits["train"].apply(lambda x: x.double() if x.is_floating_point() else x)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    stream, largest, number = make_batches(ours_built), 0.0, 0
    while number < steps:
        for batch, active in stream.epoch(number):
            several = [batch.first, *batch.extra] if hasattr(batch, "extra") else [batch]
            with torch.no_grad():
                by_hand_now = torch.stack(losses_of(model, tasks, several[0]))
            ours_now = learner.step(batch, active).loss
            step(model, tasks, several[0], optimizer, *several[1:])
            largest = max(largest, float(((by_hand_now - ours_now) / ours_now).abs().max()))
            number += 1
    return largest


def main(methods: list[str], repeats: int, folder: Path | None, check_only: bool) -> None:
    """Check and measure the methods, print the table, and write it to ``folder/by_hand.csv``.

    Raises:
        SystemExit: If a hand-written method does not train as ours.
    """
    torch.set_num_threads(1)
    for method in methods:
        difference = largest_difference(method, step_of(method))
        if not difference < ROUNDING:
            sys.exit(f"{method}: losses by hand and ours differ by {difference:.1e} of their size.")
        if check_only:
            print(f"{method}: same losses for {STEPS_OF_CHECK} steps, to {difference:.1e}")
    if check_only:
        return
    steps = -(-len(experiment("fixed").data.splits["train"]) // 64)
    table = Table(
        ["`weighting=`", "ms/step", "by hand", "to by hand"],
        folder and folder / "by_hand.csv",
        "python scripts/benchmark/by_hand.py --csv docs/tables",
    )
    for method in methods:
        contenders = {
            "hand": by_hand(step_of(method), batches=BATCHES.get(method, 1)),
            "ours": ours(*overrides_of(method)),
        }
        times = measure(contenders, repeats, steps)
        ratio = f"{times['ours'] / times['hand']:.2f}x"
        table.row([f"`{method}`", f"{times['ours']:.2f}", f"{times['hand']:.2f}", ratio])


if __name__ == "__main__":
    presets = list(dict.fromkeys(method.split()[0] for method in METHODS))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", help=f"of {', '.join(presets)}")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--csv", type=Path, metavar="FOLDER", help="write by_hand.csv there, too")
    parser.add_argument("--check", action="store_true", help="only check that both train alike")
    arguments = parser.parse_args()
    if arguments.methods and arguments.csv:
        parser.error("--csv writes the table of all methods; name none of them.")
    if unknown := sorted(set(arguments.methods) - set(presets)):
        parser.error(f"{unknown[0]} is not written by hand; there are {', '.join(presets)}.")
    chosen = [m for m in METHODS if m.split()[0] in (arguments.methods or presets)]
    main(chosen, arguments.repeats, arguments.csv, arguments.check)
