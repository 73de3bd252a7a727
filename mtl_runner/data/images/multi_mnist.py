"""Two images on one canvas: MultiMNIST, Multi-Fashion and Multi-(Fashion+MNIST)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.images.idx import WANTED, LabelledImages, read_idx_folder
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.errors.checks import is_whole_number
from mtl_runner.tasks.task import Task

SHIFT = 8  # pixels, from 28x28 to the papers' 36x36
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
    """Two images on one canvas, with their classes as the tasks ``left`` and ``right``.

    One image lies in the upper left corner, the other in the lower right, on a canvas that is 8
    pixels wider and higher than an image, so 36x36; where both have ink the brighter pixel stands.
    That is the size of Sabour et al. (NeurIPS 2017) and of Lin et al. (NeurIPS 2019, *Pareto
    Multi-Task Learning*), with the rule of Sener & Koltun (NeurIPS 2018) for the overlap (the
    maximum; Sabour et al. add and clip) and for the pairs (every image is once the left one, its
    partner is drawn at random, whatever its class; Sabour et al. want another class).

    Departs from them: the images stay at their corners (Sabour et al. shift each at random by up to
    4 pixels, Sener & Koltun by 6, before they shrink the canvas to 28x28), no image is its own
    partner, and a share of the training images is held back for validation, before any are paired.

    Args:
        path: Folder with the four IDX files, plain or .gz, of MNIST, Fashion-MNIST or a set in
            their format.
        second_path: Another such folder, whose images take the lower right corner; None: both come
            from ``path``.
        rows: Number of training pairs; None: one per training image. Validation and test have one
            pair per image of theirs at ``path``.
        val: Share of the training images that is held back.
        seed: Seed of that choice and of the pairs.

    Shape:
        Inputs ``[N, 1, H + 8, W + 8]`` in [0, 1], targets ``[N]``.

    Raises:
        ConfigError: If an option is impossible.
        DataError: If a folder or file is missing or wrong (:mod:`mtl_runner.data.images.idx`).

    Example:
        >>> from mtl_runner.data import MultiMNIST
        >>> data = MultiMNIST("data/mnist", "data/fashion_mnist")  # doctest: +SKIP
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
        left_size, right_size = left["train"].size, right["train"].size
        if left_size != right_size:
            raise DataError(
                f"The images of data.path have {left_size} pixels, those of data.second_path {right_size}; both must have one size."
            )
        self.tasks = [
            Task("left", "classification", classes=class_names(path, left)),
            Task("right", "classification", classes=class_names(second_path or path, right)),
        ]
        generator = torch.Generator().manual_seed(seed)
        lefts = _hold_back(left, val, generator)
        rights = lefts if right is left else _hold_back(right, val, generator)
        # Train stands last: its size changes nothing in the others.
        pairs = {
            "val": len(lefts["val"]),
            "test": len(lefts["test"]),
            "train": rows or len(lefts["train"]),
        }
        self.splits = {
            name: _paired(lefts[name], rights[name], count, generator)
            for name, count in pairs.items()
        }


def overlay(upper_left: Tensor, lower_right: Tensor, shift: int) -> Tensor:
    """Return each pair of images on a canvas; where both lie, the brighter pixel stands.

    Args:
        upper_left: Images ``[N, H, W]``.
        lower_right: Images ``[N, H, W]``, shifted to the right and down.
        shift: By how many pixels.

    Returns:
        Canvases ``[N, 1, H + shift, W + shift]``.

    Example:
        >>> import torch
        >>> from mtl_runner.data.images.multi_mnist import overlay
        >>> overlay(torch.full((1, 2, 2), 5), torch.full((1, 2, 2), 7), shift=1)[0, 0]
        tensor([[5, 5, 0],
                [5, 7, 7],
                [0, 7, 7]])
    """
    rows, height, width = upper_left.shape
    canvas = upper_left.new_zeros(rows, 1, height + shift, width + shift)
    canvas[:, 0, :height, :width] = upper_left
    corner = canvas[:, 0, shift:, shift:]
    corner.copy_(torch.maximum(corner, lower_right))
    return canvas


def draw_pairs(
    left: int, right: int, rows: int, generator: torch.Generator, *, same: bool
) -> tuple[Tensor, Tensor]:
    """Return which images make the pairs: indices of the left and of the right ones, ``[rows]``.

    Every left image comes once before any comes again; the right one is drawn at random.

    Args:
        left: Number of images for the left place.
        right: Number of images for the right place.
        rows: Number of pairs.
        generator: Source of all randomness.
        same: Whether both are the same images; then none is its own partner.

    Example:
        >>> import torch
        >>> from mtl_runner.data.images.multi_mnist import draw_pairs
        >>> left, right = draw_pairs(3, 3, 6, torch.Generator().manual_seed(0), same=True)
        >>> left.bincount(), bool((left == right).any())
        (tensor([2, 2, 2]), False)
    """
    rounds = [torch.randperm(left, generator=generator) for _ in range(-(-rows // left))]
    first = torch.cat(rounds)[:rows]
    if not same:
        return first, torch.randint(right, (rows,), generator=generator)
    return first, (first + torch.randint(1, left, (rows,), generator=generator)) % left


def check_rows(rows: int | None) -> None:
    """Check ``data.rows``, the number of training pairs.

    Raises:
        ConfigError: Unless it is a positive whole number or None.
    """
    if rows is not None and not is_whole_number(rows, 1):
        raise ConfigError(f"data.rows must be a positive number of training pairs; found {rows!r}.")


def class_names(path: str, parts: dict[str, LabelledImages]) -> tuple[str, ...]:
    """Return the names of the classes of a folder's images.

    The files hold numbers only: names are those of Fashion-MNIST where the folder's path says that
    it is that, else the numbers.

    Args:
        path: The folder.
        parts: Its images, as :func:`~mtl_runner.data.images.idx.read_idx_folder` returns them.
    """
    count = max(2, *(int(part.labels.max()) + 1 for part in parts.values()))
    if "fashion" in str(Path(path).expanduser().absolute()).lower() and count == len(FASHION):
        return FASHION
    return tuple(str(number) for number in range(count))


def _hold_back(
    parts: dict[str, LabelledImages], val: float, generator: torch.Generator
) -> dict[str, LabelledImages]:
    """Return the images of each split; no image stands in two."""
    training = parts["train"]
    order = torch.randperm(len(training), generator=generator)
    n_val = round(len(training) * val)
    splits = {
        "train": training.rows(order[n_val:]),
        "val": training.rows(order[:n_val]),
        "test": parts["t10k"],
    }
    for name, images in splits.items():
        if len(images) < 2:
            raise DataError(
                f"The {name} split has {len(images)} of the images to make pairs of; with data.val={val} there must be two or more in each."
            )
    return splits


def _paired(
    left: LabelledImages, right: LabelledImages, rows: int, generator: torch.Generator
) -> Split:
    i, j = draw_pairs(len(left), len(right), rows, generator, same=right is left)
    canvas = overlay(left.images[i], right.images[j], SHIFT)
    inputs = canvas.to(torch.get_default_dtype()).div_(255)
    return Split(inputs, {"left": left.labels[i], "right": right.labels[j]})
