"""Golden runs: twenty steps of every method in float64, whose numbers are kept in golden.json.

``python -m tests.oracles.golden.make [method ...]`` makes them. Call it for a new method, and for a
method whose formula is meant to change; stored numbers that differ only by rounding are kept.

How much is rounding was measured: other vector instructions (``ATEN_CPU_CAPABILITY=default``) and
initial weights that differ by 4e-16 move no number by more than 4e-13; those of CAGrad and
FairGrad, which come out of iterative solvers, move by 8e-11 and 6e-12. A tolerance of 1e-9 is 2000
times that, and still shows a learning rate, a temperature or a constant that is off by a millionth.
For the two solvers it is 1e-6, since another version of a solver stops elsewhere. NashMTL with four
tasks is TorchJD's iteration over ECOS, which has often not converged when it stops, and moves by
3e-5. With two tasks mtl-runner solves NashMTL exactly, and it is compared like all others.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from mtl_runner.experiment.build import build
from mtl_runner.train.trainer import Trainer
from tests.oracles.methods.runs import FEW_ROWS, METHODS, NEED_THREE_TASKS, compose

GOLDEN = Path(__file__).with_name("golden.json")
COMMAND = "python -m tests.oracles.golden.make"
# Ten epochs, each of two steps on the problems below.
LENGTH = (
    "model=mlp",
    "model.hidden=[6]",
    "model.activation=tanh",
    "optimizer.lr=0.01",
    "trainer.epochs=10",
    "trainer.evaluate_every=2",
    "trainer.device=cpu",
)
PROBLEMS = {
    "toy_mixed": ("data=toy_mixed", *FEW_ROWS, "data.n=24", "data.batch_size=12"),
    # 36 rows remain for training.
    "digits": ("data=digits", "data.val=0.49", "data.test=0.49", "data.batch_size=18"),
}

TOLERANCE = 1e-9
TOLERANCES = {
    ("cagrad", "digits"): 1e-6,
    ("cagrad", "toy_mixed"): 1e-6,
    ("fairgrad", "digits"): 1e-6,
    ("fairgrad", "toy_mixed"): 1e-6,
    ("nash_mtl", "digits"): 1e-3,
    ("auxinash", "digits"): 1e-3,
}

Numbers = dict[str, dict[str, float | None]]


def problems_of(method: str) -> list[str]:
    """Return the names of the problems that a method is run on.

    They are one of two tasks of different kinds and one of four tasks, so that a formula which
    confuses two tasks with many shows up.
    """
    return ["digits"] if method in NEED_THREE_TASKS else list(PROBLEMS)


def twenty_steps(method: str, problem: str) -> Numbers:
    """Train ten epochs of two steps, and return the numbers of the last epoch.

    They are the means of loss, weight and all other measured columns per task, the mean objective,
    the sigmas, and the losses on the validation split.
    """
    if torch.get_default_dtype() is not torch.float64:
        raise RuntimeError("a golden run is in float64")
    experiment = build(compose(*METHODS[method], *PROBLEMS[problem], *LENGTH))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(experiment, Path(folder))
        trainer.run()
        assert trainer.step == 20
    assert trainer.means is not None
    names = [task.name for task in trainer.tasks]
    validation = trainer.evaluate("val").values
    numbers: Numbers = {
        "loss": dict(zip(names, trainer.means.loss, strict=True)),
        "weight": dict(zip(names, trainer.means.weight, strict=True)),
        "sigma": dict(zip(names, trainer.sigmas(), strict=True)),
        "validation": {name: row["loss"] for name, row in validation.items()},
        "step": {"objective": trainer.means.objective},
    }
    for field, values in trainer.means.measured.items():
        numbers[field] = {
            str(i): None if math.isnan(value) else value for i, value in enumerate(values)
        }
    return numbers


def differences(method: str, problem: str, actual: Numbers, golden: Numbers) -> dict[str, float]:
    """Return the relative differences that are larger than the tolerance of a method on a problem.

    A difference is infinite where only one of the two has a number.
    """
    keys = {
        (group, name)
        for numbers in (actual, golden)
        for group, row in numbers.items()
        for name in row
    }
    pairs = {
        f"{group}.{name}": (actual.get(group, {}).get(name), golden.get(group, {}).get(name))
        for group, name in keys
    }
    tolerance = TOLERANCES.get((method, problem), TOLERANCE)
    return {
        key: change
        for key, pair in sorted(pairs.items())
        if not (change := _difference(*pair)) <= tolerance
    }


def _difference(actual: float | None, golden: float | None) -> float:
    if actual is None or golden is None:
        return 0.0 if actual is golden else math.inf
    # Numbers near 0, as a negative log-likelihood may be, are compared absolutely.
    return abs(actual - golden) / max(abs(golden), 1e-3)


def read() -> dict[str, dict[str, Numbers]]:
    """Return the stored runs: ``{method: {problem: numbers}}``."""
    stored: dict[str, dict[str, Numbers]] = (
        json.loads(GOLDEN.read_text())["methods"] if GOLDEN.exists() else {}
    )
    return stored


def main(chosen: list[str]) -> None:
    """Run the chosen methods, by default all, and store the numbers that changed."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # those of CVXPY
    stored = {method: runs for method, runs in read().items() if method in METHODS}
    for method in chosen or METHODS:
        before = stored.get(method, {})
        stored[method] = {}
        for problem in problems_of(method):
            numbers = twenty_steps(method, problem)
            changed = differences(method, problem, numbers, before.get(problem, {}))
            stored[method][problem] = numbers if changed else before[problem]
            if changed:
                print(
                    f"{method} on {problem}: {'changed: ' + str(changed) if problem in before else 'new'}"
                )
    content = {
        "made by": COMMAND,
        "torch": torch.__version__,
        "methods": {m: stored[m] for m in METHODS if m in stored},
    }
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
