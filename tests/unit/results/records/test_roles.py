"""The role of each run: read from the study that made it, or inferred from its options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl_runner.files import write_json
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.records.labels import label_runs
from mtl_runner.results.records.roles import (
    assign_roles,
    infer_role,
    read_study,
    short_names,
    without_study,
)
from mtl_runner.results.records.run import Run, find_runs
from tests.unit.results.evidence_builders import dataset_in, evidence_in
from tests.unit.results.run_builders import METRICS, write_run, write_study


@pytest.mark.parametrize(
    ("choices", "overrides", "role"),
    [
        ({"weighting": "single_task"}, {}, "single_task"),
        ({"weighting": "fixed"}, {}, "equal"),
        ({"weighting": "fixed"}, {"weighting.weights.a": "2"}, "fixed"),
        ({"weighting": "fixed"}, {"weighting.weights": "auto"}, "fixed"),
        ({"weighting": "fixed"}, {"optimizer.lr": "0.1"}, "equal"),
        ({"weighting": "per_task_adam"}, {}, "strategy"),
        ({"weighting": "uncertainty"}, {}, "strategy"),
        ({}, {}, "strategy"),
    ],
)
def test_roles_are_read_off_the_options(
    choices: dict[str, str], overrides: dict[str, str], role: str
) -> None:
    """Breaks if an ordinary sweep has no baseline, or a strategy passes for one."""
    assert infer_role(Run(Path("x"), "finished", "", choices, overrides)) == role


def test_equal_weights_under_another_update_are_a_strategy(tmp_path: Path) -> None:
    """Breaks if `weighting=fixed update=per_task` becomes the baseline of a sweep over updates."""
    write_run(tmp_path, "0", METRICS)
    write_run(
        tmp_path, "1", METRICS, choices={"update": "per_task"}, overrides={"update": "per_task"}
    )
    assert [s.role for s in dataset_in(tmp_path).strategies] == ["equal", "strategy"]


def test_a_choice_that_all_runs_share_makes_no_strategy(tmp_path: Path) -> None:
    """Breaks if a sweep that trains everything with homoscedastic noise has no equal weights."""
    for i, weighting in enumerate(("fixed", "dwa")):
        write_run(
            tmp_path, str(i), METRICS, weighting=weighting, choices={"likelihood": "homoscedastic"}
        )
    assert [s.role for s in dataset_in(tmp_path).strategies] == ["equal", "strategy"]


def test_a_study_that_was_copied_is_still_one(tmp_path: Path) -> None:
    """Breaks if study.json names runs by a path, or a namesake elsewhere takes a role from it."""
    write_run(tmp_path / "x", "0", METRICS, weighting="dwa")
    write_study(tmp_path / "x", {"0": {"strategy": "tuned"}})
    write_run(tmp_path / "plain", "0", METRICS, seed=1)
    (tmp_path / "x").rename(tmp_path / "moved")
    data = dataset_in(tmp_path / "moved", tmp_path / "plain")
    assert [(s.name, s.role) for s in data.strategies] == [
        ("tuned", "strategy"),
        ("fixed", "equal"),
    ]


def test_what_a_smaller_study_left_is_no_part_of_the_larger_one(tmp_path: Path) -> None:
    """Breaks if twins at other weights are compared, or later runs change the order of rows."""
    for name, weighting in (("0", "fixed"), ("1", "uncertainty"), ("2", "fixed"), ("3", "dwa")):
        write_run(tmp_path / "x", name, METRICS, weighting=weighting)
    write_run(tmp_path / "plain", "9", METRICS, weighting="famo")
    jobs = {name: {"strategy": strategy} for name, strategy in (("0", "a"), ("3", "c"), ("1", "b"))}
    write_study(tmp_path / "x", jobs)
    content = json.loads((tmp_path / "x" / "study.json").read_text())
    write_json(tmp_path / "x" / "study.json", {**content, "unused": ["1", "2", "9"]})
    records = Records.read([tmp_path / "x", tmp_path / "plain"])
    assert [role.run.directory.name for role in records.roles] == ["0", "3", "1", "9"]


def test_a_like_named_run_of_another_folder_takes_no_role(tmp_path: Path) -> None:
    """Breaks if a run is looked up in a study by its folder's name alone."""
    write_run(tmp_path / "study", "0", METRICS, weighting="dwa")
    write_study(tmp_path / "study", {"0": {"strategy": "tuned", "final": False}})
    write_run(tmp_path / "plain", "0", METRICS, weighting="dwa", seed=1)
    runs = find_runs([tmp_path])
    assert sorted(
        (role.strategy, role.final)
        for role in assign_roles(runs, label_runs(runs), read_study(runs))
    ) == [
        ("dwa", True),
        ("tuned", False),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", '{"jobs": 3}', '{"version": 1}', '{"jobs": {"0": {"role": "equal"}}}'),
        *('{"version": 2, "jobs": {}}', '{"version": "1", "jobs": {}}'),
    ],
)
def test_a_broken_study_is_no_study(tmp_path: Path, text: str) -> None:
    """Breaks if a half-written study.json stops the comparison, or is not spoken of."""
    write_run(tmp_path, "0", METRICS)
    (tmp_path / "study.json").write_text(text)
    assert not read_study(find_runs([tmp_path]))
    assert dataset_in(tmp_path).strategies[0].role == "equal"
    assert Records.read([tmp_path]).datasets[0].notes == (
        "study.json is missing or not readable: tuning runs cannot be told from final ones.",
    )


def test_several_studies_are_judged_apart(tmp_path: Path) -> None:
    """Breaks if two studies with the same names, seeds or folders are pooled into one."""
    for place, margin, rmse in (("x/fair", 0.1, 1.0), ("y/fair", 0.05, 3.0)):
        folder = tmp_path / place
        for name, weighting in (("0", "fixed"), ("1", "dwa")):
            write_run(
                folder, name, {**METRICS, "a": {**METRICS["a"], "rmse": rmse}}, weighting=weighting
            )
        write_run(folder, "2", {"a": METRICS["a"]}, overrides={"data.tasks": "[a]"})
        roles = {"0": {"strategy": "equal", "role": "equal"}, "1": {"strategy": "dwa"}}
        write_study(
            folder, roles | {"2": {"strategy": "single_task", "role": "single_task"}}, margin=margin
        )
    evidence = evidence_in(tmp_path)
    common = "d, tasks=default"
    sets = sorted(evidence.datasets, key=lambda data: data.name)
    assert [(data.name, data.margin) for data in sets] == [
        (f"{common} (x/fair)", 0.1),
        (f"{common} (y/fair)", 0.05),
    ]
    for data, rmse in zip(sets, (1.0, 3.0), strict=True):
        assert [s.name for s in data.strategies] == ["equal", "dwa", "single_task"]
        equal = data.equal_for(data.by_name["dwa"])
        assert equal is not None
        assert [values["a"]["rmse"] for values in equal.values.values()] == [rmse]


def test_options_of_one_study_are_no_part_of_anothers_name(tmp_path: Path) -> None:
    """Breaks if a study is called by every data option in which another one differs from it."""
    for name, overrides in (("x", {"data.path": "/a.csv"}), ("y", {})):
        write_run(tmp_path / name, "0", METRICS, overrides=overrides)
        write_study(tmp_path / name, {"0": {"strategy": "equal", "role": "equal"}})
    assert sorted(data.name for data in evidence_in(tmp_path).datasets) == ["d (x)", "d (y)"]


def test_folders_are_named_by_as_much_as_tells_them_apart() -> None:
    """Breaks if two studies get one name, or a long path where a word would do."""
    assert short_names(["/a/b", "/a/c"]) == {"/a/b": "b", "/a/c": "c"}
    assert short_names(["/x/c", "/y/c"]) == {"/x/c": "x/c", "/y/c": "y/c"}
    assert short_names(["/a"]) == {"/a": "a"}
    assert short_names([]) == {}


@pytest.mark.parametrize(
    "record",
    [
        "hydra:\n  sweeper:\n    _target_: hydra_plugins.mtl_runner.FairSweeper\n",
        "hydra:\n  sweeper:\n    _target_: hydra_plugins.mtl_runner.OptunaSearchSweeper\n",
        "- +study=fair\n",
        "- +search=optuna\n",
        "hydra:\n  sweeper:\n    _target_: hydra_plugins.mtl_runner.WeightingProbeSweeper\n",
        None,
    ],
)
def test_a_study_whose_file_is_lost_is_known_by_hydras_record(
    tmp_path: Path, record: str | None
) -> None:
    """Breaks if the runs of a study whose study.json was not copied pass for an ordinary sweep."""
    write_run(tmp_path, "0", METRICS)
    if record is not None:
        (tmp_path / "multirun.yaml").write_text(record)
    assert without_study(find_runs([tmp_path])) == ([tmp_path.resolve()] if record else [])
    write_study(tmp_path, {})
    assert without_study(find_runs([tmp_path])) == []


def test_the_runs_of_other_levels_count_for_another_data_set(tmp_path: Path) -> None:
    """Breaks if runs of two optimizers are paired, or a single-task run loses its optimizer."""
    roles = {"equal": "equal", "alone": "single_task"}
    jobs = {}
    for optimizer in ("adam", "sgd"):
        for name, role in roles.items():
            run = f"{optimizer}_{name}"
            data = {"choices": {"data": "x"}} if role == "single_task" else {}
            write_run(tmp_path, run, METRICS, **data)
            jobs[run] = {"strategy": name, "role": role, "factors": {"optimizer": optimizer}}
    write_study(tmp_path, jobs)
    records = Records.read([tmp_path])
    assert [data.name for data in records.datasets] == ["d, optimizer=adam", "d, optimizer=sgd"]
    assert [[s.name for s in data.strategies] for data in records.datasets] == [
        ["equal", "alone"]
    ] * 2
    assert [(data.problem, data.factors) for data in records.datasets] == [
        ("d", (("optimizer", "adam"),)),
        ("d", (("optimizer", "sgd"),)),
    ]


@pytest.mark.parametrize("factors", [[1], {"optimizer": 3}, "adam"])
def test_a_study_whose_factors_are_none_is_not_readable(tmp_path: Path, factors: object) -> None:
    """Breaks if a damaged study.json ends in an error of Python."""
    write_run(tmp_path, "0", METRICS)
    write_study(tmp_path, {"0": {"factors": factors}})
    assert not read_study(find_runs([tmp_path]))
