"""TorchJD's aggregators by name, with the settings and the care that each of them needs here.

What is added to them: options per task by name; an instance per set of active tasks (several have a fixed number of rows, or a
state that another number of rows would drop); a random stream of their own; their state in the checkpoint, where TorchJD's
``state_dict`` is empty or does not load; and, where the default threshold would turn a method into another one once gradients are
small (below a norm of 0.01), a smaller threshold.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mtl_runner.compat.torchjd_state import get_state, set_state
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import per_task
from mtl_runner.tasks.task import Task
from mtl_runner.update.nash import Nash
from mtl_runner.update.random_stream import RandomStream

log = logging.getLogger("mtl_runner")

SMALL = 1e-12  # of the squared norm of a Jacobian
REGULAR = 1e-7  # added to the diagonal of its Gramian: TorchJD's 1e-4 gives up a gradient a hundred times smaller than the largest


@dataclass(frozen=True)
class Method:
    """One aggregator: its class in TorchJD, our defaults, which options are numbers per task, and what it needs."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    per_task: tuple[str, ...] = ()
    missing: float = 1.0  # the number of a task that such an option does not name
    mean: bool = False  # whether its numbers per task are divided by the number of active tasks: all 1 is then its default
    random: bool = False
    weighs: bool = True  # whether its direction is a weighted sum of the rows
    projector: bool = False  # whether it takes a projector on the dual cone, with the threshold
    fewest: Callable[[Mapping[str, Any]], int] = lambda options: 1  # noqa: ARG005  # rows that it is defined for


METHODS: dict[str, Method] = {
    "aligned_mtl": Method("AlignedMTL", per_task=("pref_vector",), mean=True),
    "cagrad": Method("CAGrad", {"c": 0.5, "norm_eps": SMALL}),
    "config": Method("ConFIG", per_task=("pref_vector",), weighs=False),
    "constant": Method("Constant", {"weights": 1.0}, per_task=("weights",)),
    "dualproj": Method("DualProj", per_task=("pref_vector",), mean=True, projector=True),
    "excess_mtl": Method("ExcessMTL"),
    "fairgrad": Method("FairGrad", {"alpha": 2.0}),
    "graddrop": Method("GradDrop", per_task=("leak",), missing=0.0, random=True, weighs=False),
    "gradvac": Method("GradVac", {"eps": 1e-30}, random=True),
    "imtl_g": Method("IMTLG"),
    "krum": Method(
        "Krum",
        {"n_byzantine": 0, "n_selected": 1},
        fewest=lambda options: options["n_byzantine"] + 3,
    ),
    "mean": Method("Mean"),
    "mgda": Method("MGDA"),
    "nash_mtl": Method("NashMTL"),
    "pcd": Method("PCD", {"eps": 1e-20}),
    "pcgrad": Method("PCGrad", random=True),
    "random": Method("Random", random=True),
    "sum": Method("Sum"),
    "trimmed_mean": Method(
        "TrimmedMean",
        {"trim_number": 1},
        weighs=False,
        fewest=lambda options: 2 * options["trim_number"] + 1,
    ),
    "upgrad": Method("UPGrad", per_task=("pref_vector",), mean=True, projector=True),
}

MOST_SETS = (
    32  # sets of active tasks whose aggregator and state are kept; missing labels can make many
)

Maker = Callable[
    [Sequence[int], Tensor], Any
]  # an aggregator for the tasks of these indices, on the device of a tensor


class Aggregation:
    """An aggregator for whichever tasks are active.

    Args:
        aggregator: one of ``METHODS``, or any callable from ``[k, P]`` to ``[P]``. options: of it. tasks: all tasks. seed: of its generator.

    A stateful aggregator has one state per set of active tasks, for the 32 sets used last. Raises ``ConfigError`` for an unknown
    name or option, or a missing package.
    """

    def __init__(
        self,
        aggregator: str | Callable[[Tensor], Tensor],
        options: Mapping[str, Any],
        tasks: Sequence[Task],
        seed: int,
    ) -> None:
        self.tasks = list(tasks)
        self.random = self.projects = False
        self.named = isinstance(aggregator, str)
        if isinstance(aggregator, str):
            if aggregator not in METHODS:
                raise ConfigError(
                    f"update.aggregator={aggregator!r} is unknown; {suggest(aggregator, METHODS)}."
                )
            method = METHODS[aggregator]
            self.label, self.weighs, self.random, self.projects = (
                aggregator,
                method.weighs,
                method.random,
                method.projector,
            )
            self._make = _maker(method, {**method.options, **options}, self.tasks, aggregator)
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
            self.weighs = hasattr(aggregator, "gramian_weighting") or _is_weighted(aggregator)
            self._make = lambda tasks, like: aggregator  # noqa: ARG005
        self.stream = RandomStream(seed)
        self.made: dict[tuple[int, ...], Any] = {}  # the set used last comes last
        self.saved: dict[
            str, dict[str, Any]
        ] = {}  # states of sets that have not been active since the resume

    def check(self, like: Tensor) -> None:
        """Try it on as many rows as there are tasks, with an instance of its own. Raises ``ConfigError`` if it refuses."""
        if len(self.tasks) > 1 and self.named:
            rows = torch.eye(len(self.tasks), dtype=like.dtype, device=like.device)
            with torch.random.fork_rng(devices=[like.device] if like.device.type == "cuda" else []):
                self._aggregate(self._make(range(len(self.tasks)), like), rows)

    def __call__(self, jacobian: Tensor, tasks: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The direction ``[P]`` for the rows ``[k, P]`` of these tasks, and the weights of the rows ``[k]``, NaN if it has none."""
        aggregator = self._of(tasks, jacobian)
        if not self.random:
            return self._aggregate(aggregator, jacobian)
        with self.stream.on(jacobian.device):
            return self._aggregate(aggregator, jacobian)

    def _of(self, tasks: tuple[int, ...], like: Tensor) -> Any:
        aggregator = self.made.pop(tasks, None)
        if aggregator is None:
            aggregator = self._make(tasks, like)
            set_state(aggregator, self.saved.pop(_key(tasks), {}))
            if len(self.made) + len(self.saved) >= MOST_SETS:
                older: dict[Any, Any] = self.saved or self.made
                del older[next(iter(older))]
        self.made[tasks] = aggregator
        return aggregator

    def _aggregate(self, aggregator: Any, jacobian: Tensor) -> tuple[Tensor, Tensor]:
        try:
            if hasattr(aggregator, "gramian_weighting"):
                gramian = jacobian @ jacobian.T
                if self.label == "fairgrad":
                    weights = _fair(aggregator, gramian)
                elif self.projects:
                    weights = aggregator.gramian_weighting(_semidefinite(gramian)).to(gramian)
                else:
                    weights = aggregator.gramian_weighting(gramian)
            elif _is_weighted(aggregator):
                weights = aggregator.weighting(jacobian)
            else:
                return aggregator(jacobian), jacobian.new_full((len(jacobian),), torch.nan)
        except Exception as error:  # whatever a solver raises
            if not bool(
                jacobian.isfinite().all()
            ):  # a diverged task, which the record of the losses names
                return jacobian.sum(0), jacobian.new_full((len(jacobian),), torch.nan)
            if not isinstance(error, ValueError):
                raise
            raise ConfigError(
                f"update.aggregator={self.label} refuses {len(jacobian)} active tasks: {str(error).splitlines()[0]}"
            ) from error
        return weights @ jacobian, weights

    def state_dict(self) -> dict[str, Any]:
        """Plain values: the random stream, and the state of each set of tasks, the one used last at the end."""
        states = {
            **self.saved,
            **{_key(tasks): get_state(aggregator) for tasks, aggregator in self.made.items()},
        }
        return {
            "random": self.stream.state_dict(),
            "states": {key: state for key, state in states.items() if state},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state["random"])
        self.saved = dict(list(state["states"].items())[-MOST_SETS:])
        self.made.clear()


def _semidefinite(gramian: Tensor) -> Tensor:
    """In float64 and without the negative eigenvalues that rounding leaves, which a quadratic program refuses."""
    if not bool(gramian.isfinite().all()):
        return gramian
    values, vectors = torch.linalg.eigh(gramian.double())
    semidefinite: Tensor = (vectors * values.clamp(min=0)) @ vectors.T
    return semidefinite


def _fair(aggregator: Any, gramian: Tensor) -> Tensor:
    """FairGrad's weights from a Gramian of trace 1, scaled back: SciPy's solver stops at its start for small gradients."""
    size = gramian.trace()
    if size == 0:
        return torch.zeros_like(gramian[0])
    scale: Tensor = size ** (-aggregator.alpha / (1 + aggregator.alpha))  # G w = w^(-1/alpha)
    weights: Tensor = aggregator.gramian_weighting(gramian / size)
    return weights * scale


def _key(tasks: Sequence[int]) -> str:
    return ",".join(map(str, tasks))


def _is_weighted(aggregator: Any) -> bool:
    """Whether its direction is its weights times the rows (ConFIG has a `weighting`, and is not)."""
    return any(base.__name__ == "WeightedAggregator" for base in type(aggregator).__mro__)


def _maker(method: Method, options: dict[str, Any], tasks: Sequence[Task], label: str) -> Maker:
    """Checks the options once; the numbers per task are cut to the active ones when an aggregator is made."""
    numbers = {
        name: per_task(options.pop(name), tasks, method.missing, f"update.options.{name}")
        for name in method.per_task
        if options.get(name) is not None
    }
    if method.projector and "projector" in options:
        raise ConfigError(
            f"update.aggregator={label} makes its projector itself; give its norm_eps and reg_eps instead."
        )
    if method.name == "NashMTL":
        nash = _construct(Nash, options, label)
        return lambda active, like: nash  # noqa: ARG005
    try:
        from torchjd import aggregation
    except ImportError:
        raise ConfigError(
            f"update.aggregator={label} needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
        ) from None
    target = getattr(aggregation, method.name)
    fewest = _fewest(method, options, label)
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
        arguments = dict(options)
        for name, values in numbers.items():
            scale = len(active) if method.mean else 1
            arguments[name] = torch.tensor(
                [values[t] / scale for t in active], dtype=like.dtype, device=like.device
            )
        if method.projector:
            from torchjd.linalg import QuadprogProjector

            thresholds = {
                name: arguments.pop(name, SMALL if name == "norm_eps" else REGULAR)
                for name in ("norm_eps", "reg_eps")
            }
            arguments["projector"] = _construct(QuadprogProjector, thresholds, label)
        return _construct(target, arguments, label)

    return make


def _fewest(method: Method, options: Mapping[str, Any], label: str) -> int:
    try:
        return method.fewest(options)
    except TypeError:
        raise ConfigError(
            f"update.aggregator={label} refuses its options ({dict(options)}): whole numbers are wanted."
        ) from None


def _construct(target: Any, arguments: Mapping[str, Any], label: str) -> Any:
    try:
        return target(**arguments)
    except ImportError as error:
        packages = str(error).partition("[")[2].partition("]")[0].replace("'", "") or "a solver"
        raise ConfigError(
            f"update.aggregator={label} needs {packages}; install what is missing with: pip install 'mtl-runner[solvers]'."
        ) from error
    except (TypeError, ValueError) as error:
        given = {name: value for name, value in arguments.items() if name != "projector"}
        reason = str(error).rpartition("__init__() ")[2].rstrip(".")
        raise ConfigError(
            f"update.aggregator={label} refuses its options ({given}): {reason}."
        ) from error
