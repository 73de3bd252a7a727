"""The aggregator of a run: made by name or by the user, for whichever tasks are active.

Added to TorchJD's aggregators are options per task by name; an instance per set of active tasks,
since several have a fixed number of rows, or a state that another number of rows would drop; a
random stream of their own; their state in the checkpoint, where TorchJD's ``state_dict`` is empty
or does not load; and, where the default threshold would turn a method into another one once
gradients are small (below a norm of 0.01), a smaller threshold.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mtl_runner.compat.torchjd_state import get_state, set_state
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import per_task
from mtl_runner.tasks.task import Task
from mtl_runner.update.aggregator_methods import (
    DBMTL,
    METHODS,
    MGDA,
    SMALLEST_SQUARED_NORM,
    AggregatorMethod,
    AuxiNash,
    MoCo,
    MoDo,
    NashMTL,
    SDMGrad,
)
from mtl_runner.update.gradient_averages import EqualLengths, TrackedGradients
from mtl_runner.update.nash import Nash
from mtl_runner.update.random_stream import RandomStream
from mtl_runner.update.several_batches import DirectionOriented, DoubleSampling
from mtl_runner.update.shortest_vector import ShortestVector, exact_gramian
from mtl_runner.update.stateful_aggregator import StatefulAggregator

log = logging.getLogger("mtl_runner")

# Added to the diagonal of a Jacobian's Gramian. TorchJD's 1e-4 gives up a gradient a hundred times
# smaller than the largest.
REGULARIZATION = 1e-7

# Sets of active tasks whose aggregator and state are kept; missing labels can make many.
MOST_TASK_SETS = 32

# The methods that are solved here: TorchJD does not have them, or its iterations stop short of the
# solution.
SOLVED_HERE: Mapping[type[AggregatorMethod], Callable[..., Any]] = {
    AuxiNash: Nash,
    DBMTL: EqualLengths,
    MoCo: TrackedGradients,
    MoDo: DoubleSampling,
    MGDA: ShortestVector,
    NashMTL: Nash,
    SDMGrad: DirectionOriented,
}

#: Makes an aggregator for the tasks of these indices, on the device and in the type of a tensor.
MakeAggregator = Callable[[Sequence[int], Tensor], Any]


def aggregate(
    aggregator: str | Callable[[Tensor], Tensor], rows: Tensor, seed: int = 0, **options: Any
) -> Tensor:
    """Return the direction that an aggregator makes of the gradients of one step.

    Args:
        aggregator: A name of :data:`~mtl_runner.update.aggregator_methods.METHODS`, or any callable
            from ``[T, P]`` to ``[P]``.
        rows: The Jacobian ``[T, P]``, one gradient per task; the tasks are called ``task_0``,
            ``task_1``, ... It stands for every batch of a method that takes several per step.
        seed: Seed of the aggregators that draw at random.
        **options: Options of the aggregator, over its defaults.

    Returns:
        The direction, shape ``[P]``.

    Raises:
        ConfigError: If the name, an option or the number of rows does not fit, or a package is
            missing.

    Example:
        >>> aggregate("mgda", torch.tensor([[1.0, 0.0], [0.0, 3.0]])).round(decimals=2)
        tensor([0.9000, 0.3000])
    """
    tasks = [Task(f"task_{index}") for index in range(len(rows))]
    direction, _ = Aggregation(aggregator, options, tasks, seed)(rows, tuple(range(len(rows))))
    return direction


class Aggregation:
    """An aggregator that keeps one instance, and one state, per set of active tasks.

    States are kept for the 32 sets of active tasks that were used most recently. One instance of a
    :class:`~mtl_runner.update.stateful_aggregator.StatefulAggregator` serves all sets.

    Args:
        aggregator: A name of :data:`~mtl_runner.update.aggregator_methods.METHODS`, or any callable
            from ``[k, P]`` to ``[P]``.
        options: Options of the aggregator, over its defaults.
        tasks: All tasks, in order.
        seed: Seed of the random stream.

    Attributes:
        label: The name of the aggregator, for messages.
        has_weights: Whether the direction is a weighted sum of the rows.
        reads_entries: Whether it looks at single entries of the rows, not only at their products.
        batches: Number of independent batches that a step takes.
        keeps_entries: Whether its state has a number for every entry of the rows.

    Raises:
        ConfigError: If the name or an option is unknown, or a package is missing.

    Example:
        >>> mean = Aggregation("mean", {}, [Task("a"), Task("b"), Task("c")], seed=0)
        >>> direction, weights = mean(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), (0, 2))
        >>> direction, weights
        (tensor([0.5000, 1.5000]), tensor([0.5000, 0.5000]))
    """

    def __init__(
        self,
        aggregator: str | Callable[[Tensor], Tensor],
        options: Mapping[str, Any],
        tasks: Sequence[Task],
        seed: int,
    ) -> None:
        self.tasks = list(tasks)
        self.is_random = self.takes_projector = self.keeps_entries = self.serves_all_sets = False
        self.batches = 1
        self.is_named = isinstance(aggregator, str)
        if isinstance(aggregator, str):
            if aggregator not in METHODS:
                raise ConfigError(
                    f"update.aggregator={aggregator!r} is unknown; {suggest(aggregator, METHODS)}."
                )
            method = METHODS[aggregator]
            self.label = aggregator
            self.has_weights = method.has_weights
            self.is_random = method.is_random
            self.reads_entries = method.reads_entries
            self.keeps_entries = method.keeps_entries
            self.takes_projector = method.takes_projector
            solver = SOLVED_HERE.get(method)
            if isinstance(solver, type) and issubclass(solver, StatefulAggregator):
                self.serves_all_sets, self.batches = True, solver.batches
            self.make = _factory(method, {**method.options, **options}, self.tasks, aggregator)
        elif not callable(aggregator):
            raise ConfigError(
                f"update.aggregator must be a name ({', '.join(METHODS)}) or {{_target_: my_module.MyAggregator}}; found {aggregator!r}."
            )
        elif options:
            raise ConfigError(
                "update.options are for an aggregator given by name; give them beside its _target_."
            )
        else:
            self.label = getattr(aggregator, "__name__", type(aggregator).__name__)
            self.has_weights = hasattr(aggregator, "gramian_weighting") or _is_weighted(aggregator)
            self.reads_entries = not hasattr(aggregator, "gramian_weighting")
            self.make = lambda tasks, like: aggregator  # noqa: ARG005
        self.stream = RandomStream(seed)
        # By set of active tasks, the one used most recently at the end.
        self.aggregators: dict[tuple[int, ...], Any] = {}
        # States of sets that have not been active since the run was resumed.
        self.saved_states: dict[str, dict[str, Any]] = {}

    def check(self, like: Tensor) -> None:
        """Try an instance of its own on as many rows as there are tasks.

        Args:
            like: A tensor on the device and of the type of the gradients.

        Raises:
            ConfigError: If the aggregator refuses the rows.
        """
        if len(self.tasks) > 1 and self.is_named:
            rows = torch.eye(len(self.tasks), dtype=like.dtype, device=like.device)
            aggregator = self.make(range(len(self.tasks)), like)
            if isinstance(aggregator, StatefulAggregator):
                return
            with torch.random.fork_rng(devices=[like.device] if like.device.type == "cuda" else []):
                self._aggregate(aggregator, rows)

    def check_shards(self) -> None:
        """Check that parts of the rows are enough, with the sums of their products.

        Raises:
            ConfigError: If the aggregator looks at single entries of whole rows.
        """
        if self.reads_entries:
            able = [name for name, method in METHODS.items() if not method.reads_entries]
            raise ConfigError(
                f"update.aggregator={self.label} looks at single entries of whole gradients, of which trainer.parallel=fsdp gives each process a part; use {', '.join(able)}, or trainer.parallel=data."
            )

    def __call__(
        self,
        jacobian: Tensor,
        tasks: tuple[int, ...],
        whole_sums: Callable[[Tensor], Tensor] = lambda sums: sums,
        extra_jacobians: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the direction and the weights of the rows.

        Args:
            jacobian: The gradients of the active tasks, shape ``[k, P]``, or a part of the columns.
            tasks: The indices of these k tasks.
            whole_sums: Makes sums over all columns from sums over those of ``jacobian``.
            extra_jacobians: The gradients on each of the other ``batches``; None: the same again.

        Returns:
            The direction ``[P]``, and the weights of the rows ``[k]``: NaN if the aggregator has
            none.
        """
        aggregator = self._aggregator_for(tasks, jacobian)
        if isinstance(aggregator, StatefulAggregator):
            if extra_jacobians is None:
                extra_jacobians = [jacobian] * (self.batches - 1)
            return aggregator([jacobian, *extra_jacobians], tasks, whole_sums)
        if not self.is_random:
            return self._aggregate(aggregator, jacobian, whole_sums)
        with self.stream.on(jacobian.device):
            return self._aggregate(aggregator, jacobian, whole_sums)

    def drop_signs(
        self, jacobian: Tensor, tasks: tuple[int, ...], dropped: Callable[[Tensor | None], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return GradDrop's direction where it looks at more than the rows, and weights of NaN.

        Args:
            jacobian: The gradients of the active tasks, shape ``[k, P]``.
            tasks: The indices of these k tasks.
            dropped: Makes the direction ``[P]`` from the leak of each active task, shape ``[k]``.
        """
        leak = self._aggregator_for(tasks, jacobian).leak
        with self.stream.on(jacobian.device):
            return dropped(leak), jacobian.new_full((len(jacobian),), torch.nan)

    def _aggregator_for(self, tasks: tuple[int, ...], like: Tensor) -> Any:
        if self.serves_all_sets:
            tasks = tuple(range(len(self.tasks)))
        aggregator = self.aggregators.pop(tasks, None)
        if aggregator is None:
            aggregator = self.make(tasks, like)
            _set_state(aggregator, self.saved_states.pop(_key(tasks), {}))
            if len(self.aggregators) + len(self.saved_states) >= MOST_TASK_SETS:
                oldest: dict[Any, Any] = self.saved_states or self.aggregators
                del oldest[next(iter(oldest))]
        self.aggregators[tasks] = aggregator
        return aggregator

    def _aggregate(
        self,
        aggregator: Any,
        jacobian: Tensor,
        whole_sums: Callable[[Tensor], Tensor] = lambda sums: sums,
    ) -> tuple[Tensor, Tensor]:
        try:
            if hasattr(aggregator, "gramian_weighting"):
                gramian = whole_sums(jacobian @ jacobian.T)
                if self.label == "fairgrad":
                    weights = _fairgrad_weights(aggregator, gramian)
                elif self.takes_projector:
                    weights = aggregator.gramian_weighting(_semidefinite(gramian)).to(gramian)
                else:
                    weights = aggregator.gramian_weighting(gramian)
            elif isinstance(aggregator, ShortestVector):
                weights = aggregator.weights_of(whole_sums(exact_gramian(jacobian)), jacobian)
            elif _is_weighted(aggregator):
                weights = aggregator.weighting(jacobian)
            else:
                return aggregator(jacobian), jacobian.new_full((len(jacobian),), torch.nan)
        except Exception as error:  # a solver may raise anything
            if bool(whole_sums((~jacobian.isfinite()).sum())):
                # A task has diverged; the record of the losses names it.
                return jacobian.sum(0), jacobian.new_full((len(jacobian),), torch.nan)
            if not isinstance(error, ValueError):
                raise
            raise ConfigError(
                f"update.aggregator={self.label} refuses {len(jacobian)} active tasks: {str(error).splitlines()[0]}"
            ) from error
        return weights @ jacobian, weights

    def state_dict(self) -> dict[str, Any]:
        """Return the random stream and the state of each set of tasks, as plain values."""
        states = {
            **self.saved_states,
            **{
                _key(tasks): _get_state(aggregator)
                for tasks, aggregator in self.aggregators.items()
            },
        }
        return {
            "random": self.stream.state_dict(),
            "states": {key: state for key, state in states.items() if state},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        self.stream.load_state_dict(state["random"])
        self.saved_states = dict(list(state["states"].items())[-MOST_TASK_SETS:])
        self.aggregators.clear()


def _semidefinite(gramian: Tensor) -> Tensor:
    """Return the Gramian in float64 without the negative eigenvalues that rounding leaves.

    A quadratic program refuses negative eigenvalues.
    """
    if not bool(gramian.isfinite().all()):
        return gramian
    values, vectors = torch.linalg.eigh(gramian.double())
    semidefinite: Tensor = (vectors * values.clamp(min=0)) @ vectors.T
    return semidefinite


def _fairgrad_weights(aggregator: Any, gramian: Tensor) -> Tensor:
    """Return FairGrad's weights, found for a Gramian of trace 1 and scaled back.

    The weights solve G w = w^(-1/alpha); SciPy's solver stops at its start for small gradients.
    """
    trace = gramian.trace()
    if trace == 0:
        return torch.zeros_like(gramian[0])
    scale: Tensor = trace ** (-aggregator.alpha / (1 + aggregator.alpha))
    weights: Tensor = aggregator.gramian_weighting(gramian / trace)
    return weights * scale


def _get_state(aggregator: Any) -> dict[str, Any]:
    """Return the state of an aggregator as tensors and numbers; empty if it has no state."""
    if isinstance(aggregator, StatefulAggregator):
        return aggregator.state()
    return get_state(aggregator)


def _set_state(aggregator: Any, saved: dict[str, Any]) -> None:
    """Restore a state of :func:`_get_state`; an empty one changes nothing."""
    if isinstance(aggregator, StatefulAggregator):
        aggregator.restore(saved)
    else:
        set_state(aggregator, saved)


def _key(tasks: Sequence[int]) -> str:
    return ",".join(map(str, tasks))


def _is_weighted(aggregator: Any) -> bool:
    """Return whether the direction is the aggregator's weights times the rows.

    ConFIG has a ``weighting`` too, but its direction is something else.
    """
    return isinstance(aggregator, ShortestVector) or any(
        base.__name__ == "WeightedAggregator" for base in type(aggregator).__mro__
    )


def _factory(
    method: type[AggregatorMethod], options: dict[str, Any], tasks: Sequence[Task], label: str
) -> MakeAggregator:
    """Check the options once, and return a function that makes an aggregator for active tasks."""
    numbers = {
        name: per_task(options.pop(name), tasks, method.unnamed_task, f"update.options.{name}")
        for name in method.per_task_options
        if options.get(name) is not None
    }
    if method.takes_projector and "projector" in options:
        raise ConfigError(
            f"update.aggregator={label} makes its projector itself; give its norm_eps and reg_eps instead."
        )
    method.check(options)

    def numbers_of(active: Sequence[int], like: Tensor) -> dict[str, Tensor]:
        """Return the options that are one number per task, for the active tasks."""
        scale = len(active) if method.divides_by_tasks else 1
        return {
            name: torch.tensor(
                [values[t] / scale for t in active], dtype=like.dtype, device=like.device
            )
            for name, values in numbers.items()
        }

    if method in SOLVED_HERE:
        solver = SOLVED_HERE[method]
        if isinstance(solver, type) and issubclass(solver, StatefulAggregator):
            solver = partial(solver, len(tasks))

        def make_solver(active: Sequence[int], like: Tensor) -> Any:
            return _construct(partial(solver, **numbers_of(active, like)), options, label)

        make_solver(range(len(tasks)), torch.ones(1))  # wrong options are refused now
        return make_solver
    try:
        from torchjd import aggregation
    except ImportError:
        raise ConfigError(
            f"update.aggregator={label} needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
        ) from None
    aggregator_class = getattr(aggregation, method.torchjd_class)
    fewest = _fewest_rows(method, options, label)
    if 1 < len(tasks) < fewest:
        raise ConfigError(
            f"update.aggregator={label} needs at least {fewest} tasks with these options; found {len(tasks)}."
        )

    def make(active: Sequence[int], like: Tensor) -> Any:
        if len(active) < fewest:  # a stage, or a batch without some labels
            log.warning(
                "While %d tasks are active, update.aggregator=%s takes the mean: it needs %d.",
                len(active),
                label,
                fewest,
            )
            return aggregation.Mean()
        arguments = {**options, **numbers_of(active, like)}
        if method.takes_projector:
            from torchjd.linalg import QuadprogProjector

            thresholds = {
                "norm_eps": arguments.pop("norm_eps", SMALLEST_SQUARED_NORM),
                "reg_eps": arguments.pop("reg_eps", REGULARIZATION),
            }
            arguments["projector"] = _construct(QuadprogProjector, thresholds, label)
        return _construct(aggregator_class, arguments, label)

    return make


def _fewest_rows(method: type[AggregatorMethod], options: Mapping[str, Any], label: str) -> int:
    try:
        return method.fewest_rows(options)
    except TypeError:
        raise ConfigError(
            f"update.aggregator={label} refuses its options ({dict(options)}): whole numbers are wanted."
        ) from None


def _construct(target: Callable[..., Any], arguments: Mapping[str, Any], label: str) -> Any:
    """Call the class, and turn what it refuses into one sentence.

    Raises:
        ConfigError: If a package is missing, or an argument is refused.
    """
    try:
        return target(**arguments)
    except ImportError as error:
        packages = str(error).partition("[")[2].partition("]")[0].replace("'", "") or "a solver"
        raise ConfigError(
            f"update.aggregator={label} needs {packages}; install what is missing with: pip install 'mtl-runner[solvers]'."
        ) from error
    except (TypeError, ValueError) as error:
        shown = {name: value for name, value in arguments.items() if name != "projector"}
        reason = str(error).rpartition("__init__() ")[2].rstrip(".")
        raise ConfigError(
            f"update.aggregator={label} refuses its options ({shown}): {reason}."
        ) from error
