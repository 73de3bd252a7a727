"""The studies of the probe, and that what the package ships was fitted to them."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mtl_runner.study.probe.features import FEATURES
from mtl_runner.study.probe.model import TRAINED, trained
from tests.support.paths import ROOT
from tests.unit.scripts.script_modules import load_script


@pytest.fixture(scope="module")
def fit() -> ModuleType:
    """The script that fits."""
    return load_script("reproduce/probe_fit.py")


@pytest.fixture(scope="module")
def rows(fit: ModuleType) -> list[Any]:
    """The committed studies."""
    return list(fit.read_rows())


def test_the_committed_table_gives_the_committed_coefficients(
    fit: ModuleType, rows: list[Any]
) -> None:
    """Breaks if the table, a feature or the fit was changed, and what the package ships was not."""
    shipped = json.loads(TRAINED.read_text())
    penalties = {name: q["penalty"] for name, q in shipped["questions"].items()}
    again = fit.fit(rows, penalties)
    for part in ("mean", "scale", "low", "high"):
        assert again[part] == pytest.approx(shipped[part], rel=1e-4, abs=1e-6), part
    for name, question in shipped["questions"].items():
        fitted = again["questions"][name]
        assert fitted["studies"] == question["studies"]
        assert fitted["base_rate"] == pytest.approx(question["base_rate"], rel=1e-4)
        assert fitted["intercept"] == pytest.approx(question["intercept"], abs=1e-3)
        assert fitted["coefficients"] == pytest.approx(question["coefficients"], abs=1e-3)
    assert [study.name for study in trained().studies] == [row.problem for row in rows]


@pytest.mark.parametrize("question", ["weighting", "joint"])
def test_the_scores_of_the_site_are_those_of_the_fit(
    fit: ModuleType, rows: list[Any], question: str
) -> None:
    """Breaks if the page shows other Brier scores than a family that is left out gets."""
    penalty = {name: q.penalty for name, q in trained().questions.items()}
    pairs = fit.left_out(rows, question, lambda rest: fit.fit(rest, penalty))
    lines = (fit.TABLES / "probe.csv").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{question},all,"))
    _, _, count, yes, score, base, _ = line.split(",")
    assert len(pairs) == int(count)
    assert sum(y for _, _, y, _ in pairs) / len(pairs) == pytest.approx(float(yes), abs=6e-3)
    assert fit.brier((b, y) for _, _, y, b in pairs) == pytest.approx(float(base), abs=1e-3)
    # There each left-out family had a penalty that was chosen without it.
    assert fit.brier((p, y) for _, p, y, _ in pairs) == pytest.approx(float(score), abs=0.03)
    question_shipped = trained().questions[question]
    assert question_shipped.brier == pytest.approx(float(score), abs=1e-3)
    assert question_shipped.brier_base == pytest.approx(float(base), abs=1e-3)


def test_a_family_that_is_left_out_tells_nothing_of_itself(
    fit: ModuleType, rows: list[Any]
) -> None:
    """Breaks if the answers of the left-out problems move their own probabilities."""
    family = rows[0].family
    turned = [
        dataclasses.replace(row, answers={n: -v - 0.1 for n, v in row.answers.items()})
        if row.family == family
        else row
        for row in rows
    ]
    penalties = dict.fromkeys(fit.YES, 0.1)
    before, after = (
        {
            row.problem: probability
            for row, probability, _, _ in fit.left_out(
                some, "weighting", lambda rest: fit.fit(rest, penalties)
            )
            if row.family == family
        }
        for some in (rows, turned)
    )
    assert before == pytest.approx(after)


def test_the_answers_are_those_of_the_gains(fit: ModuleType, rows: list[Any]) -> None:
    """Breaks if the table's answer is not about the strategies whose gains it lists."""
    for row in rows:
        joint = {s: g for s, g in row.gains.items() if s != "single_task"}
        assert row.answers["weighting"] <= max([0.0, *joint.values()]) + 1e-4
        # A strategy that validation chose may be worse on test, but it is one of these.
        chosen = {round(g, 4) for g in (0.0, *joint.values())}
        assert round(row.answers["weighting"], 4) in chosen, row.problem
        if "joint" in row.answers:
            alone = row.gains["single_task"]
            assert row.answers["joint"] == pytest.approx(row.answers["weighting"] - alone, abs=2e-4)
    margin = -math.log(1 - fit.MARGIN)
    assert [row.label("weighting") for row in rows] == [
        row.answers["weighting"] > margin for row in rows
    ]
    assert set(rows[0].features) == set(FEATURES)


def test_the_problems_of_the_studies_are_of_several_families() -> None:
    """Breaks if two problems share a folder, or a page speaks of families that are not there."""
    places = load_script("reproduce/probe_places.py").places()
    assert len({place.name for place in places}) == len(places) >= 60
    assert {place.family for place in places} == {
        *("related", "tables", "digits", "text", "images", "toys", "physics")
    }
    # The first few are of all families.
    assert len({place.family for place in places[:7]}) == 7


def test_no_task_of_another_problem_is_a_feature() -> None:
    """Breaks if a table holds the answer among its features."""
    module = load_script("reproduce/probe_places.py")
    for place in module.places():
        files = [re.search(r"\{tables\}/(\w+)\.csv", option) for option in place.options]
        for match in filter(None, files):
            options = " ".join(place.options)
            for column in module.LABELS.get(match[1], ()):
                assert re.search(rf"\b{column}\b", options), (place.name, column)


def test_bundled_tables_have_the_columns_of_their_problems(tmp_path: Path) -> None:
    """Breaks if the collection ends at the first table, hours after it began."""
    module = load_script("reproduce/probe_places.py")
    load_script("reproduce/probe_tables.py").write_tables(tmp_path, ROOT / "no_such_folder")
    found = 0
    for place in module.places():
        if not module.has_table(place, tmp_path) or "data=table" not in place.options:
            continue
        (path,) = (o for o in place.options if o.startswith("data.path="))
        header = (tmp_path / path.rpartition("/")[2]).read_text().partition("\n")[0].split(",")
        (targets,) = (o for o in place.options if o.startswith("data.targets="))
        assert set(re.findall(r"(\w+):", targets)) <= set(header), place.name
        found += 1
    assert found >= 6
