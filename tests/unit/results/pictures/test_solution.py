"""solution.png: truth, answer and error of functions of two inputs."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np

from mtl_runner.results.pictures.solution import Solution, plot_solutions


def solution(offset: float = 0.1, unknown: bool = False) -> Solution:
    """Return a wave with a constant error."""
    first, second = np.linspace(0, 1, 12), np.linspace(-1, 2, 15)
    truth = np.sin(5 * first)[:, None] * second
    if unknown:
        truth = np.where(second > 1, np.nan, truth)
    return Solution(first, second, truth, np.nan_to_num(truth) + offset)


def test_the_error_is_answer_minus_truth() -> None:
    """Breaks if the error has the wrong sign, or unknown places count."""
    shown = solution()
    np.testing.assert_allclose(shown.error, 0.1)
    expected = 0.1 * np.sqrt(shown.truth.size) / np.linalg.norm(shown.truth)
    assert abs(shown.relative_error - expected) < 1e-12
    assert np.isfinite(solution(unknown=True).relative_error)


def test_the_picture_has_a_row_per_task(tmp_path: Path) -> None:
    """Breaks if solution.png is empty, or a task is missing in it."""
    heights = []
    for tasks in (["u"], ["u", "in_$#_out_$"]):
        plot_solutions(tmp_path / "solution.png", {name: solution() for name in tasks}, "svg")
        pixels = np.asarray(matplotlib.image.imread(tmp_path / "solution.png"))[..., :3]
        assert pixels.std() > 0.1
        heights.append(len(pixels))
    assert heights[1] == 2 * heights[0]
    assert (tmp_path / "solution.svg").stat().st_size > 5000


def test_a_perfect_answer_and_unknown_places_can_be_drawn(tmp_path: Path) -> None:
    """Breaks if a picture fails where there is no error, or no truth."""
    plot_solutions(tmp_path / "solution.png", {"u": solution(0.0), "v": solution(unknown=True)})
    assert (tmp_path / "solution.png").stat().st_size > 5000
