"""TorchJD's aggregators by name, with the settings and the care that each of them needs here.

What is added to them: options per task by name; an instance per set of active tasks (several have a fixed number of rows, or a
state that another number of rows would drop); a random stream of their own; their state in the checkpoint, where TorchJD's
``state_dict`` is empty or does not load; and, where the default threshold would turn a method into another one once gradients are
small (below a norm of 0.01), a smaller threshold.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.options import per_task
from mtl_runner.task import Task
from mtl_runner.update.nash import NashTwo

log = logging.getLogger("mtl_runner")

SMALL = 1e-12  # of the squared norm of a Jacobian


@dataclass(frozen=True)
class Method:
    """One aggregator: its class in TorchJD, our defaults, which options are numbers per task, and what it needs."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    per_task: tuple[str, ...] = ()
    random: bool = False
    state: tuple[str, ...] = ()  # attributes that hold its state
    holder: str = ""  # the attribute that has them
    tasks_option: str = ""  # the option that wants the number of tasks
    projector: bool = False  # whether it takes a projector on the dual cone, with the threshold
    fewest: Callable[[Mapping[str, Any]], int] = lambda options: 1  # noqa: ARG005  # rows that it is defined for


METHODS: dict[str, Method] = {
    "aligned_mtl": Method("AlignedMTL", per_task=("pref_vector",)),
    "cagrad": Method("CAGrad", {"c": 0.5, "norm_eps": SMALL}),
    "config": Method("ConFIG", per_task=("pref_vector",)),
    "constant": Method("Constant", {"weights": 1.0}, per_task=("weights",)),
    "dualproj": Method("DualProj", per_task=("pref_vector",), projector=True),
    "excess_mtl": Method(
        "ExcessMTL",
        state=("_weights", "_sq_grad_sum", "_initial_w", "_warmup_w_sum", "_n_steps"),
        holder="weighting",
    ),
    "fairgrad": Method("FairGrad", {"alpha": 2.0}),
    "graddrop": Method("GradDrop", per_task=("leak",), random=True),
    "gradvac": Method("GradVac", random=True, state=("_phi_t",), holder="gramian_weighting"),
    "imtl_g": Method("IMTLG"),
    "krum": Method("Krum", {"n_byzantine": 0, "n_selected": 1}, fewest=lambda options: options["n_byzantine"] + 3),
    "mean": Method("Mean"),
    "mgda": Method("MGDA"),
    "nash_mtl": Method(
        "NashMTL",
        state=("step", "prvs_alpha", "normalization_factor"),
        holder="weighting",
        tasks_option="n_tasks",
    ),
    "pcd": Method("PCD", {"eps": 1e-20}, state=("_sq_norm_ema", "_n_steps"), holder="gramian_weighting"),
    "pcgrad": Method("PCGrad", random=True),
    "random": Method("Random", random=True),
    "sum": Method("Sum"),
    "trimmed_mean": Method("TrimmedMean", {"trim_number": 1}, fewest=lambda options: 2 * options["trim_number"] + 1),
    "upgrad": Method("UPGrad", per_task=("pref_vector",), projector=True),
}

Maker = Callable[[Sequence[int]], Any]  # an aggregator for the tasks of these indices


class Aggregation:
    """An aggregator for whichever tasks are active.

    Args:
        aggregator: one of ``METHODS``, or any callable from ``[k, P]`` to ``[P]``. options: of it. tasks: all tasks. seed: of its generator.

    Raises ``ConfigError`` for an unknown name or option, or a missing package.
    """

    def __init__(
        self, aggregator: str | Callable[[Tensor], Tensor], options: Mapping[str, Any], tasks: Sequence[Task], seed: int
    ) -> None:
        self.tasks = list(tasks)
        self.label = aggregator if isinstance(aggregator, str) else type(aggregator).__name__
        self.method: Method | None = None
        if isinstance(aggregator, str):
            if aggregator not in METHODS:
                raise ConfigError(f"update.aggregator={aggregator!r} is unknown; {suggest(aggregator, METHODS)}.")
            self.method = METHODS[aggregator]
            self._make: Maker = _maker(self.method, {**self.method.options, **options}, self.tasks, aggregator)
        elif options:
            raise ConfigError("update.options are for an aggregator given by name; give them beside its _target_.")
        else:
            self._make = lambda tasks: aggregator  # noqa: ARG005
        self.random: dict[str, Tensor] = {"cpu": torch.Generator().manual_seed(seed).get_state()}
        self.seed = seed
        self.made: dict[tuple[int, ...], Any] = {}
        self.saved: dict[str, dict[str, Any]] = {}  # states of sets of tasks that have not been active since the resume

    def check(self, like: Tensor) -> None:
        """Try it on as many rows as there are tasks, with an instance of its own. Raises ``ConfigError`` if it refuses."""
        if len(self.tasks) > 1 and self.method is not None:
            rows = torch.eye(len(self.tasks), dtype=like.dtype, device=like.device)
            with self._own_randomness(like.device):
                self._aggregate(self._make(range(len(self.tasks))), rows)
            self.random = {"cpu": torch.Generator().manual_seed(self.seed).get_state()}

    def __call__(self, jacobian: Tensor, tasks: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The direction ``[P]`` for the rows ``[k, P]`` of these tasks, and the weights of the rows ``[k]``, NaN if it has none."""
        if tasks not in self.made:
            self.made[tasks] = self._make(tasks)
            self._restore(tasks)
        if self.method is None or not self.method.random:
            return self._aggregate(self.made[tasks], jacobian)
        with self._own_randomness(jacobian.device):
            return self._aggregate(self.made[tasks], jacobian)

    def _aggregate(self, aggregator: Any, jacobian: Tensor) -> tuple[Tensor, Tensor]:
        try:
            if hasattr(aggregator, "gramian_weighting"):
                weights = aggregator.gramian_weighting(jacobian @ jacobian.T)
            elif hasattr(aggregator, "weighting") and _is_weighted(aggregator):
                weights = aggregator.weighting(jacobian)
            else:
                return aggregator(jacobian), jacobian.new_full((len(jacobian),), torch.nan)
        except ValueError as error:
            raise ConfigError(
                f"update.aggregator={self.label} refuses {len(jacobian)} active tasks: {str(error).splitlines()[0]}"
            ) from error
        return weights @ jacobian, weights

    @contextlib.contextmanager
    def _own_randomness(self, device: torch.device) -> Iterator[None]:
        """TorchJD draws from the global generators; batch order and dropout must not notice."""
        outer = torch.get_rng_state()
        torch.set_rng_state(self.random["cpu"])
        outer_cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        if outer_cuda is not None:
            if "cuda" not in self.random:
                self.random["cuda"] = torch.Generator(device).manual_seed(self.seed).get_state()
            torch.cuda.set_rng_state(self.random["cuda"], device)
        try:
            yield
        finally:
            self.random["cpu"] = torch.get_rng_state()
            torch.set_rng_state(outer)
            if outer_cuda is not None:
                self.random["cuda"] = torch.cuda.get_rng_state(device)
                torch.cuda.set_rng_state(outer_cuda, device)

    def state_dict(self) -> dict[str, Any]:
        """Plain values: the random states, and the state of each set of tasks that has been active."""
        states = dict(self.saved)
        if self.method is not None and self.method.state:
            for tasks, aggregator in self.made.items():
                states[_key(tasks)] = _state(aggregator, self.method)
        return {"random": dict(self.random), "states": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.random = {name: saved.cpu() for name, saved in state["random"].items()}
        self.saved = dict(state["states"])
        self.made.clear()

    def _restore(self, tasks: tuple[int, ...]) -> None:
        saved = self.saved.pop(_key(tasks), None)
        if saved is not None and self.method is not None:
            _set_state(self.made[tasks], self.method, saved)


def _key(tasks: Sequence[int]) -> str:
    return ",".join(map(str, tasks))


def _is_weighted(aggregator: Any) -> bool:
    """Whether its direction is its weights times the rows (ConFIG has a `weighting`, and is not)."""
    return any(base.__name__ in ("WeightedAggregator", "NashTwo") for base in type(aggregator).__mro__)


def _maker(method: Method, options: dict[str, Any], tasks: Sequence[Task], label: str) -> Maker:
    """Checks the options once; the numbers per task are cut to the active ones when an aggregator is made."""
    numbers = {
        name: per_task(options.pop(name), tasks, 1.0, f"update.options.{name}")
        for name in method.per_task
        if options.get(name) is not None
    }
    if method.name == "NashMTL" and len(tasks) == 2:
        return lambda active: _construct(NashTwo, {k: v for k, v in options.items() if k == "max_norm"}, label)  # noqa: ARG005
    try:
        from torchjd import aggregation
    except ImportError:
        raise ConfigError(
            f"update.aggregator={label} needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
        ) from None
    target = getattr(aggregation, method.name)
    fewest = method.fewest(options)
    if 1 < len(tasks) < fewest:
        raise ConfigError(f"update.aggregator={label} needs at least {fewest} tasks with these options; found {len(tasks)}.")

    def make(active: Sequence[int]) -> Any:
        if len(active) < fewest:  # a stage, or a batch without some labels
            log.warning(
                "While %d tasks are active, update.aggregator=%s takes the mean: it needs %d.", len(active), label, fewest
            )
            return aggregation.Mean()
        arguments = dict(options)
        for name, values in numbers.items():
            arguments[name] = torch.tensor([values[t] for t in active], dtype=torch.get_default_dtype())
        if method.tasks_option:
            arguments[method.tasks_option] = len(active)
        if method.name == "NashMTL":
            # cvxpy's advice to whoever formulated the problem; nothing is wrong with its solution.
            warnings.filterwarnings("ignore", message="You are solving a parameterized problem that is not DPP")
        if method.name == "NashMTL" and len(active) == 2:
            return _construct(NashTwo, {k: v for k, v in options.items() if k == "max_norm"}, label)
        if method.projector:
            from torchjd.linalg import QuadprogProjector

            thresholds = {name: arguments.pop(name, SMALL if name == "norm_eps" else 1e-4) for name in ("norm_eps", "reg_eps")}
            arguments["projector"] = _construct(QuadprogProjector, thresholds, label)
        return _construct(target, arguments, label)

    return make


def _construct(target: Any, arguments: Mapping[str, Any], label: str) -> Any:
    try:
        return target(**arguments)
    except ImportError as error:
        packages = str(error).partition("[")[2].partition("]")[0].replace("'", "") or "a solver"
        raise ConfigError(
            f"update.aggregator={label} needs {packages}; install what is missing with: pip install 'mtl-runner[solvers]'."
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"update.aggregator={label} refuses its options ({dict(arguments)}): {error}.") from error


def _state(aggregator: Any, method: Method) -> dict[str, Any]:
    holder = getattr(aggregator, method.holder, None)
    values = {name: getattr(holder, name, None) for name in method.state}
    return {name: torch.as_tensor(v) if hasattr(v, "dtype") and not isinstance(v, Tensor) else v for name, v in values.items()}


def _set_state(aggregator: Any, method: Method, saved: Mapping[str, Any]) -> None:
    holder = getattr(aggregator, method.holder, None)
    if holder is None:
        return
    for name, value in saved.items():
        setattr(holder, name, value)
    tensor = saved[method.state[1]] if method.name == "ExcessMTL" else saved[method.state[0]]
    if method.name == "NashMTL":  # its arrays are NumPy's, and its problem is made at its first call
        holder.prvs_alpha, holder.normalization_factor = (saved[name].cpu().numpy() for name in method.state[1:])
        holder._init_optim_problem()
    elif tensor is None:
        return
    elif method.name == "GradVac":  # the key that says whether the state fits the rows
        holder._state_key = (len(tensor), tensor.dtype)
    elif method.name == "PCD":
        holder._state_key = len(tensor)
    else:
        holder._state_key = (*tensor.shape, tensor.dtype, tensor.device)
