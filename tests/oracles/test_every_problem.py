"""Every problem of conf/data, small: trained by a strategy of every family, stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mtl_runner.data import Cityscapes, NYUv2
from mtl_runner.errors import ConfigError
from tests.oracles.methods.runs import (
    column,
    finish,
    ignore_solver_warnings,
    options_of,
    prepare,
    read,
    start,
    stop_after,
)
from tests.support import reuters_folders
from tests.support.mnist_files import write_mnist
from tests.support.npy_folders import write_npy_folders
from tests.support.qm9_files import write_qm9

TINY_NET = ("model.width=4", "model.depth=1")
FEW_IMAGES = {"train": 4, "val": 2}
FEW = ("data.n=24", "data.n_val=8", "data.n_test=8")


FILES: dict[str, Callable[[Path], Path]] = {
    "nyuv2": lambda folder: write_npy_folders(folder, NYUv2, (288, 384), FEW_IMAGES),
    "cityscapes": lambda folder: write_npy_folders(folder, Cityscapes, (128, 256), FEW_IMAGES),
    "multi_mnist": lambda folder: write_mnist(folder / "mnist"),
    "qm9": write_qm9,
    "reuters": lambda folder: reuters_folders.write_json(folder, train=reuters_folders.texts(60)),
}
FEW_POINTS = (
    "data.batch_size=16",
    "data.n_interior=8",
    "data.grid_lines=5",
    "model.hidden=[4]",
)
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
    "qm9": ("data.batch_size=16", "data.val=8", "data.test=8", "model.hidden=[8]"),
    "reuters": (
        "data.words=50",
        "data.tokens=8",
        "data.min_texts=2",
        "data.batch_size=16",
        "model.hidden=4",
    ),
    "collapse": ("data.batch_size=512",),
    "gradnorm_toy": (*FEW, "data.dim=6", "data.outputs=4", "data.batch_size=8", "model.hidden=[8]"),
    "related": (*FEW, "data.dim=6", "data.labels=one", "data.batch_size=8", "model.hidden=[8]"),
    "vae_digits": ("data.batch_size=512", "model.hidden=[8]", "model.latent=2"),
    "speed_mismatch": ("data.batch_size=512", *TINY_NET),
    "helmholtz": ("data.n_boundary=32", *FEW_POINTS),
    "kovasznay": ("data.n_boundary=32", *FEW_POINTS),
    "burgers_inverse": ("data.n_measured=32", *FEW_POINTS),
}
# Other tests train these; tests/cli/test_images.py those of images, which need extras, and
# tests/cli/test_physics.py further equations.
ELSEWHERE = (
    "poisson",
    "klein_gordon",
    "burgers",
    "toy_regression",
    "toy_mixed",
    "digits",
    "table",
    "cagrad_toy",
    "fonseca_fleming",
    "image_folder",
    "hf",
)
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
# The first loss term of the problems that have some.
TERMS = {
    "collapse": "align",
    "helmholtz": "pde",
    "kovasznay": "momentum_x",
    "burgers_inverse": "pde",
    "vae_digits": "kl",
}
# The other families are tested behind the marker `long`.
QUICKLY = ("uncertainty staged",)


def test_every_problem_is_here() -> None:
    """Breaks if a dataset is added that no test trains."""
    assert {*PROBLEMS, *ELSEWHERE} == set(options_of("data"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, ...]]:
    """``files(problem)`` returns the options that name a problem's files, written once."""
    written: dict[str, Path] = {}

    def path(problem: str) -> tuple[str, ...]:
        if problem in FILES and problem not in written:
            written[problem] = FILES[problem](tmp_path_factory.mktemp(problem))
        return (f"data.path={written[problem]}",) if problem in written else ()

    return path


def prepare_and_start(folder: Path, problem: str) -> None:
    """Build a run in which every task is trained alone."""
    start(prepare(folder / "run", f"data={problem}", *FAMILIES["single_task"], *PROBLEMS[problem]))


def assert_a_stop_changes_nothing(folder: Path, *options: str) -> None:
    """Assert that two epochs end the same with and without a stop in between."""
    options = (
        *options,
        "trainer.epochs=2",
        "trainer.evaluate_every=1",
        "trainer.device=cpu",
        "trainer.threads=1",
    )
    uninterrupted = finish(prepare(folder / "whole", *options))
    stopped = prepare(folder / "stopped", *options)
    stop_after(stopped, 1)
    assert finish(stopped) == uninterrupted
    losses = column(read(folder / "whole"), "loss")
    assert losses.isfinite().any(0).all(), "every task was trained"


@ignore_solver_warnings
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("family", QUICKLY)
def test_every_problem_trains_and_resumes(
    tmp_path: Path, files: Callable[[str], tuple[str, ...]], problem: str, family: str
) -> None:
    """Breaks if a problem does not train, or a stopped run of it ends in other bytes."""
    assert_a_stop_changes_nothing(
        tmp_path, f"data={problem}", *FAMILIES[family], *PROBLEMS[problem], *files(problem)
    )


@ignore_solver_warnings
@pytest.mark.long
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in QUICKLY])
def test_every_problem_trains_and_resumes_with_every_family(
    tmp_path: Path, files: Callable[[str], tuple[str, ...]], problem: str, family: str
) -> None:
    """Breaks if a family of strategies cannot be used on a problem, or a run of it resumed."""
    # The consistency losses of collapse compare what two tasks share, and an equation all outputs.
    if family == "single_task" and problem in TERMS:
        with pytest.raises(
            ConfigError,
            match=f"the loss term '{TERMS[problem]}' needs the outputs of all; use share=true",
        ):
            prepare_and_start(tmp_path, problem)
        return
    assert_a_stop_changes_nothing(
        tmp_path, f"data={problem}", *FAMILIES[family], *PROBLEMS[problem], *files(problem)
    )
