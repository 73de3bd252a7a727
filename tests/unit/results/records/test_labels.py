"""Labels: what varies between runs makes the name, seeds and folds aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtl_runner.results.records.labels import Label, label_runs, settings_of
from mtl_runner.results.records.run import Run
from mtl_runner.results.records.summary import Summary


def run(weighting: str = "fixed", seed: int | None = None, **overrides: Any) -> Run:
    """Return a run with these options; ``__`` stands for the dots of their keys."""
    typed = {key.replace("__", "."): str(value) for key, value in overrides.items()}
    if seed is not None:
        typed["seed"] = str(seed)
    choices = {"weighting": weighting, "data": typed.get("data", "toy")}
    return Run(Path("x"), "finished", "", choices, typed, Summary(seed=seed))


def strategies(*runs: Run) -> list[str]:
    """Return the names of the runs' strategies."""
    return [label.strategy for label in label_runs(runs)]


def test_what_is_the_same_in_all_runs_is_no_part_of_a_name() -> None:
    """Breaks if every name repeats the options that the whole sweep shares."""
    runs = [run("fixed", optimizer__lr=0.1), run("dwa", optimizer__lr=0.1)]
    assert strategies(*runs) == ["fixed", "dwa"]


def test_a_loop_of_the_users_own_says_nothing_of_keys_that_it_does_not_name() -> None:
    """Breaks if options of mtl-run make two strategies of one, or a foreign one gets a default."""
    ours = [run("dwa", trainer__epochs=3), run("fixed", trainer__epochs=3)]
    choices = {"weighting": "dwa in a loop", "data": "toy"}
    foreign = [
        Run(Path(lr), "finished", "", choices, {"optimizer.lr": lr}, Summary(own_loop=True))
        for lr in ("0.1", "0.2")
    ]
    assert strategies(*ours, *foreign[:1]) == ["dwa", "fixed", "dwa in a loop"]
    assert strategies(*foreign) == ["dwa in a loop, lr=0.1", "dwa in a loop, lr=0.2"]


def test_what_varies_makes_the_name() -> None:
    """Breaks if two settings of one weighting are pooled."""
    runs = [run("dwa", optimizer__lr=0.1), run("dwa", optimizer__lr=0.01), run("dwa")]
    assert strategies(*runs) == ["dwa, lr=0.1", "dwa, lr=0.01", "dwa, lr=default"]


def test_keys_are_short_where_their_ends_are_clear() -> None:
    """Breaks if two keys that end alike cannot be told apart, or each is spelt out."""
    first = run("dwa", a__lr=1, b__lr=1, weighting__window=2)
    second = run("dwa", a__lr=2, b__lr=3, weighting__window=3)
    assert strategies(first, second) == [
        "dwa, a.lr=1, b.lr=1, window=2",
        "dwa, a.lr=2, b.lr=3, window=3",
    ]


def test_an_option_that_a_method_never_set_is_no_part_of_its_name() -> None:
    """Breaks if merged sweeps name every strategy after the options of all others."""
    runs = [
        run("imtl_l"),
        run("fixed", weighting__weights__a=1),
        run("fixed", weighting__weights__a=2),
        run("uncertainty", optimizer__lr=0.1, weighting__lr=0.025),
        run("dwa", optimizer__lr=0.1),
        run("dwa"),
    ]
    assert strategies(*runs) == [
        "imtl_l",
        "fixed, a=1",
        "fixed, a=2",
        "uncertainty, optimizer.lr=0.1, weighting.lr=0.025",
        "dwa, optimizer.lr=0.1",
        "dwa, optimizer.lr=default",
    ]


def test_one_weighting_under_two_updates_is_two_methods() -> None:
    """Breaks if an option of one update rule stands as a default in the name of the other."""
    runs = [run("dwa", update="joint"), run("dwa", update="per_task", update__clip=1)]
    runs.append(run("dwa", update="per_task", update__clip=2))
    assert strategies(*runs) == ["dwa, joint", "dwa, per_task, clip=1", "dwa, per_task, clip=2"]


def test_a_config_group_is_named_by_its_option_alone() -> None:
    """Breaks if an update rule is called `update=per_task` beside `dwa`."""
    assert strategies(run("dwa", update="joint"), run("dwa", update="per_task")) == [
        "dwa, joint",
        "dwa, per_task",
    ]


def test_seeds_and_folds_are_replicates() -> None:
    """Breaks if each seed is a strategy, or two folds are the same sample."""
    runs = [
        run(seed=seed, data__split="{fold: " + str(fold) + ", folds: 5}")
        for seed in (0, 1)
        for fold in (0, 1)
    ]
    assert label_runs(runs) == [
        Label("toy", "fixed", f"fold={fold}, seed={seed}") for seed in (0, 1) for fold in (0, 1)
    ]


def test_a_seed_that_nobody_typed_is_that_of_the_summary() -> None:
    """Breaks if a run with the default seed is taken for the same seed as all others."""
    default = Run(Path("x"), "finished", "", {"weighting": "fixed"}, {}, Summary(seed=0))
    assert [label.replicate for label in label_runs([default, run(seed=1)])] == ["seed=0", "seed=1"]


def test_settings_of_the_data_name_the_data_set() -> None:
    """Breaks if runs on more rows are a strategy, and compared with those on fewer."""
    labels = label_runs([run(data__rows=100), run(data__rows=200), run(data="digits")])
    assert [label.data for label in labels] == [
        "toy, rows=100",
        "toy, rows=200",
        "digits, rows=default",
    ]
    assert len({label.strategy for label in labels}) == 1


def test_the_batch_size_is_a_setting_of_the_training() -> None:
    """Breaks if runs with different batches are never compared, as if their data differed."""
    labels = label_runs([run(data__batch_size=8), run(data__batch_size=64)])
    assert [label.data for label in labels] == ["toy", "toy"]
    assert [label.strategy for label in labels] == ["fixed, batch_size=8", "fixed, batch_size=64"]


def test_where_a_run_was_recorded_is_no_strategy() -> None:
    """Breaks if runs with other pictures or another name are compared as strategies."""
    runs = [run(record__plots="none", name="x"), run(debug="true", hydra__verbose="true")]
    assert strategies(*runs) == ["fixed", "fixed"]


def test_when_a_run_is_given_up_is_no_strategy() -> None:
    """Breaks if each batch of a search is a strategy of its own, or fresh seeds are another one."""
    limited = run(**{"optimizer.lr": "0.1", "trainer.give_up": "{5:0.9}"})
    assert strategies(limited, run(**{"optimizer.lr": "0.1"})) == ["fixed", "fixed"]


def test_how_a_run_was_computed_is_no_strategy_and_no_data() -> None:
    """Breaks if a sweep on another device, or with loader workers, is not compared with ours."""
    computed = {"trainer__device": "cpu", "trainer__threads": 1, "data__loader__workers": 2}
    runs = [run("dwa", seed=0), run("dwa", seed=1, data__cache="c", **computed)]
    assert label_runs(runs) == [Label("toy", "dwa", f"seed={seed}") for seed in (0, 1)]
    assert settings_of(runs)[1]["trainer.device"] == "cpu"  # a difference of two runs all the same


def test_a_group_that_other_runs_override_counts_by_its_choice() -> None:
    """Breaks if the default option of a group is called `default` beside those by name."""
    default = Run(Path("x"), "finished", "", {"weighting": "fixed", "update": "joint"}, {})
    typed = Run(
        Path("y"),
        "finished",
        "",
        {"weighting": "fixed", "update": "per_task"},
        {"update": "per_task"},
    )
    assert strategies(default, typed) == ["fixed, joint", "fixed, per_task"]
    assert settings_of([default, typed])[0] == {"update": "joint"}
    assert settings_of([default]) == [{}]


def test_a_run_that_was_killed_early_has_the_data_of_the_others() -> None:
    """Breaks if a run that recorded no choices is a data set of its own."""
    killed = Run(Path("x"), "incomplete", "", {}, {"weighting": "dwa", "seed": "0"})
    labels = label_runs([killed, run("fixed", seed=1)])
    assert [(label.data, label.strategy) for label in labels] == [("toy", "dwa"), ("toy", "fixed")]
    assert label_runs([killed])[0].data == "data"
