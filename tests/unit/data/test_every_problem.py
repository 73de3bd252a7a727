"""Every problem of conf/data, small: with a strategy of every family, alone and staged, stopped and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mtl_runner.errors import ConfigError
from tests.oracles.methods.runs import (
    column,
    finish,
    options_of,
    prepare,
    read,
    solvers_may_chat,
    start,
    stop_after,
)
from tests.unit.data import reuters_folders
from tests.unit.data.test_multi_mnist import write as write_mnist

TINY_NET = ("model.width=4", "model.depth=1")
FEW = ("data.n=24", "data.n_val=8", "data.n_test=8")


def _npy(folder: Path, size: tuple[int, int], classes: int, normals: bool) -> Path:
    """Four training and two other images in the layout of the MTAN papers."""
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            image = random.random((*size, 3))
            label = np.floor(image[..., 0] * (classes + 1)) - 1
            arrays = {
                "image": image,
                "label": label,
                "depth": np.where(image[..., :1] > 0.9, 0, 1 + image[..., 1:2]),
            }
            if normals:
                arrays["normal"] = (image - 0.5) / np.linalg.norm(
                    image - 0.5, axis=-1, keepdims=True
                )
            for name, array in arrays.items():
                (folder / split / name).mkdir(parents=True, exist_ok=True)
                np.save(folder / split / name / f"{i}.npy", array.astype(np.float32))
    return folder


FILES: dict[str, Callable[[Path], Path]] = {
    "nyuv2": lambda folder: _npy(folder, (288, 384), 13, normals=True),
    "cityscapes": lambda folder: _npy(folder, (128, 256), 7, normals=False),
    "multi_mnist": lambda folder: write_mnist(folder / "mnist"),
    "reuters": lambda folder: reuters_folders.write_json(folder, train=reuters_folders.texts(60)),
}
PROBLEMS: dict[str, tuple[str, ...]] = {
    "scenes": (
        *FEW,
        "data.height=16",
        "data.width=16",
        "data.batch_size=8",
        "data.tasks=null",
        *TINY_NET,
    ),
    "nyuv2": (*TINY_NET, "data.val=0.25"),
    "cityscapes": (*TINY_NET, "data.val=0.25", "data.batch_size=2"),
    "multi_digits": ("data.rows=96", "data.batch_size=32"),
    "multi_mnist": ("data.batch_size=16",),
    "reuters": (
        "data.words=50",
        "data.tokens=8",
        "data.min_texts=2",
        "data.batch_size=16",
        "model.hidden=4",
    ),
    "collapse": ("data.batch_size=512",),
    "gradnorm_toy": (*FEW, "data.dim=6", "data.outputs=4", "data.batch_size=8", "model.hidden=[8]"),
    "speed_mismatch": ("data.batch_size=512", *TINY_NET),
}
ELSEWHERE = (
    "toy_regression",
    "toy_mixed",
    "digits",
    "table",
    "cagrad_toy",
    "fonseca_fleming",
)  # tests/oracles
FAMILIES: dict[str, tuple[str, ...]] = {
    "fixed": ("weighting=fixed",),
    "uncertainty": ("weighting=uncertainty",),
    "uncertainty staged": ("weighting=uncertainty", "schedule=staged"),
    "loss rates": ("weighting=dwa",),
    "gradient norms": ("weighting=gradnorm",),
    "jacobian": ("weighting=upgrad",),
    "per-task optimizers": ("weighting=per_task_adam",),
    "per-task optimizers staged": ("weighting=per_task_adam", "schedule=staged"),
    "exact likelihood": ("weighting=uncertainty_exact",),
    "single_task": ("weighting=single_task",),
}
QUICKLY = ("uncertainty staged",)  # the others behind the marker


def test_every_problem_is_here() -> None:
    """Breaks if a dataset is added that nothing here trains."""
    assert {*PROBLEMS, *ELSEWHERE} == set(options_of("data"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, ...]]:
    """The options that name a problem's files, which are written once."""
    written: dict[str, Path] = {}

    def path(problem: str) -> tuple[str, ...]:
        if problem in FILES and problem not in written:
            written[problem] = FILES[problem](tmp_path_factory.mktemp(problem))
        return (f"data.path={written[problem]}",) if problem in written else ()

    return path


def prepare_and_start(folder: Path, problem: str) -> None:
    """Build a run of single tasks."""
    start(prepare(folder / "run", f"data={problem}", *FAMILIES["single_task"], *PROBLEMS[problem]))


def stopped_and_whole(folder: Path, *options: str) -> None:
    """Two epochs in one piece, and with a stop in between."""
    options = (
        *options,
        "trainer.epochs=2",
        "trainer.evaluate_every=1",
        "trainer.device=cpu",
        "trainer.threads=1",
    )
    whole = finish(prepare(folder / "whole", *options))
    stopped = prepare(folder / "stopped", *options)
    stop_after(stopped, 1)
    assert finish(stopped) == whole
    losses = column(read(folder / "whole"), "loss")
    assert losses.isfinite().any(0).all(), "every task was trained"


@solvers_may_chat
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("family", QUICKLY)
def test_every_problem_trains_and_resumes(
    tmp_path: Path, files: Callable[[str], tuple[str, ...]], problem: str, family: str
) -> None:
    """Breaks if a problem does not train, or a stopped run of it ends in other bytes."""
    stopped_and_whole(
        tmp_path, f"data={problem}", *FAMILIES[family], *PROBLEMS[problem], *files(problem)
    )


@solvers_may_chat
@pytest.mark.long
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in QUICKLY])
def test_every_problem_trains_and_resumes_with_every_family(
    tmp_path: Path, files: Callable[[str], tuple[str, ...]], problem: str, family: str
) -> None:
    """Breaks if a family of strategies cannot be used on a problem, or a stopped run of it ends in other bytes."""
    if (family, problem) == (
        "single_task",
        "collapse",
    ):  # its consistency losses compare what two tasks share
        with pytest.raises(
            ConfigError, match="the loss term 'align' needs the outputs of all; use share=true"
        ):
            prepare_and_start(tmp_path, problem)
        return
    stopped_and_whole(
        tmp_path, f"data={problem}", *FAMILIES[family], *PROBLEMS[problem], *files(problem)
    )
