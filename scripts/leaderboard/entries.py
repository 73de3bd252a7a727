"""The problems and methods of the leaderboard, and the command of each cell of the two."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.launch.catalog import Catalog, Option

SEEDS = 5
FACTORS = (0.3, 1, 3)  # of a problem's learning rate
REFERENCE = "fixed"
OUTPUT = Path("outputs/leaderboard")
DATA = "DATA"  # in an option: the folder of the tables that the script writes


@dataclass(frozen=True)
class Problem:
    """A problem of the board.

    Attributes:
        name: Its name on the board.
        about: What it is, in a few words.
        options: The options of ``mtl-run`` that choose it, for every method.
        epochs: The epochs of a run.
        lr: The middle one of three learning rates.
    """

    name: str
    about: str
    options: tuple[str, ...]
    epochs: int
    lr: float

    @property
    def rates(self) -> tuple[str, ...]:
        """The learning rates that every method is tried with."""
        return tuple(f"{factor * self.lr:.6g}" for factor in FACTORS)


def _related(name: str, about: str, cosine: float, scales: str, lr: float = 0.03) -> Problem:
    options = (f"data.cosine={cosine}", f"data.scales={scales}", "data.batch_size=100")
    return Problem(name, about, ("data=related", *options, "model.hidden=[64]"), 8, lr)


def _table(name: str, about: str, targets: str, epochs: int) -> Problem:
    options = (f"data.path={DATA}/{name}.csv", f"data.targets={{{targets}}}")
    return Problem(
        name,
        about,
        ("data=table", *options, "data.batch_size=32", "model.hidden=[32]"),
        epochs,
        0.03,
    )


# One more problem is one more line. A run has about 80 steps, so that a cell takes seconds.
PROBLEMS = (
    Problem(
        "toy_regression",
        "two noisy lines with scales 10 and 1",
        ("data=toy_regression", "model=mlp", "model.hidden=[32]"),
        16,
        0.03,
    ),
    Problem(
        "toy_mixed",
        "a regression and a classification",
        ("data=toy_mixed", "data.batch_size=100", "model.hidden=[32]"),
        8,
        0.03,
    ),
    Problem(
        "digits",
        "two classifications and two regressions of images, losses from 0.1 to 1000",
        ("data=digits", "data.batch_size=128", "model.hidden=[64]"),
        8,
        0.03,
    ),
    _related("related_same", "the same regression twice, one scale", 1.0, "[1,1]"),
    _related("related_conflict", "two regressions in conflict, scales 1 to 10", -0.5, "[0.3,3]"),
    _related(
        "related_six", "six related regressions, scales 1 to 100", 0.5, "[0.1,0.3,1,1,3,10]", 0.01
    ),
    Problem(
        "gradnorm_toy",
        "the same function at scales 1 and 100",
        (
            "data=gradnorm_toy",
            "data.n=1000",
            "data.dim=50",
            "data.outputs=10",
            "model.hidden=[50,50]",
        ),
        8,
        0.01,
    ),
    Problem(
        "multi_digits",
        "two classifications of overlaid images",
        (
            "data=multi_digits",
            "data.rows=1000",
            "data.batch_size=100",
            "model=mlp",
            "model.hidden=[64]",
        ),
        8,
        0.03,
    ),
    _table(
        "diabetes",
        "two regressions and a classification from a table",
        "progress: regression, bp: regression, sex: classification",
        8,
    ),
    _table(
        "wine",
        "a classification and two regressions from a table",
        "cultivar: classification, alcohol: regression, proline: regression",
        20,
    ),
    _table(
        "breast_cancer",
        "a classification and two regressions from a table",
        "benign: classification, worst_area: regression, worst_concavity: regression",
        8,
    ),
)


@dataclass(frozen=True)
class Method:
    """A method of the board.

    Attributes:
        name: Its name on the board.
        options: The options of ``mtl-run`` that choose it.
        cost: About how long a step of it takes, to train cheap ones first.
    """

    name: str
    options: tuple[str, ...]
    cost: float = 1.0


@cache
def methods() -> tuple[Method, ...]:
    """Return every ``weighting=`` there is, equal weights first and then by their cost."""
    catalog = Catalog([conf_directory()])
    options = catalog.options("weighting")
    ordered = [Method(o.name, (f"weighting={o.name}",), _cost(catalog, o)) for o in options]
    auto = Method("fixed_auto", ("weighting=fixed", "weighting.weights=auto"))
    ordered.sort(key=lambda method: (method.name != REFERENCE, method.cost))
    return (ordered[0], auto, *ordered[1:])


def _cost(catalog: Catalog, option: Option) -> float:
    """Return the measured cost of a step, and more for what cannot be stacked."""
    measured = catalog.measurement(option)
    alone = option.axis in ("update", "model")
    return (measured.to_plain_sum if measured else 1.5) * (10 if alone else 1)


@dataclass(frozen=True)
class Cell:
    """One method on one problem: a command, and a verdict.

    Attributes:
        problem: The problem.
        method: The method.
    """

    problem: Problem
    method: Method

    @property
    def reference(self) -> Cell:
        """The cell of equal weights on the same problem."""
        return Cell(self.problem, Method(REFERENCE, (f"weighting={REFERENCE}",)))

    @property
    def options(self) -> tuple[str, ...]:
        """The options of the sweep, but for folders."""
        return (
            "hydra/launcher=stacked",
            *self.problem.options,
            *self.method.options,
            f"optimizer.lr={','.join(self.problem.rates)}",
            f"seed=range(0,{SEEDS})",
            f"trainer.epochs={self.problem.epochs}",
            f"trainer.evaluate_every={self.problem.epochs // 4}",
            "record.plots=none",
            "record.checkpoints=none",
        )

    @property
    def definition(self) -> str:
        """A short text that changes with the options, to know an outdated row."""
        return hashlib.sha256("\n".join(self.options).encode()).hexdigest()[:8]

    def folder(self, output: Path) -> Path:
        """Return the directory of the sweep."""
        return output / self.problem.name / self.method.name

    def command(self, output: Path) -> list[str]:
        """Return the command that trains the cell, and goes on with it where it was stopped."""
        tables = (output / "data").as_posix()
        return [
            "mtl-run",
            "-m",
            *(option.replace(f"={DATA}/", f"={tables}/") for option in self.options),
            f"hydra.sweep.dir={self.folder(output).as_posix()}",
            "resume=true",
        ]


def problems_named(names: Sequence[str]) -> list[Problem]:
    """Return the problems of these names, all of them without a name.

    Raises:
        ConfigError: If there is no such problem.
    """
    known = {problem.name: problem for problem in PROBLEMS}
    return [known[_known(name, "problem", known)] for name in names or known]


def methods_named(names: Sequence[str]) -> list[Method]:
    """Return the methods of these names, all of them without a name.

    Raises:
        ConfigError: If there is no such method.
    """
    known = {method.name: method for method in methods()}
    return [known[_known(name, "method", known)] for name in names or known]


def _known(name: str, kind: str, known: dict[str, Problem] | dict[str, Method]) -> str:
    if name not in known:
        raise ConfigError(
            f"{name!r} is no {kind} of the leaderboard; {suggest(name, list(known))}."
        )
    return name
