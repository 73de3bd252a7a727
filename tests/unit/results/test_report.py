"""The report as a file: what it holds, that nothing in it is foreign or dangerous, and that odd runs do not break it."""

from __future__ import annotations

import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.command import main as compare
from mtl_runner.results.report import embedded_json, write_report
from mtl_runner.results.report_curves import averaged, read_curves, thinned
from mtl_runner.results.style import COLOURS
from tests.support.builders import QUICK
from tests.support.paths import ROOT
from tests.unit.results.made_runs import make_run

HOSTILE = "</script><script>alert(1)</script>\u2028<img src=x onerror=alert(2)>"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """The elements of a page; fails where one is not closed as HTML wants it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def figures(self) -> list[dict[str, Any]]:
        (text,) = (data for tag, data in self.texts if tag == "script" and data.startswith("["))
        found: list[dict[str, Any]] = json.loads(text)
        return found

    @property
    def words(self) -> str:
        return " ".join(
            " ".join(data for tag, data in self.texts if tag not in ("script", "style")).split()
        )


def report(*folders: Path) -> Page:
    return Page(write_report(folders, folders[0] / "report.html").read_text())


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three strategies with three seeds at two learning rates; one setting diverged, one run was killed, one cut off."""
    root = tmp_path_factory.mktemp("reports") / "sweep"
    number = 0
    for weighting, worth in (("fixed", 1.0), ("uncertainty", 0.8), ("famo", 1.3)):
        for rate in ("0.001", "0.01"):
            for seed in range(3):
                failed = (
                    {"status": "failed", "reason": "the loss of 'y1' is NaN"}
                    if (weighting, rate) == ("famo", "0.01")
                    else {}
                )
                folder = root / f"{number}_made_{weighting}"
                make_run(folder, weighting, seed, worth=worth, optimizer__lr=rate, **failed)
                number += 1
    make_run(root / f"{number}_killed", "fixed", 7, status="killed", optimizer__lr="0.001")
    make_run(root / f"{number + 1}_cut", "fixed", 8, status="cut off", optimizer__lr="0.001")
    return root


@pytest.fixture(scope="module")
def page(sweep: Path) -> Page:
    return report(sweep)


# Content


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


def test_the_table_holds_every_strategy_and_marks_the_best(page: Page, sweep: Path) -> None:
    """Breaks if a strategy is missing, or the best of a column is not the least error."""
    names = [
        data.strip()
        for tag, data in page.texts
        if tag == "span" and re.fullmatch(r"\w+, lr=0\.\d+", data.strip())
    ]
    expected = {f"{w}, lr={r}" for w in ("fixed", "uncertainty", "famo") for r in ("0.001", "0.01")}
    assert expected <= set(names)
    text = (sweep / "report.html").read_text()
    bold = re.findall(r'<td class="num best" data-value="([^"]+)"><strong>', text)
    cells = re.findall(r'<td class="num[^"]*" data-value="([^"]+)"><?', text)
    assert bold
    assert set(bold) <= set(cells)


def test_a_cost_has_no_best_value(sweep: Path, page: Page) -> None:
    """Breaks if the time of a run, which a stack's size decides, is marked as a merit; or if backward passes are not shown."""
    text = (sweep / "report.html").read_text()
    table = text.split('class="sortable strategies"')[1].split("</table>")[0]
    assert "s per run" in table
    last = [row.rsplit("<td", 1)[1] for row in table.split("</tr>")[1:-1]]
    assert last
    assert not any("best" in cell for cell in last)
    assert "Runs of one stack share its time." in page.words


def test_backward_passes_are_shown_where_they_differ(tmp_path: Path) -> None:
    """Breaks if a method that costs a backward pass per task looks as cheap as one that costs one."""
    for name, passes in (("fixed", 1), ("famo", 2)):
        summary = make_run(tmp_path / name, name) / "summary.json"
        values = json.loads(summary.read_text())
        summary.write_text(
            json.dumps(values | {"time": {"seconds": 1.0, "backward_passes": passes}})
        )
    assert "backward passes / step" in report(tmp_path).words


def test_failures_are_listed_with_their_reasons(page: Page) -> None:
    """Breaks if a failed, killed or cut run vanishes without a word."""
    assert "5 of 20 runs did not finish" in page.words
    for reason in (
        "the loss of 'y1' is NaN",
        "killed before it began to train",
        "killed, or still running",
    ):
        assert reason in page.words


def test_what_differs_names_options_that_vary_and_no_other(page: Page) -> None:
    """Breaks if a reader cannot see in what the runs differ, or drowns in what is the same."""
    after = page.words.split("What differs")[1].split("Runs")[0]
    assert {"optimizer.lr", "seed", "weighting"} <= set(after.split())
    assert "torch" not in after


def test_every_run_has_a_link_that_works_also_in_a_copy(sweep: Path, tmp_path: Path) -> None:
    """Breaks if a report that is sent around with its sweep points to the machine it was made on."""
    report(sweep)
    copy = tmp_path / "somewhere else" / "a copy"
    shutil.copytree(sweep, copy)
    shutil.rmtree(copy / "0_made_fixed")  # the links of the others do not depend on it
    links = {str(a["href"]) for a in Page((copy / "report.html").read_text()).attributes("a")}
    assert len(links) == 20
    assert not any(link.startswith(("/", "file:")) for link in links)
    assert sum((copy / unquote(link)).is_dir() for link in links) == 19


def test_a_run_elsewhere_is_linked_relative_to_the_report(tmp_path: Path) -> None:
    """Breaks if `mtl-compare a b --output c` writes links that lead nowhere."""
    folders = [make_run(tmp_path / "a" / "x y#1"), make_run(tmp_path / "b" / "z%?", "dwa")]
    output = write_report(folders, tmp_path / "deep" / "er" / "report.html")
    links = {str(a["href"]) for a in Page(output.read_text()).attributes("a")}
    assert {(output.parent / unquote(urlsplit(link).path)).resolve() for link in links} == {
        f.resolve() for f in folders
    }


def test_a_study_shows_its_final_runs_and_draws_rates_from_the_tuning(tmp_path: Path) -> None:
    """Breaks if runs that only chose a learning rate count as evidence in the table."""
    jobs = {}
    for name in ("fixed", "uncertainty"):
        for i, rate in enumerate((0.001, 0.003, 0.01)):
            make_run(tmp_path / f"tune_{name}_{i}", name, 0, optimizer__lr=rate, worth=1 + i / 10)
            jobs[f"tune_{name}_{i}"] = {
                "phase": 2,
                "strategy": name,
                "role": "strategy",
                "of": "",
                "final": False,
            }
        for seed in range(2):
            make_run(tmp_path / f"final_{name}_{seed}", name, 10 + seed, optimizer__lr=0.001)
            role = "equal" if name == "fixed" else "strategy"
            jobs[f"final_{name}_{seed}"] = {
                "phase": 4,
                "strategy": name,
                "role": role,
                "of": "",
                "final": True,
            }
    study = {"version": 1, "margin": 0.02, "notes": ["All trials of x failed."], "jobs": jobs}
    (tmp_path / "study.json").write_text(json.dumps(study))
    page = report(tmp_path)
    (figures,) = page.figures
    assert (
        "Test split, last epoch, 2 paired seeds; a difference below 2 % counts as none."
        in page.words
    )
    assert "Validation, which chose all settings; the verdict is on test. Final epoch" in page.words
    assert "All trials of x failed." in page.words
    assert [(s["name"], s["seeds"]) for s in figures["strategies"]] == [
        ("fixed", 2),
        ("uncertainty", 2),
    ]
    assert [rates["x"] for rates in figures["rates"]] == [[0.001, 0.003, 0.01]] * 2
    assert [rates["colour"] for rates in figures["rates"]] == [
        s["colour"] for s in figures["strategies"]
    ]


def test_a_strategys_colour_does_not_depend_on_its_numbers(page: Page) -> None:
    """Breaks if `dwa` at one learning rate has another colour than at the next, or shares it with another method."""
    colours: dict[str, set[int]] = {}
    for row in page.figures[0]["strategies"]:
        colours.setdefault(row["name"].split(",")[0], set()).add(row["colour"])
    assert all(len(found) == 1 for found in colours.values())
    assert len({colour for found in colours.values() for colour in found}) == 3


def test_the_plane_of_two_tasks_shows_how_sure_a_mean_is(page: Page) -> None:
    """Breaks if a front of means is drawn as if it were exact: every mean has its cloud of resampled ones, around its seeds."""
    points = page.figures[0]["front"]["points"]
    assert len(points) >= 4
    for point in points:
        assert 1 < len(point["cloud"]) <= 60
        for axis in (0, 1):
            seeds = [seed[axis] for seed in point["seeds"] if seed[axis] is not None]
            assert all(
                min(seeds) - 1e-3 <= mean[axis] <= max(seeds) + 1e-3 for mean in point["cloud"]
            )


def test_a_study_shows_how_far_learning_rates_and_seeds_move_a_result(tmp_path: Path) -> None:
    """Breaks if a reader cannot hold a difference against what a sparse learning-rate grid would have done."""
    jobs: dict[str, Any] = {}
    for i in range(6):
        make_run(
            tmp_path / f"tune_{i}", "fixed", 0, optimizer__lr=10 ** (i / 2 - 4), worth=1 + i / 10
        )
        jobs[f"tune_{i}"] = {
            "phase": 1,
            "strategy": "equal",
            "role": "equal",
            "final": False,
            "lr": 10 ** (i / 2 - 4),
        }
    for seed in range(3):
        make_run(tmp_path / f"final_{seed}", "fixed", 10 + seed, optimizer__lr=1e-4)
        jobs[f"final_{seed}"] = {
            "phase": 4,
            "strategy": "equal",
            "role": "equal",
            "final": True,
            "lr": 1e-4,
        }
    (tmp_path / "study.json").write_text(json.dumps({"version": 1, "margin": 0.02, "jobs": jobs}))
    report(tmp_path)
    table = (
        (tmp_path / "report.html").read_text().split('aria-label="Spreads"')[1].split("</table>")[0]
    )
    numbers = [float(value) for value in re.findall(r'data-value="([^"]+)"', table)]
    assert len(numbers) == 2
    assert all(value > 0 for value in numbers)


def made_study(tmp_path: Path, extra: int = 0) -> Path:
    """Equal weights, dwa with its twin, nine fixed weights and further methods."""
    jobs: dict[str, Any] = {}
    strategies = [("equal", "equal", ""), ("dwa", "strategy", ""), ("dwa frozen", "twin", "dwa")]
    strategies += [(f"fixed y1={i}.5 y2=1", "fixed", "") for i in range(9)]
    strategies += [(f"method{i}", "strategy", "") for i in range(extra)]
    for i, (name, role, of) in enumerate(strategies):
        make_run(
            tmp_path / str(i), "dwa" if role == "strategy" else "fixed", 1, worth=1.0 - i / 100
        )
        jobs[str(i)] = {"phase": 4, "strategy": name, "role": role, "of": of, "final": True}
    (tmp_path / "study.json").write_text(json.dumps({"version": 1, "margin": 0.02, "jobs": jobs}))
    return tmp_path


def test_fixed_weights_are_one_family_and_a_twin_has_its_methods_colour(tmp_path: Path) -> None:
    """Breaks if a fixed-weight sweep takes all colours and curves, so that the methods are not drawn."""
    rows = {row["name"]: row for row in report(made_study(tmp_path)).figures[0]["strategies"]}
    assert len({row["colour"] for name, row in rows.items() if name.startswith("fixed")}) == 1
    assert rows["dwa"]["colour"] == rows["dwa frozen"]["colour"] != rows["equal"]["colour"]
    drawn = [name for name, row in rows.items() if row["drawn"]]
    assert drawn[:2] == ["equal", "dwa"]
    assert len(drawn) == 3


def test_a_long_table_shows_of_a_sweep_over_fixed_weights_only_the_best(tmp_path: Path) -> None:
    """Breaks if a reader has to look for the methods among dozens of fixed weights."""
    report(made_study(tmp_path, extra=7))
    table = (
        (tmp_path / "report.html")
        .read_text()
        .split('class="sortable strategies"')[1]
        .split("</table>")[0]
    )
    rows = table.split("<tr")[2:]
    assert len(rows) == 19
    assert [("fixed y1" in row, 'class="more minor"' in row) for row in rows].count(
        (True, True)
    ) == 8
    assert sum('class="more' in row for row in rows) == 8


def test_the_colours_are_those_of_the_other_pictures() -> None:
    """Breaks if the page and comparison.png disagree about colours that the colour-blind can tell apart."""
    style = (ROOT / "mtl_runner" / "results" / "page" / "style.css").read_text()
    assert re.findall(r"--c\d: (#\w{6})", style)[: len(COLOURS)] == list(COLOURS)


# Nothing foreign, nothing dangerous


def test_nothing_is_asked_of_a_network(sweep: Path) -> None:
    """Breaks if a page that is opened on a train, or holds a secret, asks a server for anything."""
    page = report(sweep)
    assert "http://" not in (sweep / "report.html").read_text()
    assert "https://" not in (sweep / "report.html").read_text()
    assert not [
        a for tag, a in page.elements if "src" in a or tag in ("iframe", "object", "embed", "base")
    ]
    assert [a["href"] for a in page.attributes("link")] == ["data:,"]
    assert "url(" not in (sweep / "report.html").read_text()
    (policy,) = [
        a["content"]
        for a in page.attributes("meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Breaks if a run directory from elsewhere can run a script in the reader's browser."""
    plain = report_of_names(tmp_path / "plain", "plain")
    hostile = report_of_names(tmp_path / "hostile", HOSTILE)
    kinds = [(tag, sorted(attributes)) for tag, attributes in plain.elements]
    assert [(tag, sorted(attributes)) for tag, attributes in hostile.elements] == kinds
    assert HOSTILE in "".join(data for _, data in hostile.texts)
    assert any(row["name"].startswith(HOSTILE) for row in hostile.figures[0]["strategies"])


def report_of_names(root: Path, name: str) -> Page:
    """A report in which every text that a run's files hold is the name."""
    tasks = {name: "regression", "y2": "regression"}
    make_run(root / "0", name, 0, tasks=tasks)
    make_run(root / "1", "fixed", 0, tasks=tasks, note=name)
    make_run(root / name.replace("/", "_"), "fixed", 1, tasks=tasks, status="failed", reason=name)
    return report(root)


@QUICK
@given(st.text())
def test_embedded_json_is_ascii_without_markup_and_says_the_same(text: str) -> None:
    """Breaks if a name ends the script element that holds the data, or is changed on the way."""
    found = embedded_json([text])
    assert found.isascii()
    assert not set("<>&") & set(found)
    assert json.loads(found) == [text]


# Odd material


def test_four_hundred_runs_stay_small(tmp_path: Path) -> None:
    """Breaks if a large study makes a page that no browser likes to open."""
    for number in range(400):
        make_run(
            tmp_path / str(number),
            f"method{number % 40}",
            0,
            optimizer__lr=1e-4 * (1 + number // 40),
            epochs=60,
        )
    output = write_report([tmp_path], tmp_path / "report.html")
    assert output.stat().st_size < 2_500_000
    page = Page(output.read_text())
    assert len(page.attributes("a")) == 400
    assert sum(row["drawn"] for row in page.figures[0]["strategies"]) == 8


@pytest.mark.parametrize("status", ["finished", "killed", "failed", "cut off"])
def test_one_run_is_enough_whatever_became_of_it(tmp_path: Path, status: str) -> None:
    """Breaks if the report of a single run, of whatever end, raises or is empty."""
    make_run(tmp_path / "only", status=status, reason="out of memory" if status == "failed" else "")
    page = report(tmp_path)
    assert "No verdict" in page.words
    assert len(page.attributes("a")) >= 1


def test_broken_files_do_not_break_the_report(tmp_path: Path) -> None:
    """Breaks if one half-copied run hides all the others."""
    make_run(tmp_path / "0")
    (make_run(tmp_path / "1", seed=1) / "summary.json").write_text('{"status": "fin')
    (make_run(tmp_path / "2", seed=2) / "metrics.csv").write_bytes(b"\xff\x00,epoch\n1,2\n")
    (make_run(tmp_path / "3", seed=3) / "metrics.csv").unlink()
    assert len({a["href"] for a in report(tmp_path).attributes("a")}) == 4


def test_no_verdict_leaves_the_tables(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a mistake in the statistics takes the whole report with it."""
    import mtl_runner.results.conclusions

    def broken(*_: object) -> None:
        raise ZeroDivisionError("<b>oh</b>")

    monkeypatch.setattr(mtl_runner.results.conclusions, "conclude", broken)
    page = report(sweep)
    assert "No verdict. It could not be drawn (ZeroDivisionError: <b>oh</b>)." in page.words
    assert page.attributes("table")


def test_no_run_is_an_error(tmp_path: Path) -> None:
    """Breaks if an empty folder gets a report of nothing."""
    with pytest.raises(RunDirectoryError):
        write_report([tmp_path], tmp_path / "report.html")


# Curves


def test_a_curve_is_the_mean_over_seeds_with_their_range(tmp_path: Path) -> None:
    """Breaks if the line is not the mean, or the band not what the seeds span."""
    seeds = [read_curves(make_run(tmp_path / str(seed), seed=seed)) for seed in range(3)]
    epochs, mean, low, high = averaged(seeds, 100)["loss"]["y1"]
    assert epochs == list(range(1, 21))
    for i, epoch in enumerate(epochs):
        values = [curves["loss"]["y1"][epoch] for curves in seeds]
        assert mean[i] == pytest.approx(sum(values) / 3, rel=1e-3)
        assert (low[i], high[i]) == (
            pytest.approx(min(values), rel=1e-3),
            pytest.approx(max(values), rel=1e-3),
        )


def test_a_curve_ends_where_most_seeds_have_stopped() -> None:
    """Breaks if a mean jumps because one seed of three trained on after the others had stopped early."""
    runs = [{"loss": {"y": dict.fromkeys(range(1, last + 1), 1.0)}} for last in (5, 5, 9)]
    assert averaged(runs, 100)["loss"]["y"][0] == [1, 2, 3, 4, 5]


def test_a_diverged_seed_is_no_number() -> None:
    """Breaks if NaN or infinity reaches the page's JSON, which knows neither."""
    runs = [{"loss": {"y": {1: 1.0, 2: math.inf}}}, {"loss": {"y": {1: math.nan, 2: math.nan}}}]
    assert averaged(runs, 100)["loss"]["y"][1] == [1, None]


@QUICK
@given(st.integers(2, 50), st.integers(1, 500))
def test_thinning_keeps_the_ends_and_the_order(points: int, count: int) -> None:
    """Breaks if a thinned curve loses its last epoch, repeats one, or is longer than asked."""
    found = thinned(range(count), points)
    assert len(found) <= max(points, 1)
    assert (found[0], found[-1]) == (0, count - 1)
    assert found == sorted(set(found))


# The command


def test_compare_writes_the_report_and_opens_it_on_request(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if `mtl-compare DIRECTORY --open` writes no report beside comparison.csv or shows another one."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address))
    compare([str(sweep), "--output", str(tmp_path)])
    assert opened == []
    compare([str(sweep), "--output", str(tmp_path), "--open"])
    assert opened == [(tmp_path / "report.html").as_uri()]
    assert "report.html" in capsys.readouterr().out
    assert (tmp_path / "comparison.csv").exists()
