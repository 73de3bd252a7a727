"""Two images on one canvas, and which two: MultiMNIST, Multi-Fashion and Multi-(Fashion+MNIST)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.images.idx import WANTED, LabelledImages, read_idx_folder
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.errors.checks import is_whole
from mtl_runner.tasks.task import Task

SHIFT = 8  # from 28x28 to the papers' 36x36
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class MultiMNIST:
    """Two images on one canvas, one in its upper left corner, one in its lower right: two classifications, ``left`` and ``right``.

    The canvas is 8 pixels wider and higher than an image, so 36x36, and where both images have ink the brighter pixel stands.
    That is the size of Sabour et al. (NeurIPS 2017) and of Lin et al. (NeurIPS 2019, *Pareto Multi-Task Learning*), with the rule of
    Sener & Koltun (NeurIPS 2018) for the overlap (the maximum; Sabour et al. add and clip) and for the pairs (every image is
    once the left one, its partner is drawn at random, whatever its class; Sabour et al. want another class).
    Departs from them: the images stay at their corners (Sabour et al. shift each at random by up to 4 pixels, Sener & Koltun by 6,
    before they shrink the canvas to 28x28), no image is its own partner, and a share of the training images is held back, before
    any are paired, for validation.

    Args:
        path: folder with the four IDX files, plain or .gz, of MNIST, Fashion-MNIST or a set in their format.
        second_path: another such folder, whose images take the lower right corner; None: both come from ``path``.
        rows: training pairs; None: one per training image. Validation and test have one pair per image of theirs at ``path``.
        val: share of the training images that is held back. seed: of that choice and of the pairs.

    Shape: inputs ``[N, 1, H + 8, W + 8]`` in [0, 1], targets ``[N]``. Raises ``DataError`` for folders and files that are missing or
    wrong (:mod:`mtl_runner.data.images.idx`), ``ConfigError`` for options that are.
    """

    def __init__(
        self,
        path: str | None = None,
        second_path: str | None = None,
        rows: int | None = None,
        val: float = 0.1,
        seed: int = 0,
    ) -> None:
        if path is None:
            raise ConfigError(f"data=multi_mnist needs data.path, the folder that holds {WANTED}.")
        check_rows(rows)
        if not 0 < val < 1:
            raise ConfigError(
                f"data.val must lie between 0 and 1, a share of the training images; found {val}."
            )
        left = read_idx_folder(path)
        right = left if second_path is None else read_idx_folder(second_path, "data.second_path")
        sizes = [
            "x".join(str(side) for side in data["train"].images.shape[1:]) for data in (left, right)
        ]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"The images of data.path have {sizes[0]} pixels, those of data.second_path {sizes[1]}; both must have one size."
            )
        self.tasks = [
            Task("left", "classification", classes=class_names(path, left)),
            Task("right", "classification", classes=class_names(second_path or path, right)),
        ]
        generator = torch.Generator().manual_seed(seed)
        lefts = _hold_back(left, val, generator)
        rights = lefts if right is left else _hold_back(right, val, generator)
        # The training split last: its size changes nothing in the others.
        sizes_of = {
            "val": len(lefts["val"]),
            "test": len(lefts["test"]),
            "train": rows or len(lefts["train"]),
        }
        self.splits = {
            name: _overlaid(lefts[name], rights[name], size, generator)
            for name, size in sizes_of.items()
        }


def overlay(upper_left: Tensor, lower_right: Tensor, shift: int) -> Tensor:
    """Each pair of images ``[N, H, W]`` on a canvas ``[N, 1, H + shift, W + shift]``: the brighter pixel where both lie."""
    rows, height, width = upper_left.shape
    canvas = upper_left.new_zeros(rows, 1, height + shift, width + shift)
    canvas[:, 0, :height, :width] = upper_left
    corner = canvas[:, 0, shift:, shift:]
    corner.copy_(torch.maximum(corner, lower_right))
    return canvas


def draw_pairs(
    left: int, right: int, rows: int, generator: torch.Generator, *, same: bool
) -> tuple[Tensor, Tensor]:
    """Which of ``left`` images stands left and which of ``right`` images right in each of so many pairs, two tensors ``[rows]``.

    Every left image comes once before any comes again; the right one is drawn at random. ``same``: both are the same images, and
    none is its own partner.
    """
    rounds = [torch.randperm(left, generator=generator) for _ in range(-(-rows // left))]
    first = torch.cat(rounds)[:rows]
    if not same:
        return first, torch.randint(right, (rows,), generator=generator)
    return first, (first + torch.randint(1, left, (rows,), generator=generator)) % left


def check_rows(rows: int | None) -> None:
    """Raises ``ConfigError`` unless it is a number of pairs."""
    if rows is not None and not is_whole(rows, 1):
        raise ConfigError(f"data.rows must be a positive number of training pairs; found {rows!r}.")


def class_names(path: str, parts: dict[str, LabelledImages]) -> tuple[str, ...]:
    """The names of Fashion-MNIST's classes where the folder's name says that it is that, else the numbers: the files hold no names."""
    count = max(2, *(int(part.labels.max()) + 1 for part in parts.values()))
    if "fashion" in str(Path(path).expanduser().absolute()).lower() and count == len(FASHION):
        return FASHION
    return tuple(str(number) for number in range(count))


def _hold_back(
    parts: dict[str, LabelledImages], val: float, generator: torch.Generator
) -> dict[str, LabelledImages]:
    """The images of each split; no image in two."""
    whole = parts["train"]
    order = torch.randperm(len(whole), generator=generator)
    held = round(len(whole) * val)
    splits = {
        "train": whole.rows(order[held:]),
        "val": whole.rows(order[:held]),
        "test": parts["t10k"],
    }
    for name, images in splits.items():
        if len(images) < 2:
            raise DataError(
                f"The {name} split has {len(images)} of the images to make pairs of; with data.val={val} there must be two or more in each."
            )
    return splits


def _overlaid(
    left: LabelledImages, right: LabelledImages, rows: int, generator: torch.Generator
) -> Split:
    i, j = draw_pairs(len(left), len(right), rows, generator, same=right is left)
    canvas = overlay(left.images[i], right.images[j], SHIFT)
    inputs = canvas.to(torch.get_default_dtype()).div_(255)
    return Split(inputs, {"left": left.labels[i], "right": right.labels[j]})
