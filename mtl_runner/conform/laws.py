"""Which laws hold for which method, as data, each with the place in the paper where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mtl_runner.conform import aggregator_checks as of_rows
from mtl_runner.conform import weighting_checks as of_losses
from mtl_runner.conform.case import Case, Finding, Reference
from mtl_runner.errors import ConfigError, suggest


@dataclass(frozen=True)
class Law:
    """A fact about a method that can be measured.

    Attributes:
        sentence: The law in words.
        check: Measures it.
        source: Where it comes from, if it holds for every method.
    """

    sentence: str
    check: Callable[[Case], Finding]
    source: str = "definition"


LAWS: dict[str, Law] = {
    # Of losses.
    "balance": Law("the shares of the weights are the formula's", of_losses.balance),
    "objective": Law("so is the objective, up to one factor", of_losses.objective),
    "total": Law("the weights sum to a constant", of_losses.total),
    "not_negative": Law("no weight is negative", of_losses.not_negative),
    "equal_tasks": Law("equal tasks get equal weights", of_losses.equal_tasks, "symmetry"),
    "order": Law("the order of the tasks does not matter", of_losses.order_of_tasks, "symmetry"),
    "solved_task": Law(
        "a task with loss and gradient 0 leaves all numbers finite", of_losses.solved_task, "use"
    ),
    "resume": Law("a saved state goes on as if nothing had happened", of_losses.resume, "use"),
    "ranks": Law(
        "two processes that average gradients are one", of_losses.ranks, "linear in the losses"
    ),
    "weights_scale": Law(
        "the unit of a loss does not change the weights", of_losses.weights_without_scale
    ),
    "shares_scale": Law(
        "the unit of a loss does not change its share of w L", of_losses.shares_without_scale
    ),
    "stationary": Law(
        "at the optimum of its own parameters w L is equal for all tasks", of_losses.stationary
    ),
    "own_term": Law("the objective is w L - b log w", of_losses.own_term),
    "equal_progress": Law(
        "equal progress on each batch leaves the balance of w L alone", of_losses.equal_progress
    ),
    "progress": Law("a task that progresses faster gives weight away", of_losses.progress),
    "reads_gradients": Law("the gradients have a part in the weights", of_losses.reads_gradients),
    "slow_task": Law("the weight of a task that falls behind rises", of_losses.slow_task),
    "large_gradient": Law("the weight of a long gradient falls", of_losses.large_gradient),
    "balanced_norms": Law("the weighed norms settle at r^alpha", of_losses.balanced_norms),
    # Of gradients.
    "formula": Law("the direction is the formula's", of_rows.formula),
    "length": Law("so is its length", of_rows.length),
    "no_conflict": Law("the direction makes no task worse, to first order", of_rows.no_conflict),
    "pareto_point": Law("where gradients cancel each other it stands still", of_rows.pareto_point),
    "shortest": Law("it is the shortest vector in their convex hull", of_rows.shortest),
    "equal_cosines": Law("its cosines with the gradients are equal", of_rows.equal_cosines),
    "bargain": Law("its weights solve G a = 1 / a", of_rows.bargain),
    "drops_signs": Law("each coordinate keeps the entries of one sign", of_rows.drops_signs),
    "uses_gradients": Law("the gradients have a part in the weights", of_rows.depends_on_gradients),
    "one_task": Law("of one task it is the gradient's direction", of_rows.one_task),
    "order_of_rows": Law(
        "the order of the tasks does not matter", of_rows.order_of_rows, "symmetry"
    ),
    "rotation": Law("it turns with the coordinates", of_rows.rotation, "a function of the Gramian"),
    "small_gradients": Law(
        "gradients 1e-4 times as long have the same direction", of_rows.small_gradients
    ),
    "homogeneous": Law("gradients twice as long make it twice as long", of_rows.homogeneous),
    "idle_task": Law("a gradient of 0 leaves all numbers finite", of_rows.idle_task, "use"),
    "resume_rows": Law(
        "a saved state goes on as if nothing had happened", of_rows.resume_rows, "use"
    ),
}


@dataclass(frozen=True)
class Method:
    """A method with its laws.

    Attributes:
        paper: The paper that defines it.
        laws: The names of its laws, each with its place in the paper; empty: the law's own.
        reference: Our implementation; None where own parameters or step sizes differ by author.
        keeps_epochs: Whether it remembers whole epochs.
        settings: Numbers that its laws need; ``total`` 0 stands for the number of tasks.
    """

    paper: str
    laws: Mapping[str, str]
    reference: Reference | None = None
    keeps_epochs: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def wants_rows(self) -> bool:
        """Whether it works on gradients."""
        return self.reference is not None and self.reference.is_aggregator


GENERAL = {"not_negative": "", "equal_tasks": "", "order": "", "solved_task": "", "resume": ""}


def _of_losses(
    paper: str,
    laws: Mapping[str, str],
    reference: Reference | None = None,
    keeps_epochs: bool = False,
    **settings: float,
) -> Method:
    """Return a weighting, which has the general laws, too."""
    named = dict(laws)
    if "balance" in named:
        place = named.pop("balance")
        named = {"balance": place, "objective": place, **named}
    return Method(paper, {**named, **GENERAL}, reference, keeps_epochs, settings)


def _of_rows(
    name: str, paper: str, laws: Mapping[str, str], without: tuple[str, ...] = (), **settings: float
) -> Method:
    """Return an aggregator, which has the general laws of aggregators but those left out."""
    general = (
        *("uses_gradients", "one_task", "order_of_rows", "rotation"),
        *("small_gradients", "homogeneous", "idle_task", "resume_rows"),
    )
    kept = {law: "" for law in general if law not in without}
    return Method(paper, {**laws, **kept}, Reference(name, {}, True), settings=settings)


KENDALL = "Kendall, Gal & Cipolla, CVPR 2018"
METHODS: dict[str, Method] = {
    "fixed": _of_losses(
        "equal weights",
        {"balance": "L_1 + ... + L_T", "weights_scale": "", "ranks": ""},
        Reference("Fixed"),
    ),
    "uncertainty": _of_losses(
        KENDALL,
        {"own_term": "eq. 7 and 10", "stationary": "their minimum over sigma", "ranks": ""},
    ),
    "imtl_l": _of_losses(
        "Liu et al., ICLR 2021",
        {"own_term": "section 3.3", "stationary": "its minimum over s", "ranks": ""},
    ),
    "uncertainty_analytic": _of_losses(
        "Kirchdorfer et al., 2024",
        {"balance": "UW-O: w = 1 / L", "shares_scale": "w = 1 / L"},
        Reference("UncertaintyAnalytic"),
    ),
    "uncertainty_softmax": _of_losses(
        "Kirchdorfer et al., 2024",
        {"balance": "UW-SO: a softmax of 1 / L", "total": "a softmax"},
        Reference("UncertaintySoftmax"),
        total=1.0,
    ),
    "log_sum": _of_losses(
        "scale-invariant sum of logarithms",
        {"balance": "sum of log L", "shares_scale": "w = 1 / L"},
        Reference("LogSum"),
    ),
    "geometric_mean": _of_losses(
        "Chennupati et al., CVPR workshops 2019",
        {"balance": "the geometric loss", "shares_scale": "w = objective / (T L)"},
        Reference("GeometricMean"),
    ),
    "dwa": _of_losses(
        "Liu, Johns & Davison, CVPR 2019",
        {"balance": "eq. 7", "total": "eq. 7", "weights_scale": "eq. 7: ratios"},
        Reference("DWA"),
        keeps_epochs=True,
        total=0.0,
    ),
    "famo": _of_losses(
        "Liu et al., NeurIPS 2023",
        {
            "balance": "algorithm 1",
            "total": "algorithm 1: c",
            "shares_scale": "logarithms of the losses",
            "equal_progress": "algorithm 1: the same batch, before and after",
            "progress": "algorithm 1: delta",
        },
        Reference("FAMO"),
        total=1.0,
    ),
    "gradnorm": _of_losses(
        "Chen et al., ICML 2018",
        {
            "reads_gradients": "eq. 2",
            "slow_task": "eq. 2: r^alpha with alpha > 0",
            "large_gradient": "eq. 2",
            "balanced_norms": "the minimum of eq. 2",
            "total": "algorithm 1: renormalise",
        },
        total=0.0,
        alpha=1.5,
    ),
    "cov": _of_losses(
        "Groenendijk et al., WACV 2021",
        {"balance": "section 3", "total": "section 3", "weights_scale": "section 3: ratios"},
        Reference("CoV"),
        total=1.0,
    ),
    "softadapt": _of_losses(
        "Heydari et al., 2019",
        {"balance": "the original variant", "total": "a softmax"},
        Reference("SoftAdapt"),
        total=1.0,
    ),
    # Of gradients.
    "mean": _of_rows(
        "mean",
        "the mean of the gradients",
        {"formula": "", "length": ""},
        without=("uses_gradients",),
    ),
    "sum": _of_rows(
        "sum",
        "the sum of the gradients",
        {"formula": "", "length": ""},
        without=("uses_gradients",),
    ),
    "mgda": _of_rows(
        "mgda",
        "Désidéri 2012; Sener & Koltun, NeurIPS 2018",
        {
            "shortest": "eq. 3: KKT conditions",
            "formula": "eq. 3",
            "length": "",
            "no_conflict": "its KKT conditions",
            "pareto_point": "the hull holds 0",
        },
    ),
    "upgrad": _of_rows(
        "upgrad",
        "Quinton & Rey, 2024",
        {
            "formula": "the mean of the projections",
            "length": "",
            "no_conflict": "the dual cone",
            "pareto_point": "the dual cone",
        },
    ),
    "dualproj": _of_rows(
        "dualproj",
        "Lopez-Paz & Ranzato, NeurIPS 2017",
        {
            "formula": "eq. 11",
            "length": "",
            "no_conflict": "its constraints",
            "pareto_point": "its constraints",
        },
    ),
    "cagrad": _of_rows(
        "cagrad", "Liu et al., NeurIPS 2021", {"formula": "algorithm 1", "length": "algorithm 1"}
    ),
    "nash_mtl": _of_rows(
        "nash_mtl",
        "Navon et al., ICML 2022",
        {"bargain": "claim 3.1", "formula": "claim 3.1", "no_conflict": "claim 3.1: G a > 0"},
        without=("homogeneous",),
    ),
    "aligned_mtl": _of_rows(
        "aligned_mtl", "Senushkin et al., CVPR 2023", {"formula": "algorithm 1", "length": ""}
    ),
    "imtl_g": _of_rows(
        "imtl_g",
        "Liu et al., ICLR 2021",
        {"equal_cosines": "its gradient balance", "formula": "", "length": ""},
    ),
    "config": _of_rows(
        "config",
        "Liu, Chu & Thuerey, ICLR 2025",
        {"equal_cosines": "eq. 2", "formula": "eq. 2", "length": "", "no_conflict": "eq. 2"},
        without=("idle_task",),
    ),
    "pcgrad": _of_rows(
        "pcgrad",
        "Yu et al., NeurIPS 2020",
        {"formula": "algorithm 1", "length": "algorithm 1"},
        tasks=2.0,
    ),
    "gradvac": _of_rows(
        "gradvac",
        "Wang et al., ICLR 2021",
        {"formula": "algorithm 1", "length": "algorithm 1"},
        tasks=2.0,
    ),
    "fairgrad": _of_rows(
        "fairgrad",
        "Ban & Ji, ICML 2024",
        {"formula": "eq. 4"},
        without=("homogeneous",),
    ),
    "graddrop": _of_rows(
        "graddrop",
        "Chen et al., NeurIPS 2020",
        {"drops_signs": "algorithm 1"},
        without=("rotation", "order_of_rows"),
    ),
    "excess_mtl": _of_rows(
        "excess_mtl",
        "He et al., ICML 2024",
        {"formula": "eq. 6, 7 and 9"},
        without=("homogeneous", "rotation", "small_gradients"),
    ),
    "trimmed_mean": _of_rows(
        "trimmed_mean",
        "Yin et al., ICML 2018",
        {"formula": "", "length": ""},
        without=("rotation", "one_task"),
    ),
}


def method_of(name: str) -> Method:
    """Return the method of a name.

    Args:
        name: The name, as in ``weighting=``.

    Raises:
        ConfigError: If no laws are known for it.

    Example:
        >>> method_of("famo").paper
        'Liu et al., NeurIPS 2023'
    """
    if name not in METHODS:
        raise ConfigError(
            f"--as {name} is no method whose laws are known; {suggest(name, METHODS)}."
        )
    return METHODS[name]
