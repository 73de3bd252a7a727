"""Options that all image data have: size, channels, augmentation and normalization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mtl_runner.data.image_folder.augmentation import DEFAULT, make_augmentation
from mtl_runner.data.image_folder.reader import IMAGENET_MEAN, IMAGENET_STD, MODES, ImageReader
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, is_number, is_whole_number

LARGEST_AUTO = 224  # pixels: on images of this size most backbones were trained
LOOKED_AT = 100  # images, for a size that all have


def image_reader(
    size: Any, channels: Any, normalize: Any, sizes: Callable[[], Sequence[tuple[int, int]]]
) -> ImageReader:
    """Return the reader that the options describe.

    Args:
        size: ``data.size``: a number, ``[height, width]``, or ``auto``: that of the first images if
            all have the same, of at most 224 pixels, else 224.
        channels: ``data.channels``: 3 or 1.
        normalize: ``data.normalize``: ``imagenet``, None (values in [0, 1]), or ``{mean: [...],
            std: [...]}``.
        sizes: Returns height and width of the first images.

    Raises:
        ConfigError: If an option is impossible.

    Example:
        >>> image_reader("auto", 3, None, lambda: [(64, 48)] * 5).size
        (64, 48)
    """
    if channels not in MODES or isinstance(channels, bool):
        raise ConfigError(f"data.channels must be 3 (colour) or 1 (gray); found {channels!r}.")
    mean, std = _normalization(normalize, channels)
    return ImageReader(_size(size, sizes), channels, mean, std)


def _size(size: Any, sizes: Callable[[], Sequence[tuple[int, int]]]) -> tuple[int, int]:
    if size == "auto":
        all_sizes = set(sizes())
        first = next(iter(all_sizes), (LARGEST_AUTO, LARGEST_AUTO))
        return first if len(all_sizes) == 1 and max(first) <= LARGEST_AUTO else (LARGEST_AUTO,) * 2
    if is_whole_number(size, 1):
        return (size, size)
    if (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(is_whole_number(s, 1) for s in size)
    ):
        return (size[0], size[1])
    raise ConfigError(
        f"data.size must be auto, a number of pixels, or [height, width]; found {size!r}."
    )


def _normalization(normalize: Any, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if normalize == "imagenet":
        if channels == 3:
            return IMAGENET_MEAN, IMAGENET_STD
        return (sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,)
    if normalize is None:
        return (0.0,) * channels, (1.0,) * channels
    if isinstance(normalize, dict) and set(normalize) == {"mean", "std"}:
        mean, std = (
            tuple(value) if isinstance(value, list | tuple) else (value,) * channels
            for value in (normalize["mean"], normalize["std"])
        )
        numbers = all(map(is_number, (*mean, *std))) and len(mean) == len(std) == channels
        if numbers and min(std) > 0:
            return tuple(map(float, mean)), tuple(map(float, std))
    raise ConfigError(
        f"data.normalize must be imagenet, null, or {{mean: [...], std: [...]}} with {channels} numbers each, std above 0; found {normalize!r}."
    )


def augmentation(augment: Any, size: tuple[int, int]) -> tuple[bool, Sequence[Callable[..., Any]]]:
    """Return the transforms of training images; ``auto`` is a random crop and a flip.

    Args:
        augment: ``data.augment``: ``auto``, a list, or None.
        size: Height and width of an image.

    Raises:
        ConfigError: If an entry is unknown.
    """
    return make_augmentation(DEFAULT if augment == "auto" else augment, size)


def check_on_error(on_error: Any) -> str:
    """Return ``data.on_error``, checked: ``raise`` or ``skip``."""
    return choice(on_error, "data.on_error", ("raise", "skip"))
