"""Training images at random: from the names in ``data.augment`` to transforms of torchvision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import is_number

# Names, with the strength that they have alone.
STRENGTHS: dict[str, float] = {
    "crop": 0.6,  # smallest share of the image's area
    "flip": 0.5,  # probability
    "vertical_flip": 0.5,
    "rotate": 15.0,  # degrees to either side
    "color": 0.3,  # of brightness, contrast and saturation
    "gray": 0.2,  # probability
    "blur": 1.0,  # largest sigma in pixels
}
LARGEST = {"rotate": 180.0, "blur": 100.0}
DEFAULT = ("crop", "flip")
MISSING = -100  # in masks: what lies outside a turned image


def make_augmentation(
    augment: Sequence[Any] | None, size: tuple[int, int]
) -> tuple[bool, list[Callable[..., Any]]]:
    """Return whether images are cropped at random, and the transforms.

    Args:
        augment: ``data.augment``: names, mappings ``{name: strength}`` and transforms, in order;
            None: none.
        size: Height and width of a training image.

    Raises:
        ConfigError: If a name is unknown or a strength impossible.
    """
    if augment is None:
        return False, []
    if isinstance(augment, str) or not isinstance(augment, Sequence):
        raise ConfigError(
            f"data.augment must be a list, e.g. [crop, flip, {{rotate: 10}}]; found {augment!r}."
        )
    transforms = [_transform(entry, size) for entry in augment]
    names = [name for name, _ in transforms]
    return "crop" in names, [transform for _, transform in transforms]


def _transform(entry: Any, size: tuple[int, int]) -> tuple[str, Callable[..., Any]]:
    v2 = import_extra("torchvision.transforms.v2", "images", "data.augment")
    if callable(entry):
        return "", entry
    name, strength = entry, None
    if isinstance(entry, Mapping) and len(entry) == 1:
        name, strength = next(iter(entry.items()))
    if name not in STRENGTHS:
        raise ConfigError(
            f"data.augment holds {entry!r}; {suggest(str(name), STRENGTHS)}, or name a class of torchvision: {{_target_: torchvision.transforms.v2.RandomPerspective}}."
        )
    largest = LARGEST.get(name, 1.0)
    strength = STRENGTHS[name] if strength is None else strength
    if not is_number(strength) or not 0 < strength <= largest:
        raise ConfigError(
            f"data.augment: {name} must be a number above 0, at most {largest:g}; found {strength!r}."
        )
    tv_tensors = import_extra("torchvision.tv_tensors", "images", "data.augment")
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: MISSING}
    made: Any = {
        "crop": lambda: v2.RandomResizedCrop(size, scale=(strength, 1.0), antialias=True),
        "flip": lambda: v2.RandomHorizontalFlip(strength),
        "vertical_flip": lambda: v2.RandomVerticalFlip(strength),
        "rotate": lambda: v2.RandomRotation(
            strength, interpolation=v2.InterpolationMode.BILINEAR, fill=fill
        ),
        "color": lambda: v2.ColorJitter(strength, strength, strength),
        "gray": lambda: v2.RandomGrayscale(strength),
        "blur": lambda: v2.GaussianBlur(5, (0.1, max(0.1, strength))),
    }[name]()
    return str(name), made
