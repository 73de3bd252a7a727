"""One look for all pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.colors import to_rgb

from mtl_runner.results.pictures.style import COLOURS, DPI, colour, new_figure, new_grid, save


def test_colours_are_the_same_everywhere_and_start_again() -> None:
    """Breaks if the ninth task has no colour, or two of the first eight share one."""
    assert [colour(i) for i in range(len(COLOURS))] == list(COLOURS)
    assert len({to_rgb(name) for name in COLOURS}) == len(COLOURS)
    assert colour(len(COLOURS)) == COLOURS[0]
    assert colour(None) == "black"


def test_axes_have_their_size_whatever_their_number() -> None:
    """Breaks if the charts of a run with many tasks are squeezed."""
    for rows, columns in ((1, 1), (2, 3)):
        figure, axes = new_figure(rows, columns, 3.0, 2.0)
        width, height = figure.get_size_inches()
        place = axes[0, 0].get_position()
        assert axes.shape == (rows, columns)
        assert (place.width * width, place.height * height) == pytest.approx((3.0, 2.0))


def test_rows_of_a_grid_have_their_heights() -> None:
    """Breaks if a long list of strategies is as high as a curve."""
    figure, axes = new_grid(2, 1, 4.0, 6.0, [3.0, 1.0])
    figure.draw_without_rendering()
    above, below = (axis.get_position().height for axis in axes[:, 0])
    assert above > 2 * below


def test_a_picture_is_written_in_one_piece(tmp_path: Path) -> None:
    """Breaks if a viewer can open half a picture, or a temporary file stays behind."""
    figure, _ = new_figure(1, 1, 2.0, 1.0)
    save(figure, tmp_path / "picture.png")
    content = (tmp_path / "picture.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") == round((2.0 + 0.75 + 0.2) * DPI)
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    """Breaks if a full disk or a missing folder raises an error that names no file."""
    figure, _ = new_figure(1, 1, 2.0, 1.0)
    with pytest.raises(OSError, match="missing"):
        save(figure, tmp_path / "missing" / "picture.png")


@pytest.mark.parametrize(("kind", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_second_format_is_written_beside_the_picture(
    tmp_path: Path, kind: str, start: bytes
) -> None:
    """Breaks if record.figures replaces the PNG, or two runs of one seed differ in a date."""
    contents = []
    for name in ("a", "b"):
        figure, _ = new_figure(1, 1, 2.0, 1.0)
        save(figure, tmp_path / f"{name}.png", kind)
        contents.append((tmp_path / f"{name}.{kind}").read_bytes())
    assert contents[0].startswith(start)
    assert contents[0] == contents[1]
    assert (tmp_path / "a.png").exists()
