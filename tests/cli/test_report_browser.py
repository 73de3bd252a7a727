"""The report in a real browser: headless Chromium, from file://. Skipped where there is none."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from mtl_runner.results.report.write import write_report
from tests.support.chromium import AXE, BINARY, Chromium
from tests.support.commands import Command
from tests.unit.results.run_builders import write_run, write_trained_run

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium here: apt-get install chromium")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report with failures, learning rates and a hostile name, and copy it elsewhere."""
    root = tmp_path_factory.mktemp("browser") / "sweep"
    number = 0
    for weighting, factor in (("fixed", 1.0), ("uncertainty", 0.8), (HOSTILE, 1.3)):
        for rate in ("0.001", "0.01"):
            for seed in range(2):
                write_trained_run(
                    root / f"{number}_{seed}",
                    weighting,
                    seed,
                    loss_factor=factor,
                    optimizer__lr=rate,
                )
                number += 1
    write_trained_run(
        root / HOSTILE.replace("/", "_"),
        "famo",
        0,
        status="failed",
        reason=HOSTILE,
        optimizer__lr="0.001",
    )
    write_report([root], root / "report.html")
    return Path(shutil.copytree(root, root.parent / "copy")) / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Start a browser for all tests of this file."""
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(browser: Chromium, file: Path) -> Chromium:
    """Open the report afresh."""
    browser.open(file)
    return browser


def box(page: Chromium, selector: str) -> dict[str, float]:
    """Return the place of an element, after scrolling to it."""
    place: dict[str, float] = page.run(
        f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
        "const b = e.getBoundingClientRect(); return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
    )
    return place


def column(page: Chromium, number: int) -> list[Any]:
    """Return a column of the strategies' table from top to bottom."""
    values: list[Any] = page.run(
        f"[...document.querySelector('.strategies').tBodies[0].rows].map(r => r.cells[{number}].dataset.value ?? null)"
    )
    return values


def readout(page: Chromium, plot: int = 0) -> str | None:
    """Return the text beside the pointer over a figure; None if it is hidden."""
    text: str | None = page.run(
        f"(r => r && !r.hidden ? r.textContent : null)(document.querySelectorAll('.plot')[{plot}].querySelector('.readout'))"
    )
    return text


def test_it_loads_without_a_word_on_the_console_and_without_a_request(
    page: Chromium, file: Path
) -> None:
    """Breaks if the page throws, warns, asks for another file, or runs a script from a name."""
    assert page.complaints() == []
    assert page.requests() == [file.resolve().as_uri()]
    assert not [e for e in page.events if e.get("method") == "Page.javascriptDialogOpening"]
    assert HOSTILE in page.run("document.body.innerText")
    # All tasks and two losses, two weights, two sigmas, the learning rates and the front.
    assert page.run("document.querySelectorAll('figure .plot svg').length") == 9


def test_the_policy_stops_a_script_that_came_in_all_the_same(page: Chromium) -> None:
    """Breaks if the second line of defence, the page's own policy, is not in force."""
    page.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.bad = 1\">')"
    )
    page.run(
        "(s => { s.textContent = 'window.bad = 2'; document.body.append(s); })(document.createElement('script'))"
    )
    assert page.run("new Promise(done => setTimeout(() => done(window.bad ?? 0), 100))") == 0


def test_a_click_sorts_and_a_second_one_turns_round(page: Chromium) -> None:
    """Breaks if the table cannot be sorted, or puts strategies without a number first."""
    number = page.run(
        "[...document.querySelectorAll('.strategies thead th')].findIndex(h => h.innerText.startsWith('y2'))"
    )
    for direction, sign in (("ascending", 1), ("descending", -1)):
        place = box(page, f".strategies thead th:nth-child({number + 1}) button")
        page.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        assert (
            page.run(
                f"document.querySelector('.strategies thead th:nth-child({number + 1})').ariaSort"
            )
            == direction
        )
        values = column(page, number)
        assert values[-1] is None
        known = [float(value) for value in values if value is not None]
        assert known == sorted(known, key=lambda v: sign * v)
    assert page.run("document.querySelectorAll('.strategies [aria-sort]').length") == 1
    assert "y2" in page.run("document.getElementById('announce').textContent")


def test_the_keyboard_sorts_too(page: Chromium) -> None:
    """Breaks if someone without a mouse cannot sort."""
    page.run("document.querySelector('.strategies .sort').focus()")
    page.press("Enter", 13)
    names = page.run(
        "[...document.querySelectorAll('.strategies')][0].tBodies[0].innerText.match(/^.*lr=.*$/gm)"
    )
    assert names == sorted(names)
    assert len(names) > 3


def test_hovering_reads_values_out(page: Chromium) -> None:
    """Breaks if the pointer over a curve does not tell the epoch and every strategy's value."""
    place = box(page, ".plot")
    page.hover(place["x"] + place["width"] - 20, place["y"] + 100)
    text = readout(page)
    assert text is not None
    assert text.startswith("epoch 20")
    assert HOSTILE in text
    assert "uncertainty" in text
    page.hover(5, 5)
    assert readout(page) is None


def test_arrow_keys_read_values_out(page: Chromium) -> None:
    """Breaks if a curve cannot be read without a pointer, or a screen reader hears nothing."""
    page.run("document.querySelector('.plot').focus()")
    page.press("End", 35)
    page.press("ArrowLeft", 37)
    assert (readout(page) or "").startswith("epoch 19")
    assert page.run("document.querySelector('.plot').ariaValueText").startswith("epoch 19: ")
    page.press("Escape", 27)
    assert readout(page) is None


def test_a_touch_reads_values_out(page: Chromium) -> None:
    """Breaks if a phone shows curves without numbers."""
    place = box(page, ".plot")
    at = {"x": place["x"] + place["width"] / 2, "y": place["y"] + 80}
    page.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[at])
    page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert (readout(page) or "").startswith("epoch")


def test_boxes_choose_what_is_drawn(page: Chromium) -> None:
    """Breaks if a strategy's box does not take its line from every figure and legend."""
    count = "document.querySelectorAll('.figures[data-kind=loss] .line').length"
    keys = "document.querySelector('.legend[data-kind=loss]').children.length"
    lines, names = page.run(count), page.run(keys)
    page.run("[...document.querySelectorAll('.strategies input')].find(b => b.checked).click()")
    assert page.run(keys) == names - 1
    assert page.run(count) == lines - 3


def test_the_logarithmic_switch_draws_anew(page: Chromium) -> None:
    """Breaks if the switch of the scale does nothing."""
    path = "document.querySelector('.figures .line').getAttribute('d')"
    before = page.run(path)
    page.run("document.querySelector('.scale').click()")
    assert page.run("document.querySelector('.scale').ariaPressed") == "true"
    assert page.run(path) != before


def test_figures_of_one_quantity_share_their_kind_of_axis(
    browser: Chromium, tmp_path: Path
) -> None:
    """Breaks if one task's weight is drawn on a log axis, and that of the next on a linear one."""
    for weighting, weight in (("fixed", 1000.0), ("dwa", 1.0)):
        file = write_trained_run(tmp_path / weighting, weighting) / "metrics.csv"
        curves = pd.read_csv(file)
        curves.loc[(curves["task"] == "y1") & (curves["split"] == "train"), "weight"] = weight
        curves.to_csv(file, index=False)
    browser.open(write_report([tmp_path], tmp_path / "report.html"))
    switches = "document.querySelectorAll('.figures[data-kind=weight] [aria-pressed]')"
    assert browser.run(f"[...{switches}].map(s => s.ariaPressed)") == ["true", "true"]


FIRST_SCREEN = """(() => {
  const bottom = (e) => e.getBoundingClientRect().bottom;
  const rows = document.querySelector('.strategies').tBodies[0].rows;
  return [bottom(document.querySelector('.answer')), bottom(document.querySelector('.forest')), bottom(rows[0])];
})()"""


@pytest.mark.parametrize("count", [2, 20])
def test_the_first_screen_holds_answer_forest_and_the_top_of_the_table(
    browser: Chromium, tmp_path: Path, count: int
) -> None:
    """Breaks if a reader has to scroll to learn what to use, or twenty methods push it all down."""
    for number in range(count):
        for seed in range(3):
            write_trained_run(
                tmp_path / f"{number}_{seed}",
                f"m{number}" if number else "fixed",
                seed,
                loss_factor=1 - number / 50,
                epochs=3,
            )
    browser.open(write_report([tmp_path], tmp_path / "report.html"), height=800)
    answer, forest, row = browser.run(FIRST_SCREEN)
    assert answer < 200
    assert forest < 620
    assert row < 800
    assert browser.run("document.querySelectorAll('.forest tbody tr').length") == count - 1


def type_filter(page: Chromium, text: str) -> list[str]:
    """Type into the filter of the runs; return the names of the runs that are left."""
    page.run(
        f"(e => {{ e.value = {text!r}; e.dispatchEvent(new Event('input', {{bubbles: true}})); }})(document.getElementById('run-filter'))"
    )
    names: list[str] = page.run(
        "[...document.querySelector('.runs').tBodies[0].rows].filter(r => r.offsetParent || getComputedStyle(r).display !== 'none').map(r => r.querySelector('a').textContent)"
    )
    return names


def test_runs_are_filtered_by_words_options_and_numbers(page: Chromium) -> None:
    """Breaks if one run among many can be found by scrolling alone."""
    count = len(type_filter(page, ""))
    assert count == 13
    assert len(type_filter(page, "uncertainty")) == 4
    assert len(type_filter(page, "uncertainty optimizer.lr=0.01")) == 2
    assert len(type_filter(page, "seed>0")) == 6
    assert len(type_filter(page, "lr<0.005 uncertainty seed<=0")) == 1
    assert len(type_filter(page, "failed")) == 1
    assert type_filter(page, "nothing of the kind") == []
    assert page.run("document.getElementById('run-count').textContent") == "0 of 13 runs"


def test_two_runs_show_in_what_they_differ(page: Chromium) -> None:
    """Breaks if a reader has to open two configs to see what two runs have not in common."""
    page.run("[0, 2, 3].forEach(i => document.querySelectorAll('.runs tbody input')[i].click())")
    assert page.run("document.querySelectorAll('.runs tbody input:checked').length") == 2
    rows = page.run(
        "Object.fromEntries([...document.querySelector('#run-differences tbody').rows].map(r => [r.cells[0].textContent, r.cells[1].textContent + ' ' + r.cells[2].textContent]))"
    )
    assert rows["seed"] == "0 1"
    assert "weighting" not in rows  # the second and third that were ticked share it
    page.run("document.querySelectorAll('.runs tbody input:checked').forEach(i => i.click())")
    assert page.run("document.getElementById('run-differences').hidden") is True


def test_curves_zoom_by_mouse_keys_and_buttons(page: Chromium) -> None:
    """Breaks if the end of a long run cannot be looked at closely, or not without a mouse."""
    label = "document.querySelector('.plot').ariaValueMax"
    count = int(page.run(label))
    place = box(page, ".plot")
    left, right, y = place["x"] + 200, place["x"] + 400, place["y"] + 100
    mouse = {"button": "left", "clickCount": 1}
    page.send("Input.dispatchMouseEvent", type="mousePressed", x=left, y=y, **mouse)
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=right, y=y, buttons=1, **mouse)
    page.send("Input.dispatchMouseEvent", type="mouseReleased", x=right, y=y, **mouse)
    chosen = int(page.run(label))
    assert 1 < chosen < count
    assert "epochs" in page.run("document.getElementById('announce').textContent")
    assert page.run(
        "[...document.querySelectorAll('.figures[data-kind=weight] .plot')].every(p => p.querySelector('clipPath'))"
    )
    page.run("document.querySelector('[data-zoom=all]').click()")
    assert int(page.run(label)) == count
    page.run("document.querySelector('[data-zoom=in]').click()")
    assert int(page.run(label)) < count
    page.run("document.querySelector('.plot').focus()")
    page.press("0", 48)
    assert int(page.run(label)) == count
    page.press("+", 187)
    assert int(page.run(label)) < count


def test_curves_are_smoothed_over_their_raw_values(page: Chromium) -> None:
    """Breaks if noisy curves cannot be told apart, or the smoothed ones pass for measured ones."""
    path = "document.querySelector('.figures .line').getAttribute('d')"
    before = page.run(path)
    page.run(
        "(e => { e.value = 0.8; e.dispatchEvent(new Event('input', {bubbles: true})); })(document.querySelector('.smooth'))"
    )
    assert page.run(path) != before
    raw = page.run("document.querySelector('.figures .raw').getAttribute('d')")
    assert raw.count("L") == before.count("L") > 10


@pytest.fixture
def saved(browser: Chromium, tmp_path: Path) -> Path:
    """Return the folder that the browser saves files to."""
    browser.send(
        "Browser.setDownloadBehavior", session=None, behavior="allow", downloadPath=str(tmp_path)
    )
    return tmp_path


def wait_for(file: Path) -> str:
    """Return the text of a file once the browser has saved it."""
    deadline = time.monotonic() + 30
    while not (file.exists() and file.stat().st_size):
        assert time.monotonic() < deadline, f"{file.name} is not saved"
        time.sleep(0.02)
    return file.read_text(encoding="utf-8")


def test_tables_are_saved_as_csv_and_latex(page: Chromium, saved: Path) -> None:
    """Breaks if the numbers of the page have to be typed again."""
    page.run("document.querySelector('[data-table=strategies_val] [data-save=csv]').click()")
    rows = list(csv.reader(wait_for(saved / "strategies_val.csv").splitlines()))
    assert rows[0][:4] == ["strategy", "runs", "y1 rmse", "y1 rmse ± 95 %"]
    assert len(rows) == 8
    table = page.run(
        "[...document.querySelector('.strategies').tBodies[0].rows].map(r => r.cells[2].dataset.value ?? '')"
    )
    assert [row[2] for row in rows[1:]] == table
    page.run("document.querySelector('[data-table=strategies_val] [data-save=tex]').click()")
    lines = wait_for(saved / "strategies_val.tex").splitlines()
    assert lines[1].startswith(r"\noindent\resizebox{\ifdim\width>\linewidth")
    assert lines[2:4] == [r"\begin{tabular}{lrrrrrrr}", r"\toprule"]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}}"]
    assert r"\mathbf{" in "".join(lines)
    assert " & 0 1 not finished & " in "".join(lines), "words are no formula"
    assert all(line.count(" & ") == 7 and line.endswith(r"\\") for line in lines[6:-2])
    type_filter(page, "failed")
    page.run("document.querySelector('[data-table=runs] [data-save=csv]').click()")
    assert len(wait_for(saved / "runs.csv").splitlines()) == 2


def test_pictures_are_saved_as_svg(page: Chromium, saved: Path) -> None:
    """Breaks if a figure of the page cannot go into a paper, or loses its lines on the way."""
    page.run("document.querySelectorAll('figure .scale')[1].click()")
    picture = ElementTree.fromstring(wait_for(saved / "All_tasks_relative_loss.svg"))
    texts = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "All tasks, relative_loss"
    assert any((text or "").startswith("uncertainty, lr=") for text in texts)
    paths = [node.attrib for node in picture.iter("{http://www.w3.org/2000/svg}path")]
    assert sum(path["stroke-width"] == "2px" and path["fill"] == "none" for path in paths) >= 3
    page.run("document.querySelector('[data-table=forest] [data-save=svg]').click()")
    forest = ElementTree.fromstring(wait_for(saved / "forest.svg"))
    circles = forest.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == page.run("document.querySelectorAll('.bar:not(.empty)').length") > 2


def test_paper_shows_all_strategies_and_no_buttons(page: Chromium) -> None:
    """Breaks if a printed report hides rows behind a button, or prints the buttons."""
    page.send("Emulation.setEmulatedMedia", media="print")
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    shown = "[...document.querySelectorAll('.downloads, .tools, .scale')].filter(e => getComputedStyle(e).display !== 'none').length"
    assert page.run(shown) == 0
    assert page.run("document.querySelectorAll('details:not([open])').length") == 0
    page.run("window.dispatchEvent(new Event('afterprint'))")
    assert page.run("document.querySelectorAll('details:not([open])').length") > 0
    page.send("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_window_and_its_ground_follows_the_readers_choice(
    browser: Chromium, file: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    """Breaks if the page must be scrolled sideways on a phone, or stays white at night."""
    browser.open(file, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    red, green, blue = map(
        int,
        browser.run("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(","),
    )
    assert (red + green + blue < 150) is dark
    browser.screenshot(tmp_path / "page.png", beyond_window=False)
    assert struct.unpack(">II", (tmp_path / "page.png").read_bytes()[16:24])[0] == width


@pytest.mark.long
def test_a_watched_page_stays_fresh_and_keeps_what_its_reader_chose(
    browser: Chromium, mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a running sweep must be compared by hand, or a reload forgets the filter."""
    folder = tmp_path / "sweep"
    write_trained_run(folder / "0", "fixed", 0)

    def until(condition: str) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError):  # the page is just being loaded
                if browser.run(condition):
                    return
            time.sleep(0.1)
        missed.append(condition)

    missed: list[str] = []

    def look(process: int) -> None:
        try:
            deadline = time.monotonic() + 30
            while not (folder / "report.html").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            browser.open(folder / "report.html")
            type_filter(browser, "famo")
            browser.run("document.activeElement.blur()")
            write_trained_run(folder / "1", "famo", 0)
            until("document.querySelectorAll('.runs tbody tr').length === 2")
            until("document.getElementById('run-count').textContent === '1 of 2 runs'")
            until("document.getElementById('run-filter').value === 'famo'")
        finally:
            os.kill(process, signal.SIGINT)

    result = mtl("mtl-compare", "sweep", "--watch", "0.3", meanwhile=look)
    assert missed == []
    assert result.code == 0, result.err
    assert "1 of 1 runs finished" in result.out
    assert "2 of 2 runs finished" in result.out
    assert "data-refresh=" not in (folder / "report.html").read_text().split("<script")[0]


@pytest.mark.skipif(AXE is None, reason="no axe-core in NODE_PATH: npm install axe-core")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_keyboards_and_screen_readers_meet_no_serious_barrier(
    browser: Chromium, file: Path, width: int, dark: bool
) -> None:
    """Breaks if axe-core finds text without contrast, a control without a name, or a wrong role."""
    browser.open(file, width=width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    browser.run("[0, 3].forEach(i => document.querySelectorAll('.runs tbody input')[i].click())")
    browser.run("document.querySelectorAll('.strategies input:checked').forEach(i => i.click())")
    assert browser.barriers() == []


@pytest.mark.long
def test_four_hundred_runs_open_in_under_a_second(browser: Chromium, tmp_path: Path) -> None:
    """Breaks if a large study's page keeps its reader waiting, by the browser's own clock."""
    for number in range(400):
        write_trained_run(
            tmp_path / "runs" / str(number),
            f"m{number % 50}",
            number // 50,
            epochs=50,
            optimizer__lr=0.001,
        )
    file = write_report([tmp_path], tmp_path / "report.html")
    times = []
    for _ in range(3):  # the fastest: the machine may have other things to do
        browser.open(file)
        times.append(browser.run("performance.getEntriesByType('navigation')[0].loadEventEnd"))
    assert browser.complaints() == []
    assert min(times) < 1000


@pytest.mark.long
def test_five_thousand_runs_are_thinned_and_open_in_under_three_seconds(
    browser: Chromium, tmp_path: Path
) -> None:
    """Breaks if a huge search makes a page that no browser opens, or hides what it left out."""
    for number in range(5000):
        strategy, seed = divmod(number, 4)
        loss = 1 + (strategy % 97) / 100 + seed / 1000
        values = {"rmse": loss, "loss": loss, "relative_loss": loss}
        write_run(
            tmp_path,
            str(number),
            {"a": values, "b": values},
            weighting=("fixed", "dwa", "famo")[strategy % 3],
            seed=seed,
            monitor=loss,
            overrides={"optimizer.lr": 1e-4 * (1 + strategy // 3)},
        )
    file = write_report([tmp_path], tmp_path / "report.html")
    assert file.stat().st_size < 5_000_000
    times = []
    for _ in range(3):
        browser.open(file)
        times.append(browser.run("performance.getEntriesByType('navigation')[0].loadEventEnd"))
    assert browser.complaints() == []
    assert min(times) < 3000
    text = browser.run("document.body.textContent")
    assert "500 of 5000 runs are listed" in text
    assert "200 of 1250 strategies: the best; comparison.csv holds all." in text
    assert "more are in verdicts.csv" in text
