"""An aggregator for changing sets of tasks: random stream, state, options per task, errors."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_runner.errors import ConfigError
from mtl_runner.update.aggregator_methods import METHODS
from mtl_runner.update.aggregators import MOST_TASK_SETS, Aggregation, aggregate
from tests.support.builders import assert_near, assert_same_bits
from tests.unit.update.aggregations import aggregation_of, random_rows, tasks_of
from tests.unit.update.learners import through_a_file

aggregation = pytest.importorskip("torchjd.aggregation")

method_is = pytest.mark.parametrize("name", METHODS)


# Random numbers


@method_is
def test_the_global_random_state_is_left_alone(name: str) -> None:
    """Breaks if batch order and dropout depend on the aggregator."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    aggregator = aggregation_of(name)
    aggregator.check(torch.zeros(1))
    aggregator(random_rows(3), (0, 1, 2))
    assert_same_bits(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if method.is_random and name != "gradvac"]
)
def test_its_random_numbers_follow_from_the_seed(name: str) -> None:
    """Breaks if the seed has no effect, or the trial at the start uses random numbers up."""
    rows = random_rows(4)

    def drawn(seed: int, check: bool = False) -> Tensor:
        aggregator = aggregation_of(name, 4, seed)
        if check:
            aggregator.check(torch.zeros(1))
        return torch.stack([aggregator(rows, (0, 1, 2, 3))[0] for _ in range(8)])

    assert_same_bits(drawn(1, check=True), drawn(1))
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


def directions(
    aggregator: Aggregation, stages: Sequence[tuple[int, ...]], first: int
) -> list[Tensor]:
    """Return the directions for random rows, one per stage; the first row set has this seed."""
    return [
        torch.stack(aggregator(random_rows(4, seed=first + step)[list(tasks)], tasks)[:1]).squeeze(
            0
        )
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
    """Breaks if a resume loses a state or the random stream, in this stage or a later one."""
    aggregator = aggregation_of(name, 4, **options)
    directions(aggregator, STAGES[:cut], 0)
    state = through_a_file(aggregator.state_dict())
    twin = aggregation_of(name, 4, seed=99, **options)
    twin.load_state_dict(state)
    halfway = STAGES[cut : cut + 2]
    assert_same_bits(directions(twin, halfway, cut), directions(aggregator, halfway, cut))
    third = aggregation_of(
        name, 4, seed=100, **options
    )  # and again, with states that have not been used since the first resume
    third.load_state_dict(through_a_file(twin.state_dict()))
    later = STAGES[cut + 2 :]
    assert_same_bits(directions(third, later, cut + 2), directions(aggregator, later, cut + 2))


remembering = pytest.mark.parametrize(
    ("name", "options"), REMEMBERING, ids=[name for name, _ in REMEMBERING]
)


@remembering
def test_a_state_matters(name: str, options: Mapping[str, Any]) -> None:
    """Breaks if the resumes above compare methods that remember nothing."""
    aggregator = aggregation_of(name, **options)
    for step in range(4):
        random = aggregator.stream.state_dict()
        later, _ = aggregator(random_rows(3, seed=step), (0, 1, 2))
    fresh = aggregation_of(name, **options)
    fresh.stream.load_state_dict(random)
    assert (later != fresh(random_rows(3, seed=3), (0, 1, 2))[0]).any()
    assert set(aggregator.state_dict()["states"]) == {"0,1,2"}


@remembering
def test_a_stage_keeps_its_state_while_another_one_runs(
    name: str, options: Mapping[str, Any]
) -> None:
    """Breaks if a few steps with other tasks reset or mix a method's memory."""
    plain, interrupted = aggregation_of(name, 4, **options), aggregation_of(name, 4, **options)
    all_tasks = (0, 1, 2, 3)
    for step in range(3):
        plain(random_rows(4, seed=step), all_tasks)
        interrupted(random_rows(4, seed=step), all_tasks)
    random = interrupted.stream.state_dict()
    interrupted(random_rows(4, seed=9)[:3], (0, 1, 2))
    interrupted.stream.load_state_dict(random)
    assert_same_bits(
        interrupted(random_rows(4, seed=3), all_tasks)[0],
        plain(random_rows(4, seed=3), all_tasks)[0],
    )


def test_a_resume_remembers_as_many_sets_of_tasks_as_a_run_that_was_not_stopped() -> None:
    """Breaks if what is forgotten with very many sets of tasks depends on a resume."""
    sets = [s for size in (3, 4) for s in itertools.combinations(range(7), size)][:MOST_TASK_SETS]
    aggregator = Aggregation("pcd", {}, tasks_of(7), 0)
    for step, tasks in enumerate(sets):
        aggregator(random_rows(7, seed=step)[list(tasks)], tasks)
    twin = Aggregation("pcd", {}, tasks_of(7), 0)
    twin.load_state_dict(through_a_file(aggregator.state_dict()))
    directions_again = []
    for continued in (aggregator, twin):
        continued(
            random_rows(7, seed=99), tuple(range(7))
        )  # one too many: the first set is forgotten
        directions_again.append(continued(random_rows(7, seed=100)[list(sets[0])], sets[0])[0])
    assert_same_bits(directions_again[1], directions_again[0])


def test_options_by_task_follow_the_tasks_that_are_active() -> None:
    """Breaks if a stage with fewer tasks takes the numbers of others."""
    constant = aggregation_of("constant", 4, weights={"a": 2.0, "c": 5.0, "d": 7.0})
    rows = torch.eye(4)
    for tasks, expected in (
        ((0, 1, 2, 3), [2.0, 1.0, 5.0, 7.0]),
        ((1, 3), [1.0, 7.0]),
        ((0, 2), [2.0, 5.0]),
    ):
        assert_near(constant(rows[list(tasks)], tasks)[1], torch.tensor(expected), 0)
    for name in ("upgrad", "dualproj", "aligned_mtl"):
        preferring = aggregation_of(name, 4, pref_vector={"d": 4.0})
        assert_near(
            preferring(rows[[1, 3]], (1, 3))[0], torch.tensor([0.0, 0.5, 0.0, 2.0]), 1e-3
        )  # orthogonal: nothing to resolve
    direction, _ = aggregation_of("config", 2, pref_vector={"a": 3.0})(torch.eye(2), (0, 1))
    assert (direction[0] / direction[1]).item() == pytest.approx(3.0)


@pytest.mark.parametrize("kind", ["PCD", "GradVac", "ExcessMTL"])
def test_the_trial_at_the_start_leaves_no_trace_in_an_object(kind: str) -> None:
    """Breaks if the state of a user's own aggregator begins with rows that nobody has computed."""
    torchjds, plain = getattr(aggregation, kind)(), getattr(aggregation, kind)()
    aggregator = Aggregation(torchjds, {}, tasks_of(3), 0)
    aggregator.check(torch.zeros(1))
    rows = random_rows(3, width=3)  # as many columns as tasks, as the trial has
    for _ in range(2):
        torch.manual_seed(0)
        direction, _ = aggregator(rows, (0, 1, 2))
        torch.manual_seed(0)
        assert_near(direction, plain(rows), 1e-6)


def test_loading_a_state_replaces_what_was_there() -> None:
    """Breaks if an aggregator in use keeps its memory when it loads another state."""
    aggregator, used = aggregation_of("pcd"), aggregation_of("pcd")
    for step in range(3):
        aggregator(random_rows(3, seed=step), (0, 1, 2))
        used(100 * random_rows(3, seed=50 + step), (0, 1, 2))
    used.load_state_dict(through_a_file(aggregator.state_dict()))
    assert_same_bits(
        used(random_rows(3, seed=9), (0, 1, 2))[0], aggregator(random_rows(3, seed=9), (0, 1, 2))[0]
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
        aggregation_of(name, fewest - 1, **options)
    assert str(error.value) == (
        f"update.aggregator={name} needs at least {fewest} tasks with these options; found {fewest - 1}."
    )
    aggregation_of(name, fewest, **options).check(torch.zeros(1))


@pytest.mark.parametrize("name", ["krum", "trimmed_mean"])
def test_in_a_stage_with_too_few_tasks_the_mean_is_taken_and_said(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if a stage silently has another method, or stops the run."""
    logger = logging.getLogger("mtl_runner")
    logger.addHandler(caplog.handler)
    try:
        aggregator, rows = aggregation_of(name, 4), random_rows(4)
        for _ in range(3):
            direction, weights = aggregator(rows[:2], (0, 1))
        assert_near(direction, rows[:2].mean(0), 1e-6)
        assert_near(weights, torch.tensor([0.5, 0.5]), 1e-7)
        aggregator(rows, (0, 1, 2, 3))
    finally:
        logger.removeHandler(caplog.handler)
    warning = f"While 2 tasks are active, update.aggregator={name} takes the mean: it needs 3."
    assert caplog.messages.count(warning) >= 1
    assert set(caplog.messages) == {warning}


# What it refuses


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "upgrade",
            {},
            "update.aggregator='upgrade' is unknown; did you mean 'upgrad'? allowed: aligned_mtl, auxinash, ",
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
        (
            "excess_mtl",
            {"n_warmup_steps": 0},
            "update.options.n_warmup_steps must be a whole number of at least 1; found 0.",
        ),
        (
            "excess_mtl",
            {"n_warmup_steps": "many"},
            "update.options.n_warmup_steps must be a whole number of at least 1; found 'many'.",
        ),
        (
            "auxinash",
            {"preferences": {"a": 0}},
            "update.options.preferences must be positive for every task; found 0.",
        ),
        (
            "auxinash",
            {"preferences": {"x": 2}},
            "update.options.preferences",
        ),
        (
            "mgda",
            {"epsilon": 1e-3},
            "update.aggregator=mgda refuses its options ({'epsilon': 0.001}): ",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" not in value else "",
)
def test_what_is_wrong_is_named_at_the_start(
    name: str, options: Mapping[str, Any], words: str
) -> None:
    """Breaks if a mistake shows hours later, or as a traceback from TorchJD."""
    with pytest.raises(ConfigError) as error:
        aggregation_of(name, **options).check(torch.zeros(1))
    assert words in str(error.value)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("option", ["max_nrom", "update_weights_every"])
def test_an_option_that_our_nash_does_not_take_is_named(option: str, count: int) -> None:
    """Breaks if a misspelt option, or one of TorchJD's solver, is silently ignored."""
    with pytest.raises(
        ConfigError, match=rf"update\.aggregator=nash_mtl refuses its options .*'{option}'"
    ):
        aggregation_of("nash_mtl", count, **{option: 5})


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
    assert str(error.value).startswith("update.aggregator must be a name (aligned_mtl, auxinash, ")
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
        aggregation_of(name).check(torch.zeros(1))
    assert str(error.value) == (
        f"update.aggregator={name} needs {', '.join(NEEDS[name])}; "
        "install what is missing with: pip install 'mtl-runner[solvers]'."
    )


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].torchjd_class])
def test_without_torchjd_the_line_that_installs_it_is_given(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a missing optional package is a traceback."""
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ConfigError) as error:
        aggregation_of(name)
    assert str(error.value) == (
        f"update.aggregator={name} needs TorchJD; install it with: pip install 'mtl-runner[torchjd]'."
    )


@pytest.mark.parametrize("count", [2, 3])
def test_what_is_solved_here_needs_no_package(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a method that we solve ourselves asks for the solver that it does without."""
    monkeypatch.setitem(sys.modules, "torchjd", None)
    for name, options, length in (
        ("nash_mtl", {"max_norm": 0}, 1.0),
        ("auxinash", {"max_norm": 0}, 1.0),
        ("mgda", {}, 1 / count),
        ("db_mtl", {"beta": 0.0}, 1.0),
        ("moco", {"beta": 1.0}, 1 / count),
    ):
        aggregator = aggregation_of(name, count, **options)
        aggregator.check(torch.zeros(1))
        direction, _ = aggregator(torch.eye(count), tuple(range(count)))
        assert_near(direction, torch.full((count,), length), 1e-6)


# One step of one's own


def test_a_single_direction_needs_no_tasks() -> None:
    """Breaks if `aggregate` is not the aggregator of that name, or loses options and seed."""
    rows = random_rows(3)
    assert_same_bits(aggregate("mgda", rows), aggregation_of("mgda")(rows, (0, 1, 2))[0])
    assert_same_bits(
        aggregate("pcgrad", rows, seed=7), aggregation_of("pcgrad", seed=7)(rows, (0, 1, 2))[0]
    )
    assert_near(
        aggregate("constant", rows, weights={"task_2": 3.0}),
        torch.tensor([1.0, 1.0, 3.0]) @ rows,
        1e-6,
    )
    assert_same_bits(aggregate(lambda jacobian: jacobian[1], rows), rows[1])


# Shards


ENTRIES = ("config", "db_mtl", "excess_mtl", "graddrop", "moco", "trimmed_mean")


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ENTRIES])
def test_sums_over_parts_of_the_columns_are_enough(name: str) -> None:
    """Breaks if a method looks at more than the products of the rows, and is let in."""
    rows = random_rows(4)
    of_all, of_parts = aggregation_of(name, 4), aggregation_of(name, 4)
    of_parts.check_shards()
    left, right = rows[:, :3], rows[:, 3:]

    def add_right(sums: Tensor) -> Tensor:
        return sums + (right.to(sums) @ right.to(sums).T)

    direction, weights = of_all(rows, (0, 1, 2, 3))
    left_direction, left_weights = of_parts(left, (0, 1, 2, 3), add_right)
    assert_near(left_weights, weights, 1e-6)
    assert_near(left_direction, direction[:3], 1e-6)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_method_of_single_entries_refuses_parts(name: str) -> None:
    """Breaks if a process decides by the entries that it happens to have."""
    able = ", ".join(method for method in METHODS if method not in ENTRIES)
    with pytest.raises(ConfigError) as error:
        aggregation_of(name, 4).check_shards()
    assert (
        str(error.value)
        == f"update.aggregator={name} looks at single entries of whole gradients, of which trainer.parallel=fsdp gives each process a part; use {able}, or trainer.parallel=data."
    )
    user_defined = Aggregation(lambda rows: rows.sum(0), {}, tasks_of(2), seed=0)
    with pytest.raises(ConfigError, match="looks at single entries"):
        user_defined.check_shards()
