"""``mtl-compare --watch``: what changes is written anew, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mtl_runner.results.watch import REST, watch
from tests.unit.results.run_builders import METRICS, write_run


def sleeper(*steps: Callable[[], None]) -> Callable[[float], None]:
    """Return a sleep in which these things happen one after another, then Ctrl-C."""
    remaining = iter(steps)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        step = next(remaining, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    sleep.waits = waits  # type: ignore[attr-defined]
    return sleep


def test_a_sweep_is_followed_from_before_its_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a watch must be started anew for every run, or fails before the first."""
    folder, pages_opened = tmp_path / "sweep", []
    pages = []

    def add(name: str, weighting: str, status: str = "finished") -> None:
        write_run(folder, name, METRICS, weighting=weighting, status=status)

    def look() -> None:
        pages.append((folder / "report.html").read_text())

    sleep = sleeper(
        lambda: add("0", "fixed"),
        lambda: (look(), add("1", "dwa", "failed")),
        lambda: None,  # nothing changes, nothing is said
        look,
    )
    comparison = watch([folder], folder, 7.5, first=lambda: pages_opened.append(1), sleep=sleep)
    lines = [line[9:] for line in capsys.readouterr().out.splitlines() if line[2:3] == ":"]
    assert lines == ["no run yet", "1 of 1 runs finished", "1 of 2 runs finished, 1 failed"]
    assert pages_opened == [1]
    assert all('<body data-refresh="7.5">' in page for page in pages)
    assert "dwa" not in pages[0]
    assert "dwa" in pages[1]
    assert comparison is not None
    assert comparison.total == 2
    final_page = (folder / "report.html").read_text()
    assert "data-refresh=" not in final_page  # a page that stays as it is
    assert (folder / "comparison.png").exists()
    assert min(sleep.waits) >= 7.5  # type: ignore[attr-defined]


def test_without_a_run_there_is_nothing_to_compare(tmp_path: Path) -> None:
    """Breaks if Ctrl-C before the first run ends in a traceback."""
    assert watch([tmp_path / "none"], tmp_path, 1, sleep=sleeper()) is None
    assert REST >= 1  # the sweep gets the larger part of a processor
