"""Small road scenes with four answers per pixel, drawn on the spot: the problem that loss weighting was invented for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_runner.data.cache import Splits, cached
from mtl_runner.data.dataset import SPLITS, Split
from mtl_runner.data.scenes.renderer import CLASSES, Scene, render
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import is_number, whole
from mtl_runner.tasks.task import Task

VERSION = 1  # of the renderer: another one draws other scenes
NOISE = ("segmentation", "instance", "depth", "normal")
SMALLEST = 16  # pixels of a side

Array = np.ndarray


class Scenes:
    """Rendered road scenes ``[N, 3, H, W]`` in [0, 1] with the tasks of Kendall, Gal & Cipolla (CVPR 2018), and surface normals.

    - ``segmentation``: 8 classes, cross entropy, ``[N, H, W]``.
    - ``instance``: from every pixel of a car or person the way to the middle of what shows of it, in pixels (down, right), mean
      absolute error, ``[N, 2, H, W]``; missing elsewhere.
    - ``depth``: inverse depth in 1/m, 0 in the sky, mean absolute error, ``[N, 1, H, W]``.
    - ``normal``: unit vectors (right, up, ahead), one less the cosine, ``[N, 3, H, W]``; missing in the sky.

    Losses differ by two orders of magnitude, as in the paper. Validation and test are scenes of their own, without label noise.

    Args:
        n, n_val, n_test: scenes per split. height, width: in pixels.
        noise: label noise of the training split per task: ``segmentation``: the share of pixels with a class drawn at random;
            ``instance`` (pixels) and ``depth`` (1/m): scale b of Laplace noise, which is then the true sigma of the task;
            ``normal``: standard deviation in degrees of a rotation about each of two axes.
        seed: of the scenes and the noise. cache: folder for the drawn scenes; None: the user's cache folder.

    Raises ``ConfigError`` for sizes and noises that cannot be.
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
        for name, value, least in (
            *((k, v, 1) for k, v in sizes.items()),
            ("height", height, SMALLEST),
            ("width", width, SMALLEST),
            ("seed", seed, 0),
        ):
            whole(value, f"data.{name}", least)
        noise = dict.fromkeys(NOISE, 0.0) | _checked(noise or {})
        config: dict[str, Any] = {
            **sizes,
            "height": height,
            "width": width,
            "noise": noise,
            "seed": seed,
            "version": VERSION,
        }
        self.tasks = [
            Task(
                "segmentation",
                "classification",
                size=len(CLASSES),
                classes=CLASSES,
                metrics=("miou", "pixel_accuracy"),
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
                metrics=("abs_err", "rel_err"),
            ),
            Task(
                "normal",
                "direction",
                size=3,
                metrics=("angle_mean", "angle_median", "within_11", "within_22", "within_30"),
            ),
        ]
        counts = (n, n_val, n_test)
        self.splits: Splits = cached(
            "scenes", config, lambda: _draw(counts, height, width, noise, seed), cache
        )


def _checked(noise: Mapping[str, float]) -> dict[str, float]:
    for name, value in noise.items():
        if name not in NOISE:
            raise ConfigError(
                f"data.noise names the unknown task {name!r}; {suggest(name, NOISE)}."
            )
        most = 1.0 if name == "segmentation" else float("inf")
        if not is_number(value) or not 0 <= value <= most:
            raise ConfigError(
                f"data.noise.{name} must be a {'share from 0 to 1' if most == 1 else 'number of at least 0'}; found {value!r}."
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
            _spoil(targets, noise, np.random.default_rng([seed, len(SPLITS)]))
        images = np.stack([scene.colour for scene in scenes]).transpose(0, 3, 1, 2)
        splits[name] = Split(
            _tensor(images), {task: _tensor(target) for task, target in targets.items()}
        )
    return splits


def _targets(scenes: list[Scene]) -> dict[str, Array]:
    rows, columns = np.mgrid[0 : scenes[0].label.shape[0], 0 : scenes[0].label.shape[1]] + 0.5
    here = np.stack([rows, columns])
    centres = np.stack([scene.centre for scene in scenes]).transpose(0, 3, 1, 2)
    return {
        "segmentation": np.stack([scene.label for scene in scenes]),
        "instance": centres - here,
        "depth": np.stack([scene.inverse_depth for scene in scenes])[:, None],
        "normal": np.stack([scene.normal for scene in scenes]).transpose(0, 3, 1, 2),
    }


def _spoil(
    targets: dict[str, Array], noise: Mapping[str, float], random: np.random.Generator
) -> None:
    """Add the label noise; every task's draws are its own whatever the others' noise is."""
    streams = dict(zip(NOISE, random.spawn(len(NOISE)), strict=True))
    labels = targets["segmentation"]
    wrong = streams["segmentation"].random(labels.shape) < noise["segmentation"]
    targets["segmentation"] = np.where(
        wrong, streams["segmentation"].integers(0, len(CLASSES), labels.shape), labels
    )
    for name in ("instance", "depth"):
        targets[name] = (
            targets[name] + streams[name].laplace(0.0, 1.0, targets[name].shape) * noise[name]
        )
    targets["normal"] = _rotated(targets["normal"], np.deg2rad(noise["normal"]), streams["normal"])


def _rotated(normals: Array, angle: float, random: np.random.Generator) -> Array:
    """Unit vectors ``[N, 3, H, W]``, tilted by normal angles (radians) along two directions across them."""
    tilt = random.standard_normal(normals.shape) * angle
    across = tilt - (tilt * normals).sum(1, keepdims=True) * normals
    turn = np.linalg.norm(across, axis=1, keepdims=True)
    return np.asarray(np.cos(turn) * normals + np.sinc(turn / np.pi) * across)


def _tensor(array: Array) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor.long()
