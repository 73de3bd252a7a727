"""Two real digits on one canvas: which stands where, what is cut before what is paired, and the run as a user types it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from mtl_runner.data import MultiDigits
from mtl_runner.data.dataset import Prepared, prepare
from mtl_runner.errors import ConfigError
from tests.support.commands import Command, send

QUICK = ("data.rows=200", "trainer.epochs=2", "record.plots=none", "trainer.threads=1")


@pytest.fixture(scope="module")
def digits() -> Prepared:
    return prepare(MultiDigits(reconstruct=True))


@pytest.fixture(scope="module")
def clean() -> tuple[Tensor, Tensor]:
    """The 1797 digits, and what they are."""
    bunch = load_digits()
    return torch.as_tensor(bunch.images, dtype=torch.float32) / 16, torch.as_tensor(bunch.target)


def identity(images: Tensor, clean: Tensor) -> Tensor:
    """Which of the clean digits each image is, by its nearest neighbour."""
    distance = torch.cdist(
        images.flatten(1), clean.flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
    )
    nearest = distance.min(1)
    assert float(nearest.values.max()) == 0.0
    return nearest.indices


def test_two_tasks_and_with_reconstruction_four(digits: Prepared) -> None:
    """Breaks the names and sizes that configs and tables rely on."""
    assert [(task.name, task.kind, task.size) for task in digits.tasks] == [
        ("left", "classification", 10),
        ("right", "classification", 10),
        ("left_image", "regression", 64),
        ("right_image", "regression", 64),
    ]
    assert [task.name for task in MultiDigits().tasks] == ["left", "right"]
    for split in digits.splits.values():
        assert split.inputs.shape[1:] == (1, 12, 12)
        assert float(split.inputs.min()) == 0.0
        assert float(split.inputs.max()) == 1.0


def test_where_only_one_digit_lies_the_canvas_is_that_digit(digits: Prepared) -> None:
    """Breaks the overlay: known answers, since the clean digits are targets; and the brighter pixel stands where both lie."""
    split = digits.splits["train"]
    canvas = split.inputs[:, 0]
    left, right = (split.targets[f"{corner}_image"].view(-1, 8, 8) for corner in ("left", "right"))
    assert torch.equal(canvas[:, :4, :8], left[:, :4])
    assert torch.equal(canvas[:, :8, :4], left[:, :, :4])
    assert torch.equal(canvas[:, 8:, 4:], right[:, 4:])
    assert torch.equal(canvas[:, 4:, 8:], right[:, :, 4:])
    assert torch.equal(canvas[:, 4:8, 4:8], torch.maximum(left[:, 4:, 4:], right[:, :4, :4]))
    assert not canvas[:, :4, 8:].any()
    assert not canvas[:, 8:, :4].any()


def test_labels_are_those_of_the_digit_in_their_corner(
    digits: Prepared, clean: tuple[Tensor, Tensor]
) -> None:
    """Breaks everything: each corner's digit, looked up among scikit-learn's, must have the label that the task says."""
    images, labels = clean
    for split in digits.splits.values():
        for corner in ("left", "right"):
            assert torch.equal(
                labels[identity(split.targets[f"{corner}_image"], images)], split.targets[corner]
            )


def test_labels_can_be_read_off_the_canvas_itself(
    digits: Prepared, clean: tuple[Tensor, Tensor]
) -> None:
    """Breaks if targets agree with each other, but not with the image: the nearest digit to a corner's free part is the right one."""
    images, labels = clean
    split = digits.splits["test"]
    free = torch.ones(8, 8, dtype=torch.bool)
    free[4:, 4:] = False  # of the left digit; the right one's, turned by 180 degrees
    for corner, seen, mask in (
        ("left", split.inputs[:, 0, :8, :8], free),
        ("right", split.inputs[:, 0, 4:, 4:], free.flip(0, 1)),
    ):
        nearest = torch.cdist(seen[:, mask], images[:, mask]).argmin(1)
        assert torch.equal(labels[nearest], split.targets[corner])


def test_no_digit_stands_in_two_splits_and_none_is_its_own_partner(
    digits: Prepared, clean: tuple[Tensor, Tensor]
) -> None:
    """Breaks honest validation: pairs must be made after the digits are split."""
    seen = {}
    for name, split in digits.splits.items():
        left, right = (
            identity(split.targets[f"{corner}_image"], clean[0]) for corner in ("left", "right")
        )
        assert not bool((left == right).any())
        seen[name] = {*left.tolist(), *right.tolist()}
    assert [len(seen[name]) for name in ("train", "val", "test")] == [1257, 270, 270]
    assert len(seen["train"] | seen["val"] | seen["test"]) == 1797


def test_rows_are_training_pairs_and_the_other_splits_follow() -> None:
    """Breaks `data.rows`, `data.val` and `data.test`."""
    assert {name: len(split) for name, split in MultiDigits().splits.items()} == {
        "val": 1074,
        "test": 1074,
        "train": 5000,
    }
    few = MultiDigits(rows=539, val=0.1, test=0.6)
    assert {name: len(split) for name, split in few.splits.items()} == {
        "val": 180,
        "test": 1078,
        "train": 539,
    }
    many = MultiDigits(rows=2000, val=0.1, test=0.6)
    assert torch.equal(
        few.splits["val"].inputs[:180],
        MultiDigits(rows=539, val=0.1, test=0.6).splits["val"].inputs,
    )
    assert len(many.splits["train"]) == 2000


def test_same_seed_same_tensors_and_another_seed_others(digits: Prepared) -> None:
    """Breaks reproducibility, or makes `data.seed` an option without effect."""
    state = torch.get_rng_state()
    again, plain, other = MultiDigits(reconstruct=True), MultiDigits(), MultiDigits(seed=1)
    assert torch.equal(torch.get_rng_state(), state), "the run's own random numbers are used up"
    for name, split in digits.splits.items():
        assert torch.equal(split.inputs, again.splits[name].inputs)
        assert torch.equal(split.inputs, plain.splits[name].inputs), (
            "reconstruction changes the images"
        )
        assert not torch.equal(split.inputs, other.splits[name].inputs)
        for task, target in split.targets.items():
            assert torch.equal(target, again.splits[name].targets[task])


@pytest.mark.parametrize("rows", [0, -3, 2.5, True])
def test_rows_must_be_a_positive_number(rows: object) -> None:
    """Breaks if a wrong number of pairs is an error of torch's."""
    with pytest.raises(ConfigError) as error:
        MultiDigits(rows=rows)  # type: ignore[arg-type]
    assert (
        str(error.value)
        == f"data.rows must be a positive number of training pairs; found {rows!r}."
    )


def test_shares_that_leave_nothing_are_refused() -> None:
    """Breaks if a split is empty without a word."""
    with pytest.raises(
        ConfigError, match="fractions must lie between 0 and 1 and leave a training part"
    ):
        MultiDigits(val=0.5, test=0.5)


@pytest.mark.long
def test_one_strategy_of_each_family_trains(mtl: Command, tmp_path: Path) -> None:
    """Breaks if images and LeNet do not fit an axis, with reconstruction or without: `mtl-run -m data=multi_digits ...`."""
    strategies = "uncertainty,upgrad,per_task_adam,staged,single_task,heteroscedastic"
    sweep = (
        "-m",
        "data=multi_digits",
        "data.reconstruct=false,true",
        f"weighting={strategies}",
        "hydra.sweep.dir=sweep",
    )
    done = mtl("mtl-run", *sweep, *QUICK)
    assert done.code == 0, done.err
    found = [
        json.loads(path.read_text()) for path in sorted((tmp_path / "sweep").glob("*/summary.json"))
    ]
    assert [summary["status"] for summary in found] == 12 * ["finished"]
    assert sorted(len(summary["tasks"]) for summary in found) == 6 * [2] + 6 * [4]


@pytest.mark.long
def test_a_resumed_run_ends_as_the_one_that_was_never_stopped(mtl: Command, tmp_path: Path) -> None:
    """Breaks byte-identical resume: data, order and model must come back as they were."""
    options = ("data=multi_digits", *QUICK, "trainer.epochs=25")
    assert mtl("mtl-run", *options, "hydra.run.dir=whole").code == 0
    stop = send(signal.SIGKILL, after=(tmp_path / "killed" / "checkpoint.pt").exists)
    assert mtl("mtl-run", *options, "hydra.run.dir=killed", meddle=stop).code == -signal.SIGKILL
    done = mtl("mtl-run", "resume=killed")
    assert done.code == 0, done.err
    assert (tmp_path / "killed" / "metrics.csv").read_bytes() == (
        tmp_path / "whole" / "metrics.csv"
    ).read_bytes()


@pytest.mark.long
def test_thirty_epochs_tell_both_digits_apart(mtl: Command, tmp_path: Path) -> None:
    """Breaks the default run: 5000 pairs must be enough to read most digits of the held-back ones."""
    done = mtl("mtl-run", "data=multi_digits", "record.plots=none", "hydra.run.dir=run")
    assert done.code == 0, done.err
    for task in json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"].values():
        assert task["final"]["test"]["accuracy"] > 0.93
