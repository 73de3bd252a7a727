"""A case for the checks: object under test, our own implementation, and the words of findings."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import mtl_runner.weighting
from mtl_runner.conform.interfaces import Interface, OfRows, OwnWeighting
from mtl_runner.conform.session import Session, Step
from mtl_runner.conform.subject import Subject, parameters_of, task_names
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.tasks.task import Task
from mtl_runner.update.aggregators import Aggregation

TASKS = 3
EXACT = 1e-5  # of the largest number; classes that hold float32 numbers are exact to 1e-7


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        holds: Whether the law holds; None where it does not apply.
        measured: The measured numbers, or why the law does not apply.
        expected: What the law asks for.
    """

    holds: bool | None
    measured: str
    expected: str = ""


@dataclass(frozen=True)
class Reference:
    """Our own implementation of a method.

    Attributes:
        name: Its class in :mod:`mtl_runner.weighting`, or the name of an aggregator.
        options: Its options.
        is_aggregator: Whether it is an aggregator.

    Example:
        >>> Reference("FAMO", {"gamma": 0.001}).text
        'FAMO(gamma=0.001)'
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_aggregator: bool = False

    @property
    def text(self) -> str:
        """The reference with its options."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}({options})"

    @property
    def subject(self) -> Subject:
        """It as a class that can be tested like any other."""
        if self.is_aggregator:
            options = {"name": self.name, "options": dict(self.options)}
            return Subject("mtl_runner.conform.case.OwnAggregator", OwnAggregator, options)
        path = f"mtl_runner.weighting.{self.name}"
        return Subject(path, getattr(mtl_runner.weighting, self.name), dict(self.options))

    @property
    def interface(self) -> Interface:
        """How it is called."""
        return OfRows() if self.is_aggregator else OwnWeighting()

    def with_options(self, options: Mapping[str, Any]) -> Reference:
        """Return the reference with further options.

        Raises:
            ConfigError: If it refuses them.
        """
        if not options:
            return self
        changed = Reference(self.name, {**self.options, **options}, self.is_aggregator)
        if not self.is_aggregator:
            known = [name for name in parameters_of(changed.subject.target) if name != "tasks"]
            for name in options:
                if name not in known:
                    raise ConfigError(
                        f"--reference {name} is not an option of {self.name}; {suggest(name, known)}."
                    )
        made = changed.subject.make(TASKS, torch.nn.Parameter(torch.zeros(1)))
        if self.is_aggregator:  # its options are looked at when it meets gradients
            made(torch.eye(TASKS, TASKS + 2))
        return changed


class OwnAggregator:
    """One of our aggregators as an object that is called with gradients ``[T, P]``.

    Args:
        num_tasks: Number of tasks.
        name: A name of :data:`~mtl_runner.update.aggregator_methods.METHODS`.
        options: Its options, over the defaults.

    Example:
        >>> OwnAggregator(2, "mgda", {})(torch.tensor([[1.0, 0.0], [0.0, 3.0]])).round(decimals=2)
        tensor([0.9000, 0.3000])
    """

    def __init__(self, num_tasks: int, name: str, options: Mapping[str, Any]) -> None:
        tasks = [Task(task) for task in task_names(num_tasks)]
        self.aggregation = Aggregation(name, options, tasks, seed=0)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the direction ``[P]`` of gradients ``[T, P]``."""
        return self.aggregation(rows, tuple(range(len(rows))))[0]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the aggregator."""
        return self.aggregation.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.aggregation.load_state_dict(state)


@dataclass(frozen=True)
class Case:
    """An object under test, with the means to test it.

    Attributes:
        subject: The object.
        interface: How it is called.
        reference: Our own implementation; None: there is none to compare with.
        keeps_epochs: Whether the method remembers whole epochs.
        settings: Numbers of the method that its laws need, such as the exponent of GradNorm.
    """

    subject: Subject
    interface: Interface
    reference: Reference | None = None
    keeps_epochs: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)

    def session(self, tasks: int = TASKS) -> Session:
        """Return a new session of the object under test.

        Raises:
            ConfigError: If the object cannot be made.
        """
        seed_all(0)
        return Session(self.subject, self.interface, tasks, self.keeps_epochs)

    def own_session(self, tasks: int = TASKS) -> Session:
        """Return a new session of our own implementation.

        Raises:
            ConfigError: If there is none.
        """
        if self.reference is None:
            raise ConfigError("There is no implementation to compare with.")
        seed_all(0)
        reference = self.reference
        return Session(reference.subject, reference.interface, tasks, self.keeps_epochs)


def seed_all(seed: int) -> None:
    """Seed the three streams of random numbers that classes draw from without asking.

    Args:
        seed: The seed.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def quiet_float64() -> Iterator[None]:
    """Compute in float64, and leave the type and the streams of random numbers as they were.

    Warnings of other libraries, such as a solver's, are not shown.

    Example:
        >>> with quiet_float64():
        ...     torch.zeros(1).dtype
        torch.float64
    """
    dtype, state, numpy_state = torch.get_default_dtype(), random.getstate(), np.random.get_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(dtype)
        random.setstate(state)
        np.random.set_state(numpy_state)


def weights_of(steps: list[Step]) -> Tensor:
    """Return the weights of all steps, shape ``[steps, T]``."""
    return torch.stack([step.weights for step in steps])


def directions_of(steps: list[Step]) -> Tensor:
    """Return the directions of all steps, shape ``[steps, P]``."""
    return torch.stack([step.direction for step in steps])


def difference(measured: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest number that is expected.

    Example:
        >>> difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        0.5
    """
    largest = expected.abs().max().clamp(min=1e-300)
    return ((measured - expected).abs().max() / largest).item()


def near(measured: float, expected: float, tolerance: float) -> bool:
    """Return whether a number is an expected one, to a relative tolerance; NaN never is.

    Example:
        >>> near(1.001, 1.0, 0.01), near(float("nan"), 1.0, 0.01)
        (True, False)
    """
    return abs(measured - expected) <= tolerance * max(abs(expected), 1e-300)


def small(value: float, label: str, tolerance: float = EXACT) -> Finding:
    """Return the finding of a number that should be 0.

    Args:
        value: The number.
        label: What it is.
        tolerance: Up to what it counts as 0.

    Example:
        >>> small(0.25, "largest difference")
        Finding(holds=False, measured='largest difference 0.25', expected='0')
    """
    return Finding(value <= tolerance, f"{label} {value:.2g}", "0")


def listed(numbers: Tensor) -> str:
    """Return a few numbers in words.

    Example:
        >>> listed(torch.tensor([0.5, 2.0]))
        '0.5, 2'
    """
    return ", ".join(f"{number:.3g}" for number in numbers.tolist())
