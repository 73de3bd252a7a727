"""Twenty steps of every method in float64: ``python -m tests.oracles.golden.make [method ...]`` writes what comes out to golden.json.

To be called for a new method, and for one whose formula is meant to change; a run that only rounds otherwise keeps its numbers.

How much is rounding was measured: other vector instructions (``ATEN_CPU_CAPABILITY=default``) and initial weights that differ by
4e-16 move no number by more than 4e-13, those of CAGrad and FairGrad, which come out of iterative solvers, by 8e-11 and 6e-12. A
tolerance of 1e-9 is 2000 times that, and still shows a learning rate, a temperature or a constant that is off by a millionth.
For the two solvers it is 1e-6: another version of them stops elsewhere. NashMTL with four tasks is TorchJD's iteration over ECOS,
which is often not converged when it stops and moves by 3e-5; with two tasks it is ours, exact, and compared as all others are.
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
LENGTH = (
    "model=mlp", "model.hidden=[6]", "model.activation=tanh", "optimizer.lr=0.01", "trainer.epochs=10", "trainer.evaluate_every=2",
    "trainer.device=cpu",
)  # fmt: skip
PROBLEMS = {
    "toy_mixed": ("data=toy_mixed", *FEW_ROWS, "data.n=24", "data.batch_size=12"),
    "digits": ("data=digits", "data.val=0.49", "data.test=0.49", "data.batch_size=18"),  # 36 rows
}

TOLERANCE = 1e-9
TOLERANCES = {
    ("cagrad", "digits"): 1e-6,
    ("cagrad", "toy_mixed"): 1e-6,
    ("fairgrad", "digits"): 1e-6,
    ("fairgrad", "toy_mixed"): 1e-6,
    ("nash_mtl", "digits"): 1e-3,
}

Numbers = dict[str, dict[str, float | None]]


def problems_of(method: str) -> list[str]:
    """Two tasks of different kinds, and four tasks; on the second one T = 2 and T > 2 cannot be confused."""
    return ["digits"] if method in NEED_THREE_TASKS else list(PROBLEMS)


def twenty_steps(method: str, problem: str) -> Numbers:
    """Per task the means of loss and weight over the last of ten epochs of two steps, and all else that a step measures."""
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
    found: Numbers = {
        "loss": dict(zip(names, trainer.means.loss, strict=True)),
        "weight": dict(zip(names, trainer.means.weight, strict=True)),
        "sigma": dict(zip(names, trainer.sigmas(), strict=True)),
        "validation": {name: row["loss"] for name, row in validation.items()},
        "step": {"objective": trainer.means.objective},
    }
    for field, values in trainer.means.further.items():
        found[field] = {
            str(i): None if math.isnan(value) else value for i, value in enumerate(values)
        }
    return found


def differences(method: str, problem: str, found: Numbers, golden: Numbers) -> dict[str, float]:
    """The relative differences that are larger than the tolerance; infinite where one of the two has no number."""
    keys = {
        (group, name)
        for numbers in (found, golden)
        for group, row in numbers.items()
        for name in row
    }
    pairs = {
        f"{group}.{name}": (found.get(group, {}).get(name), golden.get(group, {}).get(name))
        for group, name in keys
    }
    tolerance = TOLERANCES.get((method, problem), TOLERANCE)
    return {
        key: change
        for key, pair in sorted(pairs.items())
        if not (change := _difference(*pair)) <= tolerance
    }


def _difference(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other) / max(
        abs(other), 1e-3
    )  # what is nearly 0, as a negative log-likelihood may be, is compared absolutely


def read() -> dict[str, dict[str, Numbers]]:
    """The stored runs: ``{method: {problem: numbers}}``."""
    stored: dict[str, dict[str, Numbers]] = (
        json.loads(GOLDEN.read_text())["methods"] if GOLDEN.exists() else {}
    )
    return stored


def main(chosen: list[str]) -> None:
    """Run the chosen methods, by default all, and store what is new."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # CVXPY's
    stored = {method: runs for method, runs in read().items() if method in METHODS}
    for method in chosen or METHODS:
        before = stored.get(method, {})
        stored[method] = {}
        for problem in problems_of(method):
            found = twenty_steps(method, problem)
            changed = differences(method, problem, found, before.get(problem, {}))
            stored[method][problem] = found if changed else before[problem]
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
