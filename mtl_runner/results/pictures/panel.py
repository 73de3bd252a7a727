"""The picture of a few images (``panel.png``): the truth of each task beside its prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

from mtl_runner.results.pictures.draw import PLAIN
from mtl_runner.results.pictures.style import colour, save

WIDTH = 1.9  # inches of an image
MANY = 10  # classes that can be told apart by colour and named beside the picture
VECTOR_CHANNELS = 3
UNKNOWN = "#ffffff"


@dataclass(frozen=True)
class Map:
    """Truth and prediction of one task.

    Attributes:
        truth: Class indices ``[rows, H, W]``, or numbers ``[rows, channels, H, W]``; NaN where
            unknown.
        prediction: The same.
        classes: The names of the classes; empty for numbers.
    """

    truth: np.ndarray
    prediction: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """Some images and the maps of each task.

    Attributes:
        images: The images, ``[rows, channels, H, W]``.
        maps: ``{task: truth and prediction}``.
    """

    images: np.ndarray
    maps: Mapping[str, Map]


def plot_panel(path: Path, panel: Panel, figures: str = "") -> None:
    """Draw a panel into a PNG file: a row per image, two columns per task.

    Args:
        path: The file.
        panel: What is drawn.
        figures: A second format of the file, ``pdf`` or ``svg``; empty: none.
    """
    rows, columns = len(panel.images), 1 + 2 * len(panel.maps)
    height = WIDTH * panel.images.shape[2] / panel.images.shape[3]
    figure = Figure(figsize=(columns * WIDTH, rows * (height + 0.04) + 0.25), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, image in enumerate(panel.images):
        _image(axes[row, 0], image)
        for index, (name, shown) in enumerate(panel.maps.items()):
            for at, values in enumerate((shown.truth, shown.prediction)):
                _map(axes[row, 1 + 2 * index + at], values[row], shown)
                if row == 0:
                    title = f"{name}: {('truth', 'prediction')[at]}"
                    axes[row, 1 + 2 * index + at].set_title(
                        title, fontsize=9, color=colour(index), fontweight="bold", **PLAIN
                    )
    axes[0, 0].set_title("input", fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    save(figure, path, figures)


def _image(axis: Axes, image: np.ndarray) -> None:
    shown = image.transpose(1, 2, 0) if len(image) == VECTOR_CHANNELS else image[0]
    low, high = float(shown.min()), float(shown.max())
    if low < 0 or high > 1:  # standardised
        shown = (shown - low) / max(high - low, 1e-9)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _map(axis: Axes, values: np.ndarray, shown: Map) -> None:
    if shown.classes:
        few = len(shown.classes) <= MANY
        palette = (
            ListedColormap([colour(i) for i in range(len(shown.classes))])
            if few
            else "nipy_spectral"
        )
        axis.imshow(
            values,
            cmap=_with_unknown(palette),
            vmin=-0.5,
            vmax=len(shown.classes) - 0.5,
            interpolation="nearest",
        )
    elif len(values) == VECTOR_CHANNELS:  # directions and colours
        pixels = np.where(np.isnan(values), 1.0, np.clip(values / 2 + 0.5, 0, 1))
        axis.imshow(pixels.transpose(1, 2, 0), interpolation="nearest")
    else:  # numbers, or the lengths of vectors, on the scale of the truth
        lengths = np.linalg.norm(shown.truth, axis=1) if len(values) > 1 else shown.truth[:, 0]
        low, high = (
            (float(np.nanmin(lengths)), float(np.nanmax(lengths)))
            if not np.isnan(lengths).all()
            else (0.0, 1.0)
        )
        picture = np.linalg.norm(values, axis=0) if len(values) > 1 else values[0]
        axis.imshow(
            picture, cmap=_with_unknown("viridis"), vmin=low, vmax=high, interpolation="nearest"
        )


def _with_unknown(palette: str | Colormap) -> Colormap:
    return (colormaps[palette] if isinstance(palette, str) else palette).with_extremes(bad=UNKNOWN)
