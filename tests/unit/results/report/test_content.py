"""The content of a report: which strategies are drawn, their colours, and the figures' data."""

from __future__ import annotations

from pathlib import Path

from tests.unit.results.report.parsed_page import Page, report
from tests.unit.results.run_builders import write_study, write_trained_run


def test_a_study_shows_its_final_runs_and_draws_rates_from_the_tuning(tmp_path: Path) -> None:
    """Breaks if runs that only chose a learning rate count as evidence in the table."""
    jobs = {}
    for name in ("fixed", "uncertainty"):
        for i, rate in enumerate((0.001, 0.003, 0.01)):
            write_trained_run(
                tmp_path / f"tune_{name}_{i}", name, 0, optimizer__lr=rate, loss_factor=1 + i / 10
            )
            jobs[f"tune_{name}_{i}"] = {
                "phase": 2,
                "strategy": name,
                "role": "strategy",
                "of": "",
                "final": False,
            }
        for seed in range(2):
            write_trained_run(
                tmp_path / f"final_{name}_{seed}", name, 10 + seed, optimizer__lr=0.001
            )
            role = "equal" if name == "fixed" else "strategy"
            jobs[f"final_{name}_{seed}"] = {
                "phase": 4,
                "strategy": name,
                "role": role,
                "of": "",
                "final": True,
            }
    write_study(tmp_path, jobs, notes=["All trials of x failed."])
    page = report(tmp_path)
    (figures,) = page.figures
    assert (
        "Test split, last epoch, 2 paired seeds on one split of the data; a difference below 2 % counts as none."
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
    """Breaks if `dwa` changes its colour with the learning rate, or shares it with a method."""
    colours: dict[str, set[int]] = {}
    for row in page.figures[0]["strategies"]:
        colours.setdefault(row["name"].split(",")[0], set()).add(row["colour"])
    assert all(len(numbers) == 1 for numbers in colours.values())
    assert len({colour for numbers in colours.values() for colour in numbers}) == 3


def test_the_number_that_judges_runs_has_one_name(page: Page) -> None:
    """Breaks if relative_loss is called monitor in one table and relative loss in the next."""
    assert page.figures[0]["monitor"] == "relative_loss"
    heads = [data.strip() for tag, data in page.texts if tag in ("span",)]
    assert "monitor" not in heads
    assert heads.count("relative_loss") >= 2


def test_the_plane_of_two_tasks_shows_how_sure_a_mean_is(page: Page) -> None:
    """Breaks if a front of means is drawn as if exact, without resampled means around the seeds."""
    points = page.figures[0]["front"]["points"]
    assert len(points) >= 4
    for point in points:
        assert 1 < len(point["cloud"]) <= 60
        for axis in (0, 1):
            seeds = [seed[axis] for seed in point["seeds"] if seed[axis] is not None]
            assert all(
                min(seeds) - 1e-3 <= mean[axis] <= max(seeds) + 1e-3 for mean in point["cloud"]
            )


def test_a_rate_at_which_all_runs_failed_keeps_its_place(page: Page) -> None:
    """Breaks if a diverged learning rate disappears from the figure, or gets a number."""
    famo = next(entry for entry in page.figures[0]["rates"] if entry["name"] == "famo")
    assert famo["x"] == [0.001, 0.01]
    assert (famo["mean"][1], famo["failed"]) == (None, [0, 3])
    assert famo["low"][0] <= famo["mean"][0] <= famo["high"][0]


def test_fragments_are_drawn_only_where_no_run_finished(trained_sweep: Path, page: Page) -> None:
    """Breaks if a diverged run enters a mean, or a strategy that never finished has no curve."""
    entries = {entry["name"]: entry for entry in page.figures[0]["strategies"]}
    assert entries["fixed, lr=0.001"]["seeds"] == 3
    assert "unfinished" not in entries["fixed, lr=0.001"]
    assert entries["famo, lr=0.01"]["unfinished"]
