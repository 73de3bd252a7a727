"""The page of a report: its order, and that nothing in it is foreign or dangerous."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mtl_runner.results.records.dataset import Records
from mtl_runner.results.report.page_view import PageView
from tests.support.paths import ROOT
from tests.unit.results.report.parsed_page import Page, report
from tests.unit.results.run_builders import write_run, write_study, write_trained_run

HOSTILE = "</script><script>alert(1)</script>\u2028<img src=x onerror=alert(2)>"


def test_the_page_answers_in_the_order_of_a_readers_questions(page: Page) -> None:
    """Breaks if the verdict is not first, or a part is missing."""
    names = [attributes["id"] for tag, attributes in page.elements if tag == "h2"]
    parts = [
        "verdict",
        "strategies-0",
        "curves-0",
        "weights-0",
        "sigmas-0",
        "rates-0",
        "front-0",
        "differences",
        "runs",
    ]
    assert names == parts
    assert "hurts" in page.words or "undecided" in page.words or "no difference" in page.words


def test_a_section_shows_what_its_runs_recorded(tmp_path: Path) -> None:
    """Breaks if a heading stands over nothing: no curves, one learning rate, three tasks."""
    tasks = {task: {"rmse": 1.0, "loss": 1.0} for task in "abc"}
    write_run(tmp_path, "0", tasks)
    (section,) = PageView.of(Records.read([tmp_path]), tmp_path).sections
    assert section.parts == []
    assert section.spreads == []


def test_the_table_of_the_test_split_needs_numbers_there(tmp_path: Path) -> None:
    """Breaks if runs without a test split get an empty table, or those with one get none."""
    write_trained_run(tmp_path / "0")
    (section,) = PageView.of(Records.read([tmp_path]), tmp_path).sections
    assert section.test is not None
    summary = tmp_path / "0" / "summary.json"
    summary.write_text(summary.read_text().replace('"test"', '"holdout"'))
    (section,) = PageView.of(Records.read([tmp_path]), tmp_path).sections
    assert section.test is None


def test_many_runs_are_folded_away_and_data_sets_are_named(tmp_path: Path) -> None:
    """Breaks if a long table of runs pushes everything else off the page."""
    for i in range(31):
        write_run(tmp_path / "one", str(i), {"a": {"rmse": 1.0}}, seed=i)
    view = PageView.of(Records.read([tmp_path / "one"]), tmp_path)
    assert (view.folds_runs, view.several_datasets) == (True, False)
    for i, name in enumerate("de"):
        write_run(
            tmp_path / "two",
            str(i),
            {"a": {"rmse": 1.0}},
            overrides={"data": name},
            choices={"data": name},
        )
    view = PageView.of(Records.read([tmp_path / "two"]), tmp_path)
    assert (view.folds_runs, view.several_datasets) == (False, True)


def test_nothing_is_asked_of_a_network(trained_sweep: Path) -> None:
    """Breaks if a page that is opened on a train, or holds a secret, asks a server for anything."""
    page = report(trained_sweep)
    assert "http://" not in page.source
    assert "https://" not in page.source
    assert not [
        attributes
        for tag, attributes in page.elements
        if "src" in attributes or tag in ("iframe", "object", "embed", "base")
    ]
    assert [a["href"] for a in page.attributes("link")] == ["data:,"]
    assert not re.search(r"url\((?!#)", page.source)  # but of a part of the page itself
    (policy,) = [
        a["content"]
        for a in page.attributes("meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def report_of_names(root: Path, name: str) -> Page:
    """Return a report in which every text that comes from a file is the name."""
    tasks = {name: "regression", "y2": "regression"}
    folder = root / name.replace("/", "_")
    write_trained_run(root / "0", name, 0, tasks=tasks)
    write_trained_run(root / "1", "fixed", 0, tasks=tasks, note=name)
    write_trained_run(folder, "fixed", 1, tasks=tasks, status="failed", reason=name)
    for file in root.glob("*/summary.json"):
        summary = json.loads(file.read_text())
        summary["choices"]["data"] = summary["monitor"]["name"] = summary["device"] = name
        summary["versions"] = {name: f"{name} of {file.parent.name}"}
        file.write_text(json.dumps(summary))
    job = {"strategy": name, "role": "strategy"}
    write_study(root, {"0": job, "1": {"strategy": name + "2", "role": "equal"}}, notes=[name])
    return report(root)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Breaks if a run directory from elsewhere can run a script in the reader's browser."""
    plain = report_of_names(tmp_path / "plain", "plain")
    hostile = report_of_names(tmp_path / "hostile", HOSTILE)
    kinds = [(tag, sorted(attributes)) for tag, attributes in plain.elements]
    assert [(tag, sorted(attributes)) for tag, attributes in hostile.elements] == kinds
    assert HOSTILE in "".join(data for _, data in hostile.texts)
    assert any(row["name"].startswith(HOSTILE) for row in hostile.figures[0]["strategies"])


def test_the_templates_escape_and_nothing_else_does() -> None:
    """Breaks if the code escapes by hand: what is escaped by hand is forgotten in one place."""
    room = ROOT / "mtl_runner" / "results" / "report"
    files = [file for file in room.rglob("*") if file.suffix in (".py", ".html")]
    assert len(files) > 10
    assert not [file.name for file in files if "escape(" in file.read_text()]
    source = "".join(file.read_text() for file in files)
    assert sorted(re.findall(r"(\w+) \| safe", source)) == [
        "figures",
        "run_options",
        "script",
        "style",
    ]
    assert source.count("safe }}") == 4
