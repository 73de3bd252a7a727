"""panel.png: a few images beside the truth and the prediction of each dense task."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from mtl_runner.results.pictures.panel import Map, Panel, plot_panel

HEIGHT, WIDTH = 5, 6


def drawn(path: Path) -> np.ndarray:
    """Return the pixels of a picture ``[H, W, 3]``."""
    return np.asarray(matplotlib.image.imread(path))[..., :3]


def maps(seed: int = 0, rows: int = 2) -> dict[str, Map]:
    """Return random maps of every form, with an unknown column."""
    random = np.random.default_rng(seed)

    def pair(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        truth, prediction = random.normal(size=(2, rows, *shape, HEIGHT, WIDTH))
        truth[:, ..., 0] = prediction[:, ..., 0] = np.nan
        return truth, prediction

    labels = [
        np.where(np.isnan(values), np.nan, random.integers(0, 3, values.shape)) for values in pair()
    ]
    return {
        "few": Map(*labels, ("a", "b", "c")),
        "many": Map(*labels, tuple(map(str, range(19)))),
        "depth": Map(*pair(1), ()),
        "offsets": Map(*pair(2), ()),
        "normals": Map(*pair(3), ()),
    }


def test_a_panel_is_a_picture_with_something_in_it(tmp_path: Path) -> None:
    """Breaks if panel.png is empty, or its rows and columns are swapped."""
    images = np.random.default_rng(0).random((2, 3, HEIGHT, WIDTH))
    plot_panel(tmp_path / "panel.png", Panel(images, maps()))
    pixels = drawn(tmp_path / "panel.png")
    height, width = pixels.shape[:2]
    assert width > 1.5 * height, "2 images below each other, 11 pictures beside each other"
    assert pixels.std() > 0.1
    assert len(np.unique((pixels.reshape(-1, 3) * 255).round(), axis=0)) > 100


@pytest.mark.parametrize("name", ["few", "many", "depth", "offsets", "normals"])
def test_truth_and_prediction_share_a_scale_and_the_unknown_is_white(
    tmp_path: Path, name: str
) -> None:
    """Breaks if right answers look wrong, wrong ones right, or unknown pixels have a colour."""
    shown = maps()[name]
    images = np.full((2, 3, HEIGHT, WIDTH), 0.5)

    def columns(prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels of the truth and of the prediction."""
        maps = {name: Map(shown.truth, prediction, shown.classes)}
        plot_panel(tmp_path / "panel.png", Panel(images, maps))
        pixels = drawn(tmp_path / "panel.png")
        is_input = np.abs(pixels - 0.5).max(2) < 0.02  # it is grey
        rows = np.flatnonzero(is_input.sum(1) > 20)
        strip = pixels[rows[0] : rows[-1] + 1]
        right = np.flatnonzero(is_input[rows].mean(0) > 0.9)[-1] + 1
        coloured = np.flatnonzero((strip[:, right:] < 0.97).any((0, 2))) + right
        middle = (coloured[0] + coloured[-1]) // 2
        return strip[:, coloured[0] : middle], strip[:, middle + 1 :]

    def distinct(pixels: np.ndarray) -> set[tuple[int, ...]]:
        return {tuple(colour) for colour in (pixels.reshape(-1, 3) * 25).round().astype(int)}

    truth, same = columns(shown.truth)
    assert len(distinct(truth) - distinct(same)) <= 0.2 * len(distinct(truth))
    assert (25, 25, 25) in distinct(truth)
    wrong_answer = np.roll(shown.prediction, 2, axis=-2) if shown.classes else 3 * shown.truth
    _, wrong = columns(wrong_answer)
    assert wrong.shape[0] == same.shape[0]
    assert abs(wrong.mean() - same.mean()) > 1e-4


IMAGES: dict[str, np.ndarray] = {
    "grey": np.full((1, 1, HEIGHT, WIDTH), 0.3),
    "two channels": np.random.default_rng(0).random((1, 2, HEIGHT, WIDTH)),
    "standardised": np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)),
    "constant": np.full((1, 3, HEIGHT, WIDTH), -2.0),
}


@pytest.mark.parametrize("image", IMAGES)
def test_any_image_can_be_drawn(tmp_path: Path, image: str) -> None:
    """Breaks if an unusual image, or a map of unknown pixels, fails a run at its very end."""
    unknown = {
        name: Map(np.full_like(m.truth, np.nan), np.full_like(m.prediction, np.nan), m.classes)
        for name, m in maps(0, 1).items()
    }
    plot_panel(tmp_path / "panel.png", Panel(IMAGES[image], unknown))
    assert drawn(tmp_path / "panel.png").std() > 0.005
    plot_panel(tmp_path / "again.png", Panel(IMAGES[image], maps(0, 1)))
    assert drawn(tmp_path / "again.png").std() > 0.01


def test_the_name_of_a_task_is_no_formula(tmp_path: Path) -> None:
    """Breaks if a task such as in_$#_out_$ costs the picture."""
    images = np.full((2, 3, HEIGHT, WIDTH), 0.5)
    plot_panel(tmp_path / "panel.png", Panel(images, {"in_$#_out_$": maps()["few"]}))
    assert drawn(tmp_path / "panel.png").std() > 0
