"""Road scenes: the geometry that a camera would see, the label noise that was asked for, and the file they are kept in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtl_runner.data import Scenes, Split
from mtl_runner.data.cache import cached, default_directory
from mtl_runner.data.dataset import prepare
from mtl_runner.data.scenes.renderer import (
    BUILDING,
    CAR,
    CLASSES,
    GRASS,
    PAVEMENT,
    PERSON,
    ROAD,
    SKY,
    TREE,
)
from mtl_runner.errors import ConfigError

GROUND, THINGS = (ROAD, PAVEMENT, GRASS), (CAR, PERSON, TREE)
HEIGHT, WIDTH = 32, 48
FOCAL, CAMERA = 0.8 * WIDTH, 1.5  # pixels, metres
TASKS = ("segmentation", "instance", "depth", "normal")

Make = Callable[..., Scenes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def scenes(folder: Path) -> Make:
    """Forty scenes (once per set of options), with few for validation and test."""

    def make(**options: Any) -> Scenes:
        sizes = {
            "n": 40,
            "n_val": 3,
            "n_test": 3,
            "height": HEIGHT,
            "width": WIDTH,
            "cache": folder,
        }
        return Scenes(**{**sizes, **options})

    return make


@pytest.fixture
def train(scenes: Make) -> Split:
    return (
        scenes()
        .splits["train"]
        .apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    )


def of(label: Tensor, *classes: int) -> Tensor:
    return torch.isin(label, torch.tensor(classes))


def where_pixels_are() -> tuple[Tensor, Tensor]:
    """Row and column of the middle of every pixel."""
    rows, columns = torch.meshgrid(
        torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij"
    )
    return rows.double(), columns.double()


def ground_lines(train: Split) -> Tensor:
    """The rows of the horizons, fitted to the inverse depth of the ground, which is (row - horizon) / (focal * height)."""
    rows, _ = where_pixels_are()
    horizons = []
    for label, depth in zip(
        train.targets["segmentation"], train.targets["depth"][:, 0], strict=True
    ):
        ground = of(label, *GROUND)
        assert ground.sum() > 20
        slope, start = np.polyfit(rows[ground], depth[ground], 1)
        assert slope == pytest.approx(1 / (FOCAL * CAMERA), rel=1e-5)
        assert (slope * rows + start)[ground].numpy() == pytest.approx(
            depth[ground].numpy(), abs=1e-6
        )
        horizons.append(-start / slope)
    return torch.tensor(horizons).view(-1, 1, 1)


# What is drawn


def test_shapes_and_values_are_as_documented(scenes: Make) -> None:
    """Breaks the tasks of the paper: names, kinds, sizes, metrics, ranges."""
    data = scenes()
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [40, 3, 3]
    prepared = prepare(data)
    found = [
        (task.name, task.kind, task.size, task.main_metric, task.places) for task in prepared.tasks
    ]
    places = (HEIGHT, WIDTH)
    assert found == [
        ("segmentation", "classification", 8, "miou", places),
        ("instance", "regression_l1", 2, "instance_error", places),
        ("depth", "regression_l1", 1, "abs_err", places),
        ("normal", "direction", 3, "angle_mean", places),
    ]
    assert prepared.tasks[0].classes == CLASSES
    for split in data.splits.values():
        assert split.inputs.shape == (len(split), 3, HEIGHT, WIDTH)
        assert split.inputs.dtype == torch.get_default_dtype()
        assert 0 <= float(split.inputs.min()) < 0.3 < 0.7 < float(split.inputs.max()) <= 1
        assert split.targets["segmentation"].shape == (len(split), *places)
        assert split.targets["segmentation"].dtype == torch.int64


def test_every_class_is_in_the_pictures(train: Split) -> None:
    """Breaks if a class is drawn outside or painted over everywhere, so that the problem loses a class."""
    shares = (
        torch.bincount(train.targets["segmentation"].flatten(), minlength=8)
        / train.targets["segmentation"].numel()
    )
    assert shares.min() > 0.002
    assert shares.max() < 0.6


def test_the_ground_is_a_plane_a_metre_and_a_half_below_a_pinhole(train: Split) -> None:
    """Breaks if inverse depth is not what a camera sees: linear in the row, nothing at a horizon that lies inside the picture."""
    horizons = ground_lines(train) / HEIGHT
    assert horizons.min() >= 0.36
    assert horizons.max() <= 0.48
    assert horizons.std() > 0.01
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    normals = train.targets["normal"].movedim(1, -1)
    assert (normals[of(train.targets["segmentation"], *GROUND)] == up).all()


def test_nothing_lies_beneath_the_ground(train: Split) -> None:
    """Breaks if a thing is drawn with another depth than that of the place where it stands."""
    rows, _ = where_pixels_are()
    ground = (rows - ground_lines(train)) / (FOCAL * CAMERA)
    depth, label = train.targets["depth"][:, 0], train.targets["segmentation"]
    standing = of(label, BUILDING, *THINGS)
    assert (depth[standing] > ground[standing] - 1e-6).all()
    assert (depth[standing] > 1 / 80).all()
    assert (depth[of(label, *THINGS)] > 1 / 40 - 1e-6).all()


def test_facades_are_upright_and_run_along_the_road(train: Split) -> None:
    """Breaks if a facade's normal is not horizontal and across the road, or its inverse depth not linear in the column."""
    _, columns = where_pixels_are()
    normals = train.targets["normal"].movedim(1, -1)
    depth, facades = train.targets["depth"][:, 0], of(train.targets["segmentation"], BUILDING)
    assert (normals[facades][:, 1:] == 0).all()
    assert (normals[facades][:, 0].abs() == 1).all()
    checked = 0
    for one, mask, normal in zip(depth, facades, normals[..., 0], strict=True):
        for side in (-1, 1):
            here = mask & (normal == -side)  # it looks towards the road
            if len(columns[here].unique()) < 3:
                continue
            slope, start = np.polyfit(columns[here], one[here], 1)
            assert (slope * columns + start)[here].numpy() == pytest.approx(
                one[here].numpy(), abs=1e-6
            )
            assert slope * side > 0
            middle = -start / slope  # the vanishing point of the road
            assert 0.42 * WIDTH <= middle <= 0.58 * WIDTH
            assert (
                5.0 - 1e-3 <= side / (slope * FOCAL) <= 9.5 + 1e-3
            )  # metres from the middle of the road to the wall
            checked += 1
    assert checked > 20


def test_normals_are_of_unit_length_and_face_the_camera_where_the_thing_does(train: Split) -> None:
    """Breaks the loss of the normals, which takes unit vectors for granted, or turns a thing's back to the camera."""
    normals, label = train.targets["normal"].movedim(1, -1), train.targets["segmentation"]
    known = ~normals.isnan().any(-1)
    torch.testing.assert_close(
        normals[known].norm(dim=-1), torch.ones(int(known.sum())).double(), rtol=0, atol=1e-6
    )
    assert (normals[of(label, *THINGS)][:, 2] <= 0).all()
    cars = normals[of(label, CAR)]
    assert (cars[:, 1] == 0).all()
    assert (cars[:, 0].abs() <= math.sin(0.6) + 1e-6).all()
    assert len(cars[:, 0].unique()) > 10  # they are turned
    assert (normals[of(label, PERSON)] == torch.tensor([0.0, 0.0, -1.0])).all()


def test_the_sky_has_an_inverse_depth_of_nothing_and_no_normal(train: Split) -> None:
    """Breaks if something else is infinitely far, or the sky has a surface."""
    sky = train.targets["segmentation"] == SKY
    assert torch.equal(train.targets["depth"][:, 0] == 0, sky)
    assert torch.equal(train.targets["normal"].isnan().any(1), sky)
    assert torch.equal(train.targets["normal"].isnan().all(1), sky)
    assert not train.targets["depth"].isnan().any()


def test_cars_and_persons_have_offsets_and_nothing_else_has(train: Split) -> None:
    """Breaks the mask of the instance task."""
    instances = of(train.targets["segmentation"], CAR, PERSON)
    assert torch.equal(~train.targets["instance"].isnan().any(1), instances)
    assert torch.equal(~train.targets["instance"].isnan().all(1), instances)


def test_the_offsets_of_an_instance_all_point_at_one_point(train: Split) -> None:
    """Breaks instances: row and column swapped, a sign, or a centre that is another's; an instance has one class and one depth."""
    here = torch.stack(where_pixels_are())
    instances = 0
    for offsets, label, depth in zip(
        train.targets["instance"],
        train.targets["segmentation"],
        train.targets["depth"][:, 0],
        strict=True,
    ):
        mask = of(label, CAR, PERSON)
        if not mask.any():
            continue
        aims = (offsets + here)[:, mask].T
        centres, which = torch.unique((aims * 1e3).round(), dim=0, return_inverse=True)
        assert len(centres) <= 8
        assert (aims >= 0).all()
        assert (aims <= torch.tensor([HEIGHT, WIDTH])).all()
        for one in range(len(centres)):
            assert len(depth[mask][which == one].unique()) == 1
            assert len(label[mask][which == one].unique()) == 1
            assert aims[which == one].std(0, correction=0).max() < 1e-5
        instances += len(centres)
    assert instances > 40


def test_the_centre_of_a_thing_that_nothing_hides_is_its_middle(train: Split) -> None:
    """Breaks if a centre is not that of what shows of a thing: the offsets of the nearest one, which nothing hides, add up to nothing."""
    sums = []
    for offsets, label, depth in zip(
        train.targets["instance"],
        train.targets["segmentation"],
        train.targets["depth"][:, 0],
        strict=True,
    ):
        things, instances = of(label, *THINGS), of(label, CAR, PERSON)
        if instances.any() and depth[instances].max() == depth[things].max():
            nearest = instances & (depth == depth[things].max())
            sums.append(float(offsets[:, nearest].mean(1).abs().max()))
    assert len(sums) >= 20
    assert max(sums) < 1e-5


@pytest.mark.usefixtures("float64")
def test_scenes_are_made_in_the_default_precision(folder: Path) -> None:
    """Breaks if a float64 run gets single precision scenes, or the file of the other precision."""
    options: dict[str, Any] = {
        "n": 2,
        "n_val": 1,
        "n_test": 1,
        "height": 16,
        "width": 16,
        "cache": folder,
    }
    double = Scenes(**options).splits["train"]
    assert double.inputs.dtype == torch.float64
    torch.set_default_dtype(torch.float32)
    single = Scenes(**options).splits["train"]
    assert single.inputs.dtype == torch.float32
    assert torch.equal(double.inputs.float(), single.inputs)


# Seeds


def same(a: Split, b: Split, tasks: tuple[str, ...] = TASKS) -> bool:
    """Whether images and the targets of some tasks are the same, with the same gaps."""
    pairs = [(a.inputs, b.inputs), *((a.targets[name], b.targets[name]) for name in tasks)]
    return all(
        torch.equal(x.isnan(), y.isnan()) and torch.equal(x.nan_to_num(), y.nan_to_num())
        for x, y in pairs
    )


def test_the_seed_decides_everything(scenes: Make, tmp_path: Path) -> None:
    """Breaks reproducibility: same seed, other scenes, or the same ones whatever the seed."""
    noise = dict.fromkeys(TASKS, 0.2)
    first, again = scenes(n=4, noise=noise), scenes(n=4, noise=noise, cache=tmp_path)
    torch.manual_seed(7)
    np.random.seed(7)
    other = scenes(n=4, noise=noise, seed=1)
    for name in ("train", "val", "test"):
        assert same(first.splits[name], again.splits[name])
        assert not same(first.splits[name], other.splits[name], ())


def test_the_first_scenes_are_the_same_however_many_there_are(scenes: Make) -> None:
    """Breaks learning curves over n, which would compare other scenes."""
    few, many = scenes(n=3, n_val=1, n_test=2), scenes()
    for name, split in few.splits.items():
        assert same(split, many.splits[name].rows(slice(0, len(split))))


def test_no_scene_is_in_two_splits(scenes: Make) -> None:
    """Breaks the test: a scene of the training split in it."""
    pictures = torch.cat([split.inputs for split in scenes().splits.values()]).flatten(1)
    assert torch.cdist(pictures, pictures).fill_diagonal_(torch.inf).min() > 1


# Label noise


AMOUNTS = {"segmentation": 0.3, "instance": 1.5, "depth": 0.02, "normal": 8.0}


def test_labels_are_as_noisy_as_asked_for_and_only_in_training(scenes: Make) -> None:
    """Breaks the experiment: noise of another share, scale, angle or distribution, in the wrong split, or on the image."""
    clean, noisy = scenes(), scenes(noise=AMOUNTS)
    for name in ("val", "test"):
        assert same(clean.splits[name], noisy.splits[name])
    before, after = clean.splits["train"], noisy.splits["train"]
    assert torch.equal(before.inputs, after.inputs)

    changed = (before.targets["segmentation"] != after.targets["segmentation"]).double().mean()
    count = after.targets["segmentation"].numel()
    assert changed == pytest.approx(
        0.3 * 7 / 8, abs=5 * math.sqrt(0.25 / count)
    )  # one draw in eight is the right class
    drawn = after.targets["segmentation"][
        before.targets["segmentation"] != after.targets["segmentation"]
    ]
    assert (torch.bincount(drawn, minlength=8) > 0).all()

    for name in ("instance", "depth"):
        assert torch.equal(before.targets[name].isnan(), after.targets[name].isnan())
        error = (after.targets[name] - before.targets[name]).double()
        error = error[~error.isnan()] / AMOUNTS[name]
        spread = 5 / math.sqrt(len(error))
        assert error.abs().mean() == pytest.approx(
            1.0, abs=spread
        )  # of Laplace noise of scale 1; its variance is 2
        assert error.square().mean() == pytest.approx(2.0, abs=5 * spread)
        assert error.mean() == pytest.approx(0.0, abs=1.5 * spread)
        assert (error.abs() < math.log(2)).double().mean() == pytest.approx(0.5, abs=spread)

    assert torch.equal(before.targets["normal"].isnan(), after.targets["normal"].isnan())
    known = ~before.targets["normal"].isnan().any(1)
    old, new = (split.targets["normal"].movedim(1, -1)[known].double() for split in (before, after))
    torch.testing.assert_close(new.norm(dim=1), torch.ones(len(new)).double(), rtol=0, atol=1e-6)
    angle = torch.rad2deg(torch.atan2(torch.linalg.cross(old, new).norm(dim=1), (old * new).sum(1)))
    # Two independent normal angles: Rayleigh.
    assert angle.mean() == pytest.approx(8 * math.sqrt(math.pi / 2), rel=0.02)
    assert angle.square().mean().sqrt() == pytest.approx(8 * math.sqrt(2), rel=0.02)


def test_the_true_sigma_is_the_scale_of_the_noise(scenes: Make) -> None:
    """Breaks the line that a learned sigma is compared with."""
    assert [task.true_sigma for task in scenes(noise=AMOUNTS).tasks] == [None, 1.5, 0.02, None]
    assert [task.true_sigma for task in scenes().tasks] == [None] * 4


def test_the_noise_of_a_task_does_not_depend_on_that_of_the_others(scenes: Make) -> None:
    """Breaks a sweep over one task's noise: the other labels would change too."""
    everything, nothing = scenes(noise=AMOUNTS).splits["train"], scenes().splits["train"]
    for name in TASKS:
        alone = scenes(noise={name: AMOUNTS[name]}).splits["train"]
        assert same(alone, everything, (name,))
        assert same(alone, nothing, tuple(other for other in TASKS if other != name))
        assert not same(alone, nothing, (name,))


def test_twice_the_noise_is_the_same_noise_twice_as_large(scenes: Make) -> None:
    """Breaks comparisons between amounts of noise, which should differ in nothing else."""
    clean, once, twice = (
        scenes(noise={"depth": b}).splits["train"].targets["depth"].double()
        for b in (0.0, 0.01, 0.02)
    )
    torch.testing.assert_close(twice - clean, 2 * (once - clean), rtol=0, atol=1e-6)


# Options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n": 0}, "data.n must be a whole number of at least 1; found 0."),
        ({"n": True}, "data.n must be a whole number of at least 1; found True."),
        ({"n_val": 1.5}, "data.n_val must be a whole number of at least 1; found 1.5."),
        ({"n_test": -3}, "data.n_test must be a whole number of at least 1; found -3."),
        ({"height": 15}, "data.height must be a whole number of at least 16; found 15."),
        ({"width": "64"}, "data.width must be a whole number of at least 16; found '64'."),
        (
            {"noise": {"depht": 1.0}},
            "data.noise names the unknown task 'depht'; did you mean 'depth'? allowed: depth, instance, normal, segmentation.",
        ),
        (
            {"noise": {"segmentation": 1.5}},
            "data.noise.segmentation must be a share from 0 to 1; found 1.5.",
        ),
        (
            {"noise": {"depth": -0.1}},
            "data.noise.depth must be a number of at least 0; found -0.1.",
        ),
        (
            {"noise": {"normal": math.inf}},
            "data.noise.normal must be a number of at least 0; found inf.",
        ),
        (
            {"noise": {"normal": math.nan}},
            "data.noise.normal must be a number of at least 0; found nan.",
        ),
        (
            {"noise": {"instance": "1"}},
            "data.noise.instance must be a number of at least 0; found '1'.",
        ),
        (
            {"noise": {"instance": True}},
            "data.noise.instance must be a number of at least 0; found True.",
        ),
    ],
)
def test_wrong_options_have_their_sentence(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """Breaks if a wrong size or noise is drawn anyway, or fails inside NumPy."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        Scenes(**{"n": 1, "n_val": 1, "n_test": 1, "cache": tmp_path, **options})
    assert list(tmp_path.iterdir()) == []


# The file


SMALL: dict[str, Any] = {"n": 2, "n_val": 1, "n_test": 1, "height": 16, "width": 16}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often something was rendered."""
    from mtl_runner.data.scenes import scenes

    count: list[int] = []
    render = scenes.render

    def counted(*arguments: Any) -> Any:
        count.append(1)
        return render(*arguments)

    monkeypatch.setattr(scenes, "render", counted)
    return count


def test_scenes_are_drawn_once(tmp_path: Path, drawn: list[int]) -> None:
    """Breaks the cache: every run of a sweep would draw its scenes again, or leave files behind."""
    first = Scenes(**SMALL, cache=tmp_path / "a" / "b")
    assert len(drawn) == 4
    again = Scenes(**SMALL, cache=str(tmp_path / "a" / "b"))
    assert len(drawn) == 4
    assert all(same(first.splits[name], again.splits[name]) for name in ("train", "val", "test"))
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


def test_the_file_is_mapped_and_never_changed(tmp_path: Path) -> None:
    """Breaks if a run that changes its tensors changes the next run's data."""
    first = Scenes(**SMALL, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    first.splits["train"].inputs.zero_()
    first.splits["val"].targets["depth"].fill_(3.0)
    assert file.read_bytes() == before
    assert float(Scenes(**SMALL, cache=tmp_path).splits["train"].inputs.max()) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"n": 3},
        {"n_val": 2},
        {"n_test": 2},
        {"height": 17},
        {"width": 17},
        {"seed": 1},
        {"noise": {"depth": 0.1}},
    ],
    ids=str,
)
def test_another_config_is_another_file(
    tmp_path: Path, drawn: list[int], change: dict[str, Any]
) -> None:
    """Breaks if a run gets the scenes of another config."""
    Scenes(**SMALL, cache=tmp_path)
    before = len(drawn)
    changed = Scenes(**{**SMALL, **change}, cache=tmp_path)
    assert len(drawn) > before
    assert len(list(tmp_path.iterdir())) == 2
    alone = Scenes(**{**SMALL, **change}, cache=tmp_path / "alone")
    assert all(same(changed.splits[name], alone.splits[name]) for name in ("train", "val", "test"))


def test_noise_of_nothing_is_no_noise(tmp_path: Path, drawn: list[int]) -> None:
    """Breaks if the same scenes are drawn and kept twice."""
    Scenes(**SMALL, cache=tmp_path)
    Scenes(**SMALL, noise={"depth": 0, "normal": 0.0}, cache=tmp_path)
    assert len(drawn) == 4


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_made_again(
    tmp_path: Path, drawn: list[int], keep: float
) -> None:
    """Breaks every later run after a full disk or a kill."""
    first = Scenes(**SMALL, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: int(keep * len(content))])
    again = Scenes(**SMALL, cache=tmp_path)
    assert len(drawn) == 8
    assert same(first.splits["train"], again.splits["train"])
    Scenes(**SMALL, cache=tmp_path)
    assert len(drawn) == 8


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, drawn: list[int]
) -> None:
    """Breaks runs on machines with a read-only home."""
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert len(Scenes(**SMALL, cache=folder).splits["train"]) == 2
    assert len(drawn) == 8
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_mistake_while_drawing_is_not_hidden_by_the_cache(tmp_path: Path) -> None:
    """Breaks if an error of the dataset is swallowed, or leaves a file."""

    def broken() -> dict[str, Split]:
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cached("x", {}, broken, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_where_the_system_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Breaks XDG_CACHE_HOME, or writes next to the user's other files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_directory() == tmp_path / "cache" / "mtl_runner"
    Scenes(**SMALL)
    assert [file.name[:7] for file in (tmp_path / "cache" / "mtl_runner").iterdir()] == ["scenes-"]
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".cache" / "mtl_runner"
