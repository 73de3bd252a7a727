"""Small road scenes drawn with NumPy: an image, and four answers for every pixel.

The answers are its class, the centre of its instance, inverse depth and surface normal. A pinhole
camera at a height of 1.5 m looks along a straight road. Lengths are in metres: x to the right, y
up, z ahead. Everything is drawn from far to near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = ("sky", "road", "pavement", "grass", "building", "car", "person", "tree")
SKY, ROAD, PAVEMENT, GRASS, BUILDING, CAR, PERSON, TREE = range(len(CLASSES))
CAMERA_HEIGHT = 1.5  # metres
FOG = 1 / 90  # share of the light that is lost per metre
PIXEL_NOISE = 0.02  # standard deviation; colours lie in [0, 1]
BASE_COLOURS = np.array(
    [
        (0.62, 0.76, 0.92),
        (0.36, 0.36, 0.38),
        (0.56, 0.54, 0.52),
        (0.36, 0.50, 0.26),
        (0.58, 0.48, 0.42),
        (0.50, 0.20, 0.20),
        (0.45, 0.40, 0.52),
        (0.22, 0.40, 0.20),
    ]
)

Array = np.ndarray


@dataclass
class Scene:
    """A scene under construction: one array per answer.

    Attributes:
        colour: Colours in [0, 1], ``[H, W, 3]``.
        label: Classes, ``[H, W]``.
        inverse_depth: Inverse depth in 1/m, 0 in the sky, ``[H, W]``.
        normal: Surface normals, NaN where there is no surface, ``[H, W, 3]``.
        centre: Row and column of the centre of a pixel's instance, NaN where there is none,
            ``[H, W, 2]``.
    """

    colour: Array
    label: Array
    inverse_depth: Array
    normal: Array
    centre: Array

    def draw(
        self, mask: Array, label: int, colour: Array, inverse_depth: float | Array, normal: Array
    ) -> None:
        """Paint a surface over everything behind it.

        Args:
            mask: The pixels of the surface, ``[H, W]``.
            label: Its class.
            colour: Its colour, ``[3]`` or ``[H, W, 3]``.
            inverse_depth: Its inverse depth in 1/m, a number or ``[H, W]``.
            normal: Its normal, ``[3]`` or ``[H, W, 3]``.
        """
        self.label[mask] = label
        self.colour[mask] = colour[mask] if colour.ndim == 3 else colour
        self.inverse_depth[mask] = (
            inverse_depth[mask] if isinstance(inverse_depth, np.ndarray) else inverse_depth
        )
        self.normal[mask] = normal[mask] if normal.ndim == 3 else normal
        self.centre[mask] = np.nan


def render(random: np.random.Generator, height: int, width: int) -> Scene:
    """Return one scene.

    Args:
        random: Decides everything in the scene.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Example:
        >>> import numpy as np
        >>> from mtl_runner.data.scenes.renderer import render
        >>> render(np.random.default_rng(0), height=16, width=32).colour.shape
        (16, 32, 3)
    """
    return _Painter(random, height, width).paint()


class _Painter:
    def __init__(self, random: np.random.Generator, height: int, width: int) -> None:
        self.random, self.height, self.width = random, height, width
        self.focal = 0.8 * width
        self.rows, self.columns = np.mgrid[0:height, 0:width] + 0.5
        self.horizon = height * random.uniform(0.36, 0.48)
        self.middle = width * random.uniform(0.42, 0.58)
        self.light = random.uniform(0.75, 1.1)
        sun = np.array([random.uniform(-1, 1), random.uniform(0.5, 1.2), random.uniform(-1, 0.2)])
        self.sun = sun / np.linalg.norm(sun)
        self.across = (self.columns - self.middle) / self.focal  # x / z of a pixel's ray
        self.below = (self.rows - self.horizon) / self.focal  # -y / z

    def paint(self) -> Scene:
        shape = (self.height, self.width)
        sky = BASE_COLOURS[SKY] * self.light * self._jitter(0.05)
        scene = Scene(
            colour=np.ones((*shape, 1)) * sky,
            label=np.full(shape, SKY),
            inverse_depth=np.zeros(shape),
            normal=np.full((*shape, 3), np.nan),
            centre=np.full((*shape, 2), np.nan),
        )
        self._ground(scene)
        for side in (-1, 1):
            self._buildings(scene, side)
        objects = [
            (z, label)
            for label, (nearest, limit) in self._population().items()
            for z in self._depths(nearest, limit)
        ]
        for z, label in sorted(objects, reverse=True):
            {CAR: self._car, PERSON: self._person, TREE: self._tree}[label](scene, z)
        self._weather(scene)
        return scene

    def _population(self) -> dict[int, tuple[float, int]]:
        """Return the nearest distance in metres and the largest number of objects of each class."""
        return {CAR: (6.0, 4), PERSON: (4.0, 4), TREE: (6.0, 4)}

    def _depths(self, nearest: float, limit: int) -> Array:
        """Return distances of up to ``limit`` objects.

        They are spread evenly over what can be seen, that is over the logarithm of the distance.
        """
        return np.exp(
            self.random.uniform(np.log(nearest), np.log(40), self.random.integers(0, limit + 1))
        )

    def _ground(self, scene: Scene) -> None:
        self.kerb = self.random.uniform(3.0, 4.5)
        self.wall = self.kerb + self.random.uniform(2.0, 5.0)
        below = self.below > 1e-3
        x = np.where(below, self.across * CAMERA_HEIGHT / np.maximum(self.below, 1e-3), 0.0)
        z = CAMERA_HEIGHT / np.maximum(self.below, 1e-3)
        verge = self.random.random() < 0.5
        label = np.where(
            np.abs(x) < self.kerb,
            ROAD,
            np.where(verge & (np.abs(x) > self.kerb + 1.2), GRASS, PAVEMENT),
        )
        up = np.array([0.0, 1.0, 0.0])
        for kind in (ROAD, PAVEMENT, GRASS):
            colour = self._lit(BASE_COLOURS[kind] * self._jitter(0.12), up)
            scene.draw(below & (label == kind), kind, colour, self.below / CAMERA_HEIGHT, up)
        line = below & (np.abs(x) < 0.12) & (z % 6 < 3)
        scene.colour[line] = 0.85 * self.light

    def _buildings(self, scene: Scene, side: int) -> None:
        """Draw a row of facades along one side of the road, with gaps."""
        z = self.random.uniform(3, 12)
        depth = np.where(
            side * self.across > 1e-3, self.wall / np.maximum(side * self.across, 1e-3), 1e9
        )
        elevation = -self.below * depth + CAMERA_HEIGHT  # metres above the ground
        normal = np.array([-float(side), 0.0, 0.0])
        while z < 60:
            length, tall = self.random.uniform(6, 16), self.random.uniform(3.5, 14)
            mask = (depth >= z) & (depth < z + length) & (elevation >= 0) & (elevation <= tall)
            colour = np.broadcast_to(
                self._lit(BASE_COLOURS[BUILDING] * self._jitter(0.25), normal), (*mask.shape, 3)
            ).copy()
            windows = (
                (elevation % 3 > 1.2)
                & (elevation % 3 < 2.4)
                & (depth % 3 > 1.0)
                & (depth % 3 < 2.2)
            )
            colour[windows] *= 0.55
            scene.draw(mask, BUILDING, colour, 1 / depth, normal)
            z += length + (self.random.uniform(2, 10) if self.random.random() < 0.4 else 0.0)

    def _place(self, x: float, z: float) -> tuple[float, float, float]:
        """Return column and row of a point on the ground, and pixels per metre there."""
        return (
            self.middle + self.focal * x / z,
            self.horizon + self.focal * CAMERA_HEIGHT / z,
            self.focal / z,
        )

    def _box(self, column: float, row: float, wide: float, tall: float) -> Array:
        return np.asarray(
            (np.abs(self.columns - column) < wide / 2)
            & (self.rows < row)
            & (self.rows > row - tall)
        )

    def _car(self, scene: Scene, z: float) -> None:
        x = self.random.choice([-1, 1]) * self.random.uniform(1.0, self.kerb - 0.6)
        column, row, scale = self._place(x, z)
        wide, tall = self.random.uniform(1.6, 2.1) * scale, self.random.uniform(1.35, 1.9) * scale
        turn = self.random.uniform(-0.6, 0.6)
        normal = np.array([np.sin(turn), 0.0, -np.cos(turn)])
        body = self._box(column, row, wide, 0.62 * tall) | self._box(column, row, 0.78 * wide, tall)
        paint = self.random.uniform(0.1, 0.95, 3)
        colour = np.broadcast_to(self._lit(paint, normal), (*body.shape, 3)).copy()
        colour[self._box(column, row - 0.62 * tall, 0.66 * wide, 0.3 * tall)] *= 0.4  # the window
        colour[self._box(column, row, wide, 0.14 * tall)] *= 0.3  # the wheels' shadow
        scene.draw(body, CAR, colour, 1 / z, normal)
        self._mark(scene, body)

    def _person(self, scene: Scene, z: float) -> None:
        x = self.random.choice([-1, 1]) * self.random.uniform(0.5, self.wall - 0.5)
        column, row, scale = self._place(x, z)
        tall = self.random.uniform(1.5, 1.9) * scale
        head = ((self.columns - column) / (0.16 * scale)) ** 2 + (
            (self.rows - row + 0.9 * tall) / (0.13 * tall)
        ) ** 2 < 1
        body = self._box(column, row, self.random.uniform(0.4, 0.6) * scale, 0.84 * tall)
        normal = np.array([0.0, 0.0, -1.0])
        colour = np.broadcast_to(
            self._lit(self.random.uniform(0.1, 0.9, 3), normal), (*body.shape, 3)
        ).copy()
        colour[head] = self._lit(np.array([0.72, 0.55, 0.45]), normal)
        scene.draw(body | head, PERSON, colour, 1 / z, normal)
        self._mark(scene, body | head)

    def _tree(self, scene: Scene, z: float) -> None:
        x = self.random.choice([-1, 1]) * self.random.uniform(self.kerb + 0.3, self.wall - 0.3)
        column, row, scale = self._place(x, z)
        tall, radius = self.random.uniform(3, 6) * scale, self.random.uniform(0.9, 1.8) * scale
        towards = np.array([0.0, 0.0, -1.0])
        trunk = self._box(column, row, 0.3 * scale, tall)
        scene.draw(trunk, TREE, self._lit(np.array([0.35, 0.26, 0.18]), towards), 1 / z, towards)
        right, up = (self.columns - column) / radius, (row - tall - self.rows) / radius
        crown = right**2 + up**2 < 1
        ahead = np.sqrt(np.maximum(1 - right**2 - up**2, 0.0))
        normal = np.stack([right, up, -ahead], -1)  # of a ball
        scene.draw(
            crown, TREE, self._lit(BASE_COLOURS[TREE] * self._jitter(0.3), normal), 1 / z, normal
        )

    def _mark(self, scene: Scene, mask: Array) -> None:
        """Set the centre of an instance: of what lies in the picture, whatever hides it later."""
        if mask.any():
            scene.centre[mask] = self.rows[mask].mean(), self.columns[mask].mean()

    def _jitter(self, spread: float) -> Array:
        return 1 + spread * self.random.standard_normal(3)

    def _lit(self, colour: Array, normal: Array) -> Array:
        """Return the colour in the light of the sky, and of the sun where the surface faces it."""
        facing = np.maximum(normal @ self.sun, 0.0)
        return np.asarray(colour * self.light * (0.55 + 0.55 * facing[..., None]))

    def _weather(self, scene: Scene) -> None:
        known = scene.inverse_depth > 0
        clear = np.where(known, np.exp(-FOG / np.maximum(scene.inverse_depth, 1e-6)), 1.0)[
            ..., None
        ]
        hazy = clear * scene.colour + (1 - clear) * BASE_COLOURS[SKY] * self.light
        scene.colour = np.clip(
            hazy + PIXEL_NOISE * self.random.standard_normal(scene.colour.shape), 0, 1
        )
