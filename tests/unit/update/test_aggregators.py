"""TorchJD's aggregators by name: the direction is TorchJD's own, with options by task, small thresholds, resumes and warnings."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.tasks.task import Task
from mtl_runner.update.aggregators import METHODS, MOST_SETS, Aggregation
from tests.support.builders import QUICK, near, same_bits, terms
from tests.unit.update.learners import projector, through_a_file

aggregation = pytest.importorskip("torchjd.aggregation")

float64 = pytest.mark.usefixtures("float64")
method_is = pytest.mark.parametrize("name", METHODS)


def tasks_of(count: int) -> list[Task]:
    """As many tasks, called a, b, c, ...; what they are does not matter here."""
    return terms(**{"abcdefgh"[i]: lambda p: p.sum() for i in range(count)})


def made(name: str, count: int = 3, seed: int = 0, **options: Any) -> Aggregation:
    """An aggregator by name for so many tasks."""
    return Aggregation(name, options, tasks_of(count), seed)


def random_rows(
    count: int, width: int = 6, seed: int = 0, dtype: torch.dtype | None = None
) -> Tensor:
    """Gradients of different sizes, at least two of which disagree."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, width, generator=generator, dtype=dtype) * torch.linspace(
        1, 3, count, dtype=dtype
    ).unsqueeze(1)
    rows[1] -= 0.8 * rows[0]
    return rows


# Each is TorchJD's


REFERENCES: dict[
    str, Callable[[int], Any]
] = {  # by the number of tasks, with the settings that we document
    "aligned_mtl": lambda _: aggregation.AlignedMTL(),
    "cagrad": lambda _: aggregation.CAGrad(c=0.5, norm_eps=1e-12),
    "config": lambda _: aggregation.ConFIG(),
    "constant": lambda count: aggregation.Constant(torch.ones(count)),
    "dualproj": lambda _: aggregation.DualProj(projector=projector()),
    "excess_mtl": lambda _: aggregation.ExcessMTL(),
    "fairgrad": lambda _: aggregation.FairGrad(alpha=2.0),
    "graddrop": lambda _: aggregation.GradDrop(),
    "gradvac": lambda _: aggregation.GradVac(eps=1e-30),
    "imtl_g": lambda _: aggregation.IMTLG(),
    "krum": lambda _: aggregation.Krum(n_byzantine=0, n_selected=1),
    "mean": lambda _: aggregation.Mean(),
    "mgda": lambda _: aggregation.MGDA(),
    "nash_mtl": lambda count: aggregation.NashMTL(n_tasks=count),
    "pcd": lambda _: aggregation.PCD(eps=1e-20),
    "pcgrad": lambda _: aggregation.PCGrad(),
    "random": lambda _: aggregation.Random(),
    "sum": lambda _: aggregation.Sum(),
    "trimmed_mean": lambda _: aggregation.TrimmedMean(trim_number=1),
    "upgrad": lambda _: aggregation.UPGrad(projector=projector()),
}
PRECISION = {
    "pcd": 1e-9,
    "fairgrad": 1e-6,
    "nash_mtl": 1e-5,
}  # those of TorchJD's solvers; the others: 1e-12
WITHOUT_WEIGHTS = {
    "config",
    "graddrop",
    "trimmed_mean",
}  # their direction is no combination of the rows that they would name


@float64
@method_is
@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem that is not DPP")
def test_the_direction_is_that_of_torchjd(name: str, count: int) -> None:
    """Breaks if a method is another one than its name says, call after call: with its state, and its random stream."""
    ours, reference = made(name, count, seed=5), REFERENCES[name](count)
    state = torch.Generator().manual_seed(5).get_state()
    for call in range(4):
        rows = random_rows(count, seed=call)
        direction, weights = ours(rows, tuple(range(count)))
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            expected = reference(rows)
            state = torch.get_rng_state()
        near(direction, expected, PRECISION.get(name, 1e-12))
        if name in WITHOUT_WEIGHTS:
            assert weights.isnan().all()
        else:
            near(weights @ rows, direction, 1e-12)
        assert weights.shape == (count,)


def test_every_method_is_compared() -> None:
    """Breaks if a new name has no reference here."""
    assert REFERENCES.keys() == METHODS.keys()


@float64
def test_the_first_task_is_the_primary_one_of_pcd() -> None:
    """Breaks if the order of the tasks, which this method is about, gets lost."""
    rows = random_rows(3)
    first, _ = made("pcd")(rows, (0, 1, 2))
    turned, _ = made("pcd")(rows.flip(0), (0, 1, 2))
    near(first.norm(), rows[0].norm(), 1e-12)
    near(turned.norm(), rows[2].norm(), 1e-12)


# Promises of the methods


def conflict(name: str, rows: Tensor, **options: Any) -> float:
    """The cosine of the direction with the row that it serves worst, 0 if it serves all."""
    direction, _ = made(name, len(rows), **options)(rows, tuple(range(len(rows))))
    cosines = rows @ direction / (rows.norm(dim=1) * direction.norm().clamp(min=1e-9 * rows.norm()))
    return min(0.0, cosines.min().item())


PEACEFUL: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("upgrad", {}),
    ("dualproj", {}),
    ("mgda", {}),
    ("cagrad", {"c": 1.0}),
    ("cagrad", {"c": 3.0}),
    ("config", {}),
    ("fairgrad", {}),
    ("nash_mtl", {}),
)
peaceful = pytest.mark.parametrize(
    ("name", "options"), PEACEFUL, ids=lambda value: value if isinstance(value, str) else ""
)


@float64
@peaceful
@QUICK
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(2, 4),
    sizes=st.lists(st.floats(1, 2), min_size=4, max_size=4),
)
def test_no_task_gets_worse(
    name: str, options: Mapping[str, Any], seed: int, count: int, sizes: list[float]
) -> None:
    """Breaks if a method that promises it steps uphill for some task, to first order."""
    rows = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
        sizes[:count]
    ).unsqueeze(1)
    assert conflict(name, rows, **options) > -1e-5


@float64
@peaceful
def test_no_task_gets_worse_though_gradients_differ_in_size(
    name: str, options: Mapping[str, Any]
) -> None:
    """Breaks if a threshold of the solver gives up the tasks with the smaller gradients (down to a hundredth of the largest)."""
    generator = torch.Generator().manual_seed(0)
    sizes = [10 ** (2 * torch.rand(3, 1, generator=generator) - 1) for _ in range(50)]
    assert (
        min(
            conflict(name, size * torch.randn(3, 5, generator=generator), **options)
            for size in sizes
        )
        > -0.002
    )


@method_is
@pytest.mark.parametrize("seed", range(3))
def test_gradients_that_depend_on_each_other_are_no_obstacle(name: str, seed: int) -> None:
    """Breaks if a solver fails on a Gramian that rounding has made indefinite: more tasks than directions, a large model, float32."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(4, 2, generator=generator) @ torch.randn(2, 100_000, generator=generator)
    direction, _ = made(name, 4)(rows, (0, 1, 2, 3))
    assert direction.isfinite().all()


DEGREES = {  # the direction for s J is s^degree times that for J
    **dict.fromkeys(
        (
            "aligned_mtl",
            "cagrad",
            "config",
            "constant",
            "dualproj",
            "imtl_g",
            "krum",
            "mean",
            "mgda",
            "sum",
            "upgrad",
            "trimmed_mean",
        ),
        1.0,
    ),
    **dict.fromkeys(("graddrop", "pcgrad", "random"), 1.0),  # from the same random numbers
    "gradvac": 1.0,
    "pcd": 1.0,
    "fairgrad": -1 / 3,  # 1 - 2 alpha / (1 + alpha)
    "nash_mtl": None,  # limited in norm
}  # not excess_mtl: it exponentiates the raw size of the first excess risk


@pytest.mark.parametrize("name", DEGREES)
@pytest.mark.parametrize("factor", [1e-2, 1e-4, 1e-6])
def test_small_gradients_have_the_same_direction(name: str, factor: float) -> None:
    """Breaks if a threshold turns a method into another one (or into nothing) late in training, in float32."""
    rows = random_rows(3, dtype=torch.float32)
    large, _ = made(name)(rows, (0, 1, 2))
    small, _ = made(name)(factor * rows, (0, 1, 2))
    near(small.double() / small.double().norm(), large.double() / large.double().norm(), 3e-5)
    degree = DEGREES[name]
    if degree is not None:
        assert small.double().norm() / large.double().norm() == pytest.approx(
            factor**degree, rel=1e-3
        )


def test_every_method_has_a_degree() -> None:
    """Breaks if a new name is not asked what it does with small gradients."""
    assert DEGREES.keys() | {"excess_mtl"} == METHODS.keys()


@method_is
def test_a_task_that_has_arrived_leaves_a_finite_direction(name: str) -> None:
    """Breaks if a gradient of exactly 0, of one task or of all, gives NaN."""
    rows = random_rows(3, dtype=torch.float32)
    rows[1] = 0
    direction, _ = made(name)(rows, (0, 1, 2))
    assert direction.isfinite().all()


@method_is
def test_when_all_have_arrived_nothing_moves(name: str) -> None:
    """Breaks if training stops with an error, or with NaN, at a point where every gradient is 0."""
    direction, _ = made(name)(torch.zeros(3, 6), (0, 1, 2))
    near(direction, torch.zeros(6), 0)


# Random numbers


@method_is
def test_the_global_random_state_is_left_alone(name: str) -> None:
    """Breaks if batch order and dropout depend on the aggregator."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    ours = made(name)
    ours.check(torch.zeros(1))
    ours(random_rows(3), (0, 1, 2))
    same_bits(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if method.random and name != "gradvac"]
)
def test_its_random_numbers_follow_from_the_seed(name: str) -> None:
    """Breaks if two seeds draw alike, one seed draws twice the same, or the trial at the start uses numbers up."""
    rows = random_rows(4)

    def drawn(seed: int, check: bool = False) -> Tensor:
        ours = made(name, 4, seed)
        if check:
            ours.check(torch.zeros(1))
        return torch.stack([ours(rows, (0, 1, 2, 3))[0] for _ in range(8)])

    same_bits(drawn(1, check=True), drawn(1))
    assert (drawn(1) != drawn(2)).any()
    assert (drawn(1)[0] != drawn(1)[1:]).any()


# Stages and resumes

STAGES = [
    (0, 1, 2, 3),
    (0, 1, 2, 3),
    (0, 1),
    (0, 1, 2, 3),
    (1, 2, 3),
    (0, 1, 2, 3),
    (0, 1),
    (1, 2, 3),
    (0, 2),
    (0, 1, 2, 3),
]


def directions(ours: Aggregation, stages: Sequence[tuple[int, ...]], first: int) -> list[Tensor]:
    return [
        torch.stack(ours(random_rows(4, seed=first + step)[list(tasks)], tasks)[:1]).squeeze(0)
        for step, tasks in enumerate(stages)
    ]


REMEMBERING: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("excess_mtl", {"n_warmup_steps": 2}),
    ("gradvac", {}),
    ("pcd", {}),
)


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in METHODS), REMEMBERING[0]], ids=str
)
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_fresh_copy_continues_from_a_saved_state_to_the_last_bit(
    name: str, options: Mapping[str, Any], cut: int
) -> None:
    """Breaks if a state or the random stream is lost at a resume, in the stage of the resume or in one that comes back later."""
    ours = made(name, 4, **options)
    directions(ours, STAGES[:cut], 0)
    state = through_a_file(ours.state_dict())
    twin = made(name, 4, seed=99, **options)
    twin.load_state_dict(state)
    halfway = STAGES[cut : cut + 2]
    same_bits(directions(twin, halfway, cut), directions(ours, halfway, cut))
    third = made(
        name, 4, seed=100, **options
    )  # and again, with states that have not been used since the first resume
    third.load_state_dict(through_a_file(twin.state_dict()))
    rest = STAGES[cut + 2 :]
    same_bits(directions(third, rest, cut + 2), directions(ours, rest, cut + 2))


remembering = pytest.mark.parametrize(
    ("name", "options"), REMEMBERING, ids=[name for name, _ in REMEMBERING]
)


@remembering
def test_a_state_matters(name: str, options: Mapping[str, Any]) -> None:
    """Breaks if the resumes above compare methods that remember nothing."""
    ours = made(name, **options)
    for step in range(4):
        random = ours.stream.state_dict()
        later, _ = ours(random_rows(3, seed=step), (0, 1, 2))
    fresh = made(name, **options)
    fresh.stream.load_state_dict(random)
    assert (later != fresh(random_rows(3, seed=3), (0, 1, 2))[0]).any()
    assert set(ours.state_dict()["states"]) == {"0,1,2"}


@remembering
def test_a_stage_keeps_its_state_while_another_one_runs(
    name: str, options: Mapping[str, Any]
) -> None:
    """Breaks if a few steps with other tasks reset or mix a method's memory."""
    plain, interrupted = made(name, 4, **options), made(name, 4, **options)
    everyone = (0, 1, 2, 3)
    for step in range(3):
        plain(random_rows(4, seed=step), everyone)
        interrupted(random_rows(4, seed=step), everyone)
    random = interrupted.stream.state_dict()
    interrupted(random_rows(4, seed=9)[:3], (0, 1, 2))
    interrupted.stream.load_state_dict(random)
    same_bits(
        interrupted(random_rows(4, seed=3), everyone)[0], plain(random_rows(4, seed=3), everyone)[0]
    )


def test_a_resume_remembers_as_many_sets_of_tasks_as_a_run_that_was_not_stopped() -> None:
    """Breaks if what is forgotten with very many sets of active tasks depends on when a run was stopped."""
    sets = [s for size in (3, 4) for s in itertools.combinations(range(7), size)][:MOST_SETS]
    ours = Aggregation("pcd", {}, tasks_of(7), 0)
    for step, tasks in enumerate(sets):
        ours(random_rows(7, seed=step)[list(tasks)], tasks)
    twin = Aggregation("pcd", {}, tasks_of(7), 0)
    twin.load_state_dict(through_a_file(ours.state_dict()))
    found = []
    for each in (ours, twin):
        each(random_rows(7, seed=99), tuple(range(7)))  # one too many: the first set is forgotten
        found.append(each(random_rows(7, seed=100)[list(sets[0])], sets[0])[0])
    same_bits(found[1], found[0])


def test_options_by_task_follow_the_tasks_that_are_active() -> None:
    """Breaks if a stage with fewer tasks takes the numbers of others."""
    constant = made("constant", 4, weights={"a": 2.0, "c": 5.0, "d": 7.0})
    rows = torch.eye(4)
    for tasks, expected in (
        ((0, 1, 2, 3), [2.0, 1.0, 5.0, 7.0]),
        ((1, 3), [1.0, 7.0]),
        ((0, 2), [2.0, 5.0]),
    ):
        near(constant(rows[list(tasks)], tasks)[1], torch.tensor(expected), 0)
    for name in ("upgrad", "dualproj", "aligned_mtl"):
        preferring = made(name, 4, pref_vector={"d": 4.0})
        near(
            preferring(rows[[1, 3]], (1, 3))[0], torch.tensor([0.0, 0.5, 0.0, 2.0]), 1e-3
        )  # orthogonal: nothing to resolve
    direction, _ = made("config", 2, pref_vector={"a": 3.0})(torch.eye(2), (0, 1))
    assert (direction[0] / direction[1]).item() == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "aligned_mtl", "config"])
def test_equal_preferences_are_no_preferences(name: str) -> None:
    """Breaks if naming a preference of 1 for every task (or for one: the others have it) changes a method's scale."""
    rows = random_rows(4)
    expected, _ = made(name, 4)(rows, (0, 1, 2, 3))
    for preferences in (1.0, {"b": 1.0}):
        near(made(name, 4, pref_vector=preferences)(rows, (0, 1, 2, 3))[0], expected, 1e-6)


def test_a_leak_given_for_one_task_lets_no_other_one_through() -> None:
    """Breaks if tasks that the option does not name are exempted from GradDrop, which TorchJD does to none by default."""
    rows = torch.tensor([[1.0] * 200, [-1.0] * 200])
    leaking, _ = made("graddrop", 2, leak={"a": 0.0})(rows, (0, 1))
    plain, _ = made("graddrop", 2)(rows, (0, 1))
    same_bits(leaking, plain)


@pytest.mark.parametrize("kind", ["PCD", "GradVac", "ExcessMTL"])
def test_the_trial_at_the_start_leaves_no_trace_in_an_object(kind: str) -> None:
    """Breaks if the state of a user's own aggregator begins with rows that nobody has computed."""
    theirs, plain = getattr(aggregation, kind)(), getattr(aggregation, kind)()
    ours = Aggregation(theirs, {}, tasks_of(3), 0)
    ours.check(torch.zeros(1))
    rows = random_rows(3, width=3)  # as many columns as tasks, as the trial has
    for _ in range(2):
        torch.manual_seed(0)
        direction, _ = ours(rows, (0, 1, 2))
        torch.manual_seed(0)
        near(direction, plain(rows), 1e-6)


def test_loading_a_state_replaces_what_was_there() -> None:
    """Breaks if an aggregator that has been in use keeps its own memory when it is told to go on from another one."""
    ours, used = made("pcd"), made("pcd")
    for step in range(3):
        ours(random_rows(3, seed=step), (0, 1, 2))
        used(100 * random_rows(3, seed=50 + step), (0, 1, 2))
    used.load_state_dict(through_a_file(ours.state_dict()))
    same_bits(
        used(random_rows(3, seed=9), (0, 1, 2))[0], ours(random_rows(3, seed=9), (0, 1, 2))[0]
    )


# Too few tasks


@pytest.mark.parametrize(
    ("name", "options", "fewest"),
    [
        ("krum", {}, 3),
        ("krum", {"n_byzantine": 1}, 4),
        ("trimmed_mean", {}, 3),
        ("trimmed_mean", {"trim_number": 2}, 5),
    ],
)
def test_too_few_tasks_are_named(name: str, options: Mapping[str, Any], fewest: int) -> None:
    """Breaks if a method that votes or trims starts where it has nothing to choose from."""
    with pytest.raises(ConfigError) as error:
        made(name, fewest - 1, **options)
    assert str(error.value) == (
        f"update.aggregator={name} needs at least {fewest} tasks with these options; found {fewest - 1}."
    )
    made(name, fewest, **options).check(torch.zeros(1))


@pytest.mark.parametrize("name", ["krum", "trimmed_mean"])
def test_in_a_stage_with_too_few_tasks_the_mean_is_taken_and_said(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if a stage silently has another method, or stops the run."""
    logger = logging.getLogger("mtl_runner")
    logger.addHandler(caplog.handler)
    try:
        ours, rows = made(name, 4), random_rows(4)
        for _ in range(3):
            direction, weights = ours(rows[:2], (0, 1))
        near(direction, rows[:2].mean(0), 1e-6)
        near(weights, torch.tensor([0.5, 0.5]), 1e-7)
        ours(rows, (0, 1, 2, 3))
    finally:
        logger.removeHandler(caplog.handler)
    said = f"While 2 tasks are active, update.aggregator={name} takes the mean: it needs 3."
    assert caplog.messages.count(said) >= 1
    assert set(caplog.messages) == {said}


# What it refuses


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "upgrade",
            {},
            "update.aggregator='upgrade' is unknown; did you mean 'upgrad'? allowed: aligned_mtl, cagrad, ",
        ),
        ("mean", {"c": 1}, "update.aggregator=mean refuses its options ({'c': 1}): "),
        (
            "cagrad",
            {"c": -1},
            "update.aggregator=cagrad refuses its options ({'c': -1, 'norm_eps': 1e-12}): c must be non-negative",
        ),
        (
            "upgrad",
            {"norm_eps": -1},
            "update.aggregator=upgrad refuses its options ({'norm_eps': -1, ",
        ),
        (
            "upgrad",
            {"pref_vector": [1, 2]},
            "update.options.pref_vector must be a number or {task: number}; found [1, 2]",
        ),
        (
            "constant",
            {"weights": {"z": 1}},
            "update.options.weights names the unknown task 'z'; allowed: a, b, c",
        ),
        ("krum", {"n_selected": 4}, "update.aggregator=krum refuses 3 active tasks: "),
        (
            "krum",
            {"n_byzantine": "x"},
            "update.aggregator=krum refuses its options ({'n_byzantine': 'x', 'n_selected': 1}): whole numbers",
        ),
        (
            "upgrad",
            {"projector": 1},
            "update.aggregator=upgrad makes its projector itself; give its norm_eps and reg_eps instead.",
        ),
        ("nash_mtl", {"max_nrom": 1}, "update.aggregator=nash_mtl refuses its options"),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" not in value else "",
)
def test_what_is_wrong_is_named_at_the_start(
    name: str, options: Mapping[str, Any], words: str
) -> None:
    """Breaks if a mistake shows hours later, or as a traceback of TorchJD's."""
    with pytest.raises(ConfigError) as error:
        made(name, **options).check(torch.zeros(1))
    assert words in str(error.value)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("option", ["max_nrom", "update_weights_every"])
def test_an_option_that_our_nash_does_not_take_is_named(option: str, count: int) -> None:
    """Breaks if a misspelt option, or one of the solver that it does without, is silently ignored."""
    with pytest.raises(
        ConfigError, match=rf"update\.aggregator=nash_mtl refuses its options .*'{option}'"
    ):
        made("nash_mtl", count, **{option: 5})


def test_options_of_an_object_belong_beside_it() -> None:
    """Breaks if options next to a ready-made aggregator are silently ignored."""
    with pytest.raises(
        ConfigError,
        match=r"update\.options are for an aggregator given by name; give them beside its _target_",
    ):
        Aggregation(aggregation.UPGrad(), {"norm_eps": 1.0}, tasks_of(2), 0)


def test_what_is_neither_a_name_nor_callable_is_refused() -> None:
    """Breaks if a forgotten `_target_` is a traceback."""
    with pytest.raises(ConfigError) as error:
        Aggregation({"name": "upgrad"}, {}, tasks_of(2), 0)  # type: ignore[arg-type]
    assert str(error.value).startswith("update.aggregator must be a name (aligned_mtl, cagrad, ")
    assert str(error.value).endswith(
        "or {_target_: my_module.MyAggregator}; found {'name': 'upgrad'}."
    )


# Missing packages

NEEDS = {
    "cagrad": ("cvxpy", "clarabel"),
    "dualproj": ("qpsolvers", "quadprog"),
    "upgrad": ("qpsolvers", "quadprog"),
    "fairgrad": ("scipy",),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_solver_is_named_with_the_line_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a method without its solver becomes equal weights, or an import error."""
    monkeypatch.setattr(
        "torchjd._mixins.find_spec", lambda package: None if package in NEEDS[name] else package
    )
    with pytest.raises(ConfigError) as error:
        made(name).check(torch.zeros(1))
    assert str(error.value) == (
        f"update.aggregator={name} needs {', '.join(NEEDS[name])}; "
        "install what is missing with: pip install 'mtl-runner[solvers]'."
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name != "nash_mtl"])
def test_without_torchjd_the_line_that_installs_it_is_given(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a missing optional package is a traceback."""
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ConfigError) as error:
        made(name)
    assert str(error.value) == (
        f"update.aggregator={name} needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
    )


@pytest.mark.parametrize("count", [2, 3])
def test_nash_needs_no_package(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the method that we solve ourselves asks for the solver that it does without."""
    monkeypatch.setitem(sys.modules, "torchjd", None)
    ours = made("nash_mtl", count, max_norm=0)
    ours.check(torch.zeros(1))
    near(ours(torch.eye(count), tuple(range(count)))[0], torch.ones(count), 1e-6)


def test_the_command_says_what_to_install(tmp_path: Path) -> None:
    """Breaks if a user without the extra gets a traceback from the command line."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torchjd'] = None\n")
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "update=jacobian",
        "model=mlp",
        "trainer.device=cpu",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith(
            "update.aggregator=upgrad needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
        )
    )
