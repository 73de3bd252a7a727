"""Every architecture trains with a strategy of each family, resumes to the same bytes, stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.experiment.build import build
from mtl_runner.train.stack.eligibility import reason_not_to_stack
from tests.oracles.methods.runs import (
    column,
    compose,
    finish,
    options_of,
    prepare,
    read,
    stop_after,
)
from tests.oracles.test_stacked_equals_single import (
    assert_all_same,
    trained_as_stack,
    trained_singly,
)
from tests.support.paths import CONF

SMALL = ("trainer.epochs=2", "trainer.evaluate_every=1", "trainer.device=cpu", "trainer.threads=1")
PROBLEMS: dict[str, tuple[str, ...]] = {
    "digits": ("data=digits", "data.batch_size=512"),
    "table": (
        "data=table",
        "data.targets={price: regression, sold: classification}",
        "data.batch_size=32",
        "model.embeddings=auto",
    ),
    "multi_digits": ("data=multi_digits", "data.rows=96", "data.batch_size=32"),
}
VECTORS = ("digits", "table")
MLP = ("model.trunk.hidden=[6,5]",)
LENET = ("model/trunk=lenet",)
# The options of each architecture on vectors and on images; None: it is not meant for them.
MODELS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "mmoe": {"vectors": MLP, "images": LENET},
    "cgc": {"vectors": MLP, "images": LENET},
    "ple": {"vectors": MLP, "images": (*LENET, "model.levels=3")},
    "cross_stitch": {"vectors": MLP, "images": LENET},
    "dselect_k": {"vectors": MLP, "images": (*LENET, "model.gates=constant")},
    "mtan": {"vectors": None, "images": ("model.width=4", "model.depth=1")},
}
# Other tests of tests/oracles and tests/unit/models train these.
ELSEWHERE = (
    "lenet",
    "mlp",
    "pinn_mlp",
    "mpnn",
    "point",
    "separate_mlps",
    "text_rcnn",
    "two_fonts",
    "unet",
    "vae",
)
FAMILIES: dict[str, tuple[str, ...]] = {
    "fixed": ("weighting=fixed",),
    "uncertainty": ("weighting=uncertainty",),
    "uncertainty staged": ("weighting=uncertainty", "schedule=staged"),
    "per-task optimizers": ("weighting=per_task_adam",),
    "jacobian": ("weighting=upgrad",),
    "gradient norms": ("weighting=gradnorm",),
    "single_task": ("weighting=single_task",),
    "heteroscedastic": ("weighting=heteroscedastic",),
}
STACKED = ("fixed", "uncertainty", "per-task optimizers", "single_task")
PAIRS = [
    (model, problem)
    for model, options in MODELS.items()
    for problem in PROBLEMS
    if options["vectors" if problem in VECTORS else "images"] is not None
]
# The others are tested behind the marker `long`.
QUICKLY = [("mmoe", "table"), ("cross_stitch", "digits"), ("mtan", "multi_digits")]


def test_every_model_is_here() -> None:
    """Breaks if an architecture is added that no test trains."""
    assert {*MODELS, *ELSEWHERE} <= set(options_of("model"))
    paths = (CONF / "model").glob("*.yaml")
    assert {path.stem for path in paths if "trunk" in path.read_text()} <= {*MODELS, "mlp"}


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table with numbers, categories and missing values."""
    lines = ["area,rooms,city,heating,price,sold"]
    for n in range(120):
        city, heating = ("Bonn", "Rome", "Oslo")[n % 3], ("gas", "oil", "")[n * 7 % 3]
        area = "" if n % 11 == 5 else str(40 + n * 13 % 90)
        lines.append(f"{area},{1 + n % 5},{city},{heating},{n * 37 % 100},{'yny'[n * 5 % 3]}")
    path = tmp_path_factory.mktemp("table") / "houses.csv"
    path.write_text("\n".join(lines))
    return path


def options_for(model: str, problem: str, table: Path) -> tuple[str, ...]:
    """Return the options of a small run of an architecture on a problem."""
    options = MODELS[model]["vectors" if problem in VECTORS else "images"]
    assert options is not None
    path = (f"data.path={table}",) if problem == "table" else ()
    return (*PROBLEMS[problem], *path, f"model={model}", *options, *SMALL)


def assert_a_stop_changes_nothing(folder: Path, *options: str) -> None:
    """Assert that two epochs end the same with and without a stop in between."""
    uninterrupted = finish(prepare(folder / "whole", *options))
    stopped = prepare(folder / "stopped", *options)
    stop_after(stopped, 1)
    assert finish(stopped) == uninterrupted
    assert column(read(folder / "whole"), "loss").isfinite().any(0).all(), "every task was trained"


@pytest.mark.parametrize(("model", "problem"), QUICKLY)
def test_a_model_trains_by_gradient_norms_and_resumes(
    tmp_path: Path, houses: Path, model: str, problem: str
) -> None:
    """Breaks if GradNorm finds no last shared layer in an architecture, or a state is lost."""
    options = options_for(model, problem, houses)
    assert_a_stop_changes_nothing(tmp_path, *options, *FAMILIES["gradient norms"])


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("model", "problem"), PAIRS)
def test_every_model_trains_with_every_family_and_resumes(
    tmp_path: Path, houses: Path, model: str, problem: str, family: str
) -> None:
    """Breaks if an architecture cannot be trained by a family of strategies, or resumed."""
    options = options_for(model, problem, houses)
    assert_a_stop_changes_nothing(tmp_path, *options, *FAMILIES[family])


UNET_TRUNK = ("model/trunk=unet", "model.trunk.width=4", "model.trunk.depth=1")


@pytest.mark.long
@pytest.mark.parametrize("family", ["jacobian", "gradient norms"])
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("mtan", ("model.width=4", "model.depth=1")),
        ("mmoe", UNET_TRUNK),
        ("cgc", UNET_TRUNK),
        ("dselect_k", UNET_TRUNK),
    ],
)
def test_models_of_maps_train_on_tasks_per_pixel(
    tmp_path: Path, model: str, options: tuple[str, ...], family: str
) -> None:
    """Breaks answers per pixel: a U-Net as expert, or masks of its decoder."""
    scenes = ("data=scenes", "data.n=24", "data.n_val=8", "data.n_test=8", "data.tasks=null")
    sizes = ("data.height=16", "data.width=16", f"model={model}", *options)
    assert_a_stop_changes_nothing(tmp_path, *scenes, *sizes, *SMALL, *FAMILIES[family])


@pytest.mark.parametrize(("model", "problem"), PAIRS)
def test_every_model_can_be_stacked(houses: Path, model: str, problem: str) -> None:
    """Breaks if a sweep over an architecture trains one run after another without a reason."""
    experiment = build(compose(*options_for(model, problem, houses), *FAMILIES["uncertainty"]))
    assert reason_not_to_stack(experiment) == ""


@pytest.mark.long
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", STACKED)
@pytest.mark.parametrize(("model", "problem"), PAIRS)
def test_a_replica_of_a_stack_is_the_single_run(
    tmp_path: Path, houses: Path, model: str, problem: str, family: str
) -> None:
    """Breaks if gates, units or masks of the replicas of a stack are mixed up."""
    # With a clip or weight decay, an optimizer per task needs each run's gradients by themselves.
    plain = ("optimizer=adam", "trainer.clip=null")
    options = (*options_for(model, problem, houses), *FAMILIES[family], *plain)
    runs = [(*options, f"seed={seed}", f"optimizer.lr={0.001 * (seed + 1)}") for seed in range(3)]
    alone = trained_singly(tmp_path / "single", runs)
    assert_all_same(trained_as_stack(tmp_path / "stack", runs), alone)
