"""Drawn road scenes with four answers per pixel: what loss weighting was invented for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_runner.data.cache import Splits, cached
from mtl_runner.data.dataset import SPLITS, Split
from mtl_runner.data.pixel_metrics import DEPTH_METRICS, NORMAL_METRICS, SEGMENTATION_METRICS
from mtl_runner.data.scenes.renderer import CLASSES, Scene, render
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import is_number, whole_number
from mtl_runner.tasks.task import Task

VERSION = 1  # of the renderer: another one draws other scenes
NOISE_TASKS = ("segmentation", "instance", "depth", "normal")
SMALLEST_SIDE = 16  # pixels

Array = np.ndarray


class Scenes:
    """Rendered road scenes with the tasks of Kendall, Gal & Cipolla (CVPR 2018), and normals.

    - ``segmentation``: 8 classes, cross entropy, ``[N, H, W]``.
    - ``instance``: from every pixel of a car or person the way to the centre of what shows of it,
      in pixels (down, right), mean absolute error, ``[N, 2, H, W]``; missing elsewhere.
    - ``depth``: inverse depth in 1/m, 0 in the sky, mean absolute error, ``[N, 1, H, W]``.
    - ``normal``: unit vectors (right, up, ahead), one less the cosine, ``[N, 3, H, W]``; missing in
      the sky.

    Losses differ by two orders of magnitude, as in the paper. Validation and test are scenes of
    their own, without label noise.

    Args:
        n: Number of training scenes.
        n_val: Number of validation scenes.
        n_test: Number of test scenes.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        noise: Label noise of the training split per task: for ``segmentation`` the share of pixels
            with a class drawn at random; for ``instance`` (pixels) and ``depth`` (1/m) the scale b
            of Laplace noise, which is then the true sigma of the task; for ``normal`` the standard
            deviation in degrees of a rotation about each of two axes.
        seed: Seed of the scenes and the noise.
        cache: Folder for the drawn scenes; None: the user's cache folder.

    Shape:
        Inputs ``[N, 3, H, W]`` in [0, 1].

    Raises:
        ConfigError: If a size or noise is impossible.

    Example:
        >>> import tempfile
        >>> from mtl_runner.data import Scenes
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     data = Scenes(n=2, n_val=1, n_test=1, noise={"depth": 0.01}, cache=folder)
        >>> [(task.name, task.true_sigma) for task in data.tasks]
        [('segmentation', None), ('instance', None), ('depth', 0.01), ('normal', None)]
        >>> tuple(data.splits["train"].inputs.shape)
        (2, 3, 32, 64)
    """

    def __init__(
        self,
        n: int = 600,
        n_val: int = 100,
        n_test: int = 200,
        height: int = 32,
        width: int = 64,
        noise: Mapping[str, float] | None = None,
        seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        sizes = {"n": n, "n_val": n_val, "n_test": n_test}
        for name, value, minimum in (
            *((name, size, 1) for name, size in sizes.items()),
            ("height", height, SMALLEST_SIDE),
            ("width", width, SMALLEST_SIDE),
            ("seed", seed, 0),
        ):
            whole_number(value, f"data.{name}", minimum)
        noise = dict.fromkeys(NOISE_TASKS, 0.0) | _checked_noise(noise or {})
        self.tasks = _tasks(noise)
        config: dict[str, Any] = {
            **sizes,
            "height": height,
            "width": width,
            "noise": noise,
            "seed": seed,
            "version": VERSION,
        }
        counts = (n, n_val, n_test)
        self.splits: Splits = cached(
            "scenes", config, lambda: _draw(counts, height, width, noise, seed), cache
        )


def _tasks(noise: Mapping[str, float]) -> list[Task]:
    return [
        Task(
            "segmentation",
            "classification",
            size=len(CLASSES),
            classes=CLASSES,
            metrics=SEGMENTATION_METRICS,
        ),
        Task(
            "instance",
            "regression_l1",
            size=2,
            true_sigma=noise["instance"] or None,
            metrics=("instance_error",),
        ),
        Task(
            "depth",
            "regression_l1",
            size=1,
            true_sigma=noise["depth"] or None,
            metrics=DEPTH_METRICS,
        ),
        Task("normal", "direction", size=3, metrics=NORMAL_METRICS),
    ]


def _checked_noise(noise: Mapping[str, float]) -> dict[str, float]:
    for name, value in noise.items():
        if name not in NOISE_TASKS:
            raise ConfigError(
                f"data.noise names the unknown task {name!r}; {suggest(name, NOISE_TASKS)}."
            )
        highest = 1.0 if name == "segmentation" else float("inf")
        if not is_number(value) or not 0 <= value <= highest:
            raise ConfigError(
                f"data.noise.{name} must be a {'share from 0 to 1' if highest == 1 else 'number of at least 0'}; found {value!r}."
            )
    return {name: float(value) for name, value in noise.items()}


def _draw(
    counts: tuple[int, ...], height: int, width: int, noise: Mapping[str, float], seed: int
) -> Splits:
    splits = {}
    for stream, (name, count) in enumerate(zip(SPLITS, counts, strict=True)):
        # A generator per scene: the first scenes are the same however many there are.
        scenes = [
            render(np.random.default_rng([seed, stream, i]), height, width) for i in range(count)
        ]
        targets = _targets(scenes)
        if name == "train" and any(noise.values()):
            _add_noise(targets, noise, np.random.default_rng([seed, len(SPLITS)]))
        images = np.stack([scene.colour for scene in scenes]).transpose(0, 3, 1, 2)
        splits[name] = Split(
            _tensor(images), {task: _tensor(target) for task, target in targets.items()}
        )
    return splits


def _targets(scenes: list[Scene]) -> dict[str, Array]:
    rows, columns = np.mgrid[0 : scenes[0].label.shape[0], 0 : scenes[0].label.shape[1]] + 0.5
    pixel_positions = np.stack([rows, columns])
    centres = np.stack([scene.centre for scene in scenes]).transpose(0, 3, 1, 2)
    return {
        "segmentation": np.stack([scene.label for scene in scenes]),
        "instance": centres - pixel_positions,
        "depth": np.stack([scene.inverse_depth for scene in scenes])[:, None],
        "normal": np.stack([scene.normal for scene in scenes]).transpose(0, 3, 1, 2),
    }


def _add_noise(
    targets: dict[str, Array], noise: Mapping[str, float], random: np.random.Generator
) -> None:
    """Add the label noise; a task's draws do not depend on the noise of the other tasks."""
    generators = dict(zip(NOISE_TASKS, random.spawn(len(NOISE_TASKS)), strict=True))
    labels, generator = targets["segmentation"], generators["segmentation"]
    redrawn = generator.random(labels.shape) < noise["segmentation"]
    random_labels = generator.integers(0, len(CLASSES), labels.shape)
    targets["segmentation"] = np.where(redrawn, random_labels, labels)
    for name in ("instance", "depth"):
        laplace = generators[name].laplace(0.0, 1.0, targets[name].shape)
        targets[name] = targets[name] + laplace * noise[name]
    angle = np.deg2rad(noise["normal"])
    targets["normal"] = _rotated(targets["normal"], angle, generators["normal"])


def _rotated(normals: Array, angle: float, random: np.random.Generator) -> Array:
    """Return unit vectors ``[N, 3, H, W]``, each tilted at random.

    The tilt is by normally distributed angles (standard deviation in radians) along two directions
    across the vector.
    """
    tilt = random.standard_normal(normals.shape) * angle
    across = tilt - (tilt * normals).sum(1, keepdims=True) * normals
    turn = np.linalg.norm(across, axis=1, keepdims=True)
    return np.asarray(np.cos(turn) * normals + np.sinc(turn / np.pi) * across)


def _tensor(array: Array) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor.long()
