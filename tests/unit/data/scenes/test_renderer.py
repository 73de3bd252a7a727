"""The drawn scenes have the geometry that a camera would see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mtl_runner.data import Split
from mtl_runner.data.scenes.renderer import BUILDING, CAR, GRASS, PAVEMENT, PERSON, ROAD, SKY, TREE

HEIGHT, WIDTH = 32, 48
GROUND, OBJECTS = (ROAD, PAVEMENT, GRASS), (CAR, PERSON, TREE)
FOCAL, CAMERA = 0.8 * WIDTH, 1.5  # pixels, metres


def is_class(label: Tensor, *classes: int) -> Tensor:
    """Return where a label is one of some classes, ``[..., H, W]``."""
    return torch.isin(label, torch.tensor(classes))


def pixel_positions() -> tuple[Tensor, Tensor]:
    """Return row and column of the middle of every pixel, ``[H, W]`` each."""
    rows, columns = torch.meshgrid(
        torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij"
    )
    return rows.double(), columns.double()


def ground_lines(train: Split) -> Tensor:
    """Return the row of each scene's horizon, ``[N, 1, 1]``.

    It is fitted to the inverse depth of the ground, which is (row - horizon) / (focal *
    height).
    """
    rows, _ = pixel_positions()
    horizons = []
    for label, depth in zip(
        train.targets["segmentation"], train.targets["depth"][:, 0], strict=True
    ):
        ground = is_class(label, *GROUND)
        assert ground.sum() > 20
        slope, start = np.polyfit(rows[ground], depth[ground], 1)
        assert slope == pytest.approx(1 / (FOCAL * CAMERA), rel=1e-5)
        assert (slope * rows + start)[ground].numpy() == pytest.approx(
            depth[ground].numpy(), abs=1e-6
        )
        horizons.append(-start / slope)
    return torch.tensor(horizons).view(-1, 1, 1)


def test_every_class_is_in_the_pictures(train: Split) -> None:
    """Breaks if a class is drawn outside the image or painted over: the problem loses it."""
    shares = (
        torch.bincount(train.targets["segmentation"].flatten(), minlength=8)
        / train.targets["segmentation"].numel()
    )
    assert shares.min() > 0.002
    assert shares.max() < 0.6


def test_the_ground_is_a_plane_a_metre_and_a_half_below_a_pinhole(train: Split) -> None:
    """Breaks if inverse depth is not what a camera sees.

    Linear in the row, nothing at a horizon that lies inside the picture.
    """
    horizons = ground_lines(train) / HEIGHT
    assert horizons.min() >= 0.36
    assert horizons.max() <= 0.48
    assert horizons.std() > 0.01
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    normals = train.targets["normal"].movedim(1, -1)
    assert (normals[is_class(train.targets["segmentation"], *GROUND)] == up).all()


def test_nothing_lies_beneath_the_ground(train: Split) -> None:
    """Breaks if a thing is drawn with another depth than that of the place where it stands."""
    rows, _ = pixel_positions()
    ground = (rows - ground_lines(train)) / (FOCAL * CAMERA)
    depth, label = train.targets["depth"][:, 0], train.targets["segmentation"]
    standing = is_class(label, BUILDING, *OBJECTS)
    assert (depth[standing] > ground[standing] - 1e-6).all()
    assert (depth[standing] > 1 / 80).all()
    assert (depth[is_class(label, *OBJECTS)] > 1 / 40 - 1e-6).all()


def test_facades_are_upright_and_run_along_the_road(train: Split) -> None:
    """Breaks if a facade's normal is not horizontal and across the road.

    Its inverse depth is linear in the column.
    """
    _, columns = pixel_positions()
    normals = train.targets["normal"].movedim(1, -1)
    depth, facades = train.targets["depth"][:, 0], is_class(train.targets["segmentation"], BUILDING)
    assert (normals[facades][:, 1:] == 0).all()
    assert (normals[facades][:, 0].abs() == 1).all()
    checked = 0
    for scene_depth, mask, normal in zip(depth, facades, normals[..., 0], strict=True):
        for side in (-1, 1):
            facade = mask & (normal == -side)  # it looks towards the road
            if len(columns[facade].unique()) < 3:
                continue
            slope, start = np.polyfit(columns[facade], scene_depth[facade], 1)
            assert (slope * columns + start)[facade].numpy() == pytest.approx(
                scene_depth[facade].numpy(), abs=1e-6
            )
            assert slope * side > 0
            vanishing_column = -start / slope  # the vanishing point of the road
            assert 0.42 * WIDTH <= vanishing_column <= 0.58 * WIDTH
            assert (
                5.0 - 1e-3 <= side / (slope * FOCAL) <= 9.5 + 1e-3
            )  # metres from the middle of the road to the wall
            checked += 1
    assert checked > 20


def test_normals_are_of_unit_length_and_face_the_camera_where_the_thing_does(train: Split) -> None:
    """Breaks the loss of the normals, which takes unit vectors for granted.

    No object turns its back to the camera.
    """
    normals, label = train.targets["normal"].movedim(1, -1), train.targets["segmentation"]
    known = ~normals.isnan().any(-1)
    torch.testing.assert_close(
        normals[known].norm(dim=-1), torch.ones(int(known.sum())).double(), rtol=0, atol=1e-6
    )
    assert (normals[is_class(label, *OBJECTS)][:, 2] <= 0).all()
    cars = normals[is_class(label, CAR)]
    assert (cars[:, 1] == 0).all()
    assert (cars[:, 0].abs() <= math.sin(0.6) + 1e-6).all()
    assert len(cars[:, 0].unique()) > 10  # they are turned
    assert (normals[is_class(label, PERSON)] == torch.tensor([0.0, 0.0, -1.0])).all()


def test_the_sky_has_an_inverse_depth_of_nothing_and_no_normal(train: Split) -> None:
    """Breaks if something else is infinitely far, or the sky has a surface."""
    sky = train.targets["segmentation"] == SKY
    assert torch.equal(train.targets["depth"][:, 0] == 0, sky)
    assert torch.equal(train.targets["normal"].isnan().any(1), sky)
    assert torch.equal(train.targets["normal"].isnan().all(1), sky)
    assert not train.targets["depth"].isnan().any()


def test_cars_and_persons_have_offsets_and_nothing_else_has(train: Split) -> None:
    """Breaks the mask of the instance task."""
    instances = is_class(train.targets["segmentation"], CAR, PERSON)
    assert torch.equal(~train.targets["instance"].isnan().any(1), instances)
    assert torch.equal(~train.targets["instance"].isnan().all(1), instances)


def test_the_offsets_of_an_instance_all_point_at_one_point(train: Split) -> None:
    """Breaks instances.

    Row and column swapped, a sign, or a centre that is another's; an instance has one class and one
    depth.
    """
    positions = torch.stack(pixel_positions())
    instances = 0
    for offsets, label, depth in zip(
        train.targets["instance"],
        train.targets["segmentation"],
        train.targets["depth"][:, 0],
        strict=True,
    ):
        mask = is_class(label, CAR, PERSON)
        if not mask.any():
            continue
        aims = (offsets + positions)[:, mask].T
        centres, instance_of_pixel = torch.unique((aims * 1e3).round(), dim=0, return_inverse=True)
        assert len(centres) <= 8
        assert (aims >= 0).all()
        assert (aims <= torch.tensor([HEIGHT, WIDTH])).all()
        for instance in range(len(centres)):
            assert len(depth[mask][instance_of_pixel == instance].unique()) == 1
            assert len(label[mask][instance_of_pixel == instance].unique()) == 1
            assert aims[instance_of_pixel == instance].std(0, correction=0).max() < 1e-5
        instances += len(centres)
    assert instances > 40


def test_the_centre_of_a_thing_that_nothing_hides_is_its_middle(train: Split) -> None:
    """Breaks if a centre is not that of what shows of a thing.

    The offsets of the nearest one, which nothing hides, add up to nothing.
    """
    sums = []
    for offsets, label, depth in zip(
        train.targets["instance"],
        train.targets["segmentation"],
        train.targets["depth"][:, 0],
        strict=True,
    ):
        objects, instances = is_class(label, *OBJECTS), is_class(label, CAR, PERSON)
        if instances.any() and depth[instances].max() == depth[objects].max():
            nearest = instances & (depth == depth[objects].max())
            sums.append(float(offsets[:, nearest].mean(1).abs().max()))
    assert len(sums) >= 20
    assert max(sums) < 1e-5
