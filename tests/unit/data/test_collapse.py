"""Two fonts of the same digits, four losses of one autoencoder, and what is measured of its latents."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mtl_runner.data import Collapse
from mtl_runner.data.dataset import Prepared, prepare
from mtl_runner.data.images.collapse import DRAWN, latent_agreement, latent_variance
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.likelihood import Standard
from mtl_runner.models import TwoFonts
from tests.oracles.methods.runs import column, train
from tests.oracles.methods.runs import read as recorded
from tests.support.builders import near
from tests.support.commands import Command

QUICK = (
    "data=collapse",
    "weighting=fixed",
    "data.batch_size=256",
    "trainer.epochs=2",
    "trainer.evaluate_every=1",
)


@pytest.fixture(scope="module")
def digits() -> Prepared:
    return prepare(Collapse())


def first_rows(data: Prepared, rows: int = 32) -> Tensor:
    inputs = data.splits["train"].inputs
    assert isinstance(inputs, Tensor)
    return inputs[:rows]


# The data


def test_four_losses_of_which_two_have_a_target(digits: Prepared) -> None:
    """Breaks the names that configs, groups and the README rely on."""
    assert [(task.name, task.kind) for task in digits.tasks] == [
        ("reconstruct_a", "regression"),
        ("reconstruct_b", "regression"),
        ("align", "term"),
        ("cycle", "term"),
    ]
    assert digits.tasks[2].metric_names == ["latent_variance", "latent_agreement"]


@pytest.mark.parametrize("font", DRAWN)
def test_both_fonts_show_the_same_digit(font: str) -> None:
    """Breaks alignment if the two pictures of a row are of two digits: font b is always font a, drawn otherwise."""
    for split in Collapse(font).splits.values():
        assert isinstance(split.inputs, Tensor)
        a, b = split.inputs.unbind(1)
        assert torch.equal(b, DRAWN[font](a.unflatten(1, (8, 8))).flatten(1))
        assert torch.equal(split.targets["reconstruct_a"], a)
        assert torch.equal(split.targets["reconstruct_b"], b)
        assert not torch.equal(a, b)
        assert 0 <= float(split.inputs.min()) <= float(split.inputs.max()) <= 1


def test_the_fonts_of_one_pixel() -> None:
    """Breaks the drawing: known answers, above, in the middle and below."""
    page = torch.zeros(3, 8, 8)
    page[[0, 1, 2], [1, 4, 7], [3, 3, 3]] = 1
    assert DRAWN["italic"](page).nonzero().tolist() == [[0, 1, 4], [1, 4, 3], [2, 7, 2]]
    assert DRAWN["bold"](page).sum((1, 2)).tolist() == [4, 4, 4]
    assert DRAWN["bold"](page)[1].nonzero().tolist() == [[3, 2], [3, 3], [4, 2], [4, 3]]
    assert torch.equal(DRAWN["inverse"](page), 1 - page)


def test_font_a_is_all_the_digits_once(digits: Prepared) -> None:
    """Breaks honest validation, or loses rows."""
    rows = [
        tuple(row)
        for s in digits.splits.values()
        for row in (16 * s.inputs[:, 0]).round().int().tolist()
    ]  # type: ignore[call-overload]
    assert sorted(rows) == sorted(tuple(row) for row in load_digits().data.astype(int).tolist())


def test_an_unknown_font_is_refused() -> None:
    """Breaks the sentence about `data.font`."""
    with pytest.raises(
        ConfigError, match=r"data\.font='italics' is unknown; did you mean 'italic'\?"
    ):
        Collapse("italics")


# The losses and what is measured


def outputs_of(encoder: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    return {"latent_a": encoder(inputs[:, 0]), "latent_b": encoder(inputs[:, 1])}


def test_a_constant_encoder_solves_consistency_and_has_no_variance(digits: Prepared) -> None:
    """Breaks the definition of the collapse: the two losses are 0, and so is the variance."""
    inputs = first_rows(digits)
    model = TwoFonts((2, 64), hidden=[8], latent=3)
    for parameter in model.encoder[-1].parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(model.encoder[-1].bias, 0.7)
    with torch.no_grad():
        outputs = model(inputs)
    assert [float(task.loss(outputs, {})) for task in digits.tasks[2:]] == [0, 0]
    assert float(latent_variance(outputs, {})) == pytest.approx(0, abs=1e-12)
    assert bool(
        torch.isnan(latent_agreement({k: torch.zeros(4, 2) for k in ("latent_a", "latent_b")}, {}))
    )


@pytest.mark.usefixtures("float64")
def test_the_variance_of_a_linear_encoder_is_that_of_the_pixels_through_it() -> None:
    """Breaks the metric: of z = W x it is the mean of the diagonal of W cov(x) W', averaged over the fonts."""
    inputs = first_rows(prepare(Collapse("bold")), 200)
    encoder = nn.Linear(64, 5)
    expected = [
        torch.trace(encoder.weight @ torch.cov(inputs[:, font].T, correction=0) @ encoder.weight.T)
        / 5
        for font in (0, 1)
    ]
    near(latent_variance(outputs_of(encoder, inputs), {}), (expected[0] + expected[1]) / 2, 1e-12)
    doubled = {name: 2 * z for name, z in outputs_of(encoder, inputs).items()}
    near(latent_variance(doubled, {}), 2 * (expected[0] + expected[1]), 1e-12)


def test_agreement_is_1_for_equal_latents_and_about_0_for_strangers() -> None:
    """Breaks the metric's meaning; it does not depend on the latents' scale."""
    z = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    assert float(latent_agreement({"latent_a": z, "latent_b": z}, {})) == 1
    stranger = z.roll(1, 0)
    assert float(latent_agreement({"latent_a": z, "latent_b": stranger}, {})) == pytest.approx(
        0, abs=0.05
    )
    near(
        latent_agreement({"latent_a": 9 * z, "latent_b": 9 * (z + stranger)}, {}),
        latent_agreement({"latent_a": z, "latent_b": z + stranger}, {}),
        1e-5,
    )


def test_align_and_cycle_are_their_formulas(digits: Prepared) -> None:
    """Breaks which latent is compared with which: each one with the other font's, and with itself, decoded into the other font."""
    inputs = first_rows(digits)
    model = TwoFonts((2, 64), hidden=[8], latent=3)
    a, b = model.encoder(inputs[:, 0]), model.encoder(inputs[:, 1])
    outputs = model(inputs)
    align, cycle = (task.loss(outputs, {}) for task in digits.tasks[2:])
    near(align, (a - b).square().mean(), 1e-6)
    there = (model.encoder(model.decoder_b(a)) - a).square().mean()
    back = (model.encoder(model.decoder_a(b)) - b).square().mean()
    near(cycle, (there + back) / 2, 1e-6)
    near(outputs["reconstruct_a"], model.decoder_a(a), 1e-6)
    near(outputs["reconstruct_b"], model.decoder_b(b), 1e-6)


def test_consistency_without_latents_is_refused(digits: Prepared) -> None:
    """Breaks the sentence for `model=mlp`."""
    for task in digits.tasks[2:]:
        with pytest.raises(
            ConfigError,
            match="The consistency losses need the latents of both fonts; use model=two_fonts",
        ):
            task.loss({"reconstruct_a": torch.zeros(1, 64)}, {})


# The model


def test_the_encoder_is_shared_by_all_and_each_decoder_by_its_font_and_the_cycle(
    digits: Prepared,
) -> None:
    """Breaks updates that ask which parameters are shared."""
    model = TwoFonts((2, 64), hidden=[8, 6], latent=3)
    parameters = find_parameters(
        model, Standard(digits.tasks), digits.splits["train"].rows(slice(0, 8))
    )
    owner = {id(p): o for p, o in zip(parameters.tensors, parameters.owners, strict=True)}
    for part, owners in (
        (model.encoder, {0, 1, 2, 3}),
        (model.decoder_a, {0, 3}),
        (model.decoder_b, {1, 3}),
    ):
        assert {owner[id(p)] for p in part.parameters()} == {frozenset(owners)}
    assert [layer.out_features for layer in model.decoder_a if isinstance(layer, nn.Linear)] == [
        6,
        8,
        64,
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"latent": 0}, "model.latent must be a whole number of at least 1; found 0."),
        ({"latent": True}, "model.latent must be a whole number of at least 1; found True."),
        ({"hidden": [0]}, "model.hidden must be a list of positive widths"),
        ({"activation": "reul"}, "model.activation='reul' is unknown"),
        (
            {"input_shape": (64,)},
            "model=two_fonts takes images in two fonts, inputs of shape (2, pixels); these have (64,)",
        ),
        ({"input_shape": {"a": (64,)}}, "model=two_fonts takes images in two fonts"),
    ],
)
def test_models_that_cannot_be_are_refused(options: dict[str, Any], sentence: str) -> None:
    """Breaks a sentence that a user reads."""
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        TwoFonts(**{"input_shape": (2, 64), **options})


# Runs


@pytest.mark.long
def test_a_run_records_and_draws_the_latent(mtl: Command, tmp_path: Path) -> None:
    """Breaks the columns of metrics.csv, which the README and scripts/reproduce/collapse.py read, or the picture."""
    result = mtl("mtl-run", *QUICK, "hydra.run.dir=run")
    assert result.code == 0, result.err
    rows = [row for row in recorded(tmp_path / "run") if row["split"] != "train"]
    for row in rows:
        assert (
            bool(row["latent_variance"])
            == bool(row["latent_agreement"])
            == (row["task"] == "align")
        )
    assert all(float(row["latent_variance"]) > 0 for row in rows if row["task"] == "align")
    assert (tmp_path / "run" / "latent_variance.png").stat().st_size > 1000


@pytest.mark.long
def test_stacked_runs_are_those_by_themselves(mtl: Command, tmp_path: Path) -> None:
    """Breaks stacks of runs with loss terms of the dataset: once they were refused as having none."""
    sweep = (*QUICK, "record.plots=none", "trainer.threads=1", "seed=0,1")
    stacked = mtl("mtl-run", "-m", "hydra/launcher=stacked", *sweep, "hydra.sweep.dir=stacked")
    assert stacked.code == 0, stacked.err
    basic = mtl("mtl-run", "-m", *sweep, "hydra.sweep.dir=basic")
    assert basic.code == 0, basic.err
    for run in sorted((tmp_path / "basic").glob("*_seed*")):
        one, two = (recorded(tmp_path / sweep / run.name) for sweep in ("basic", "stacked"))
        assert [float(row["loss"] or 0) for row in one] == pytest.approx(
            [float(row["loss"] or 0) for row in two], rel=1e-3
        )


MINE = """
import torch
from mtl_runner.data import Split
from mtl_runner.tasks.task import Task

class Mine:
    def __init__(self, end: float) -> None:
        self.tasks = [Task("far", "term", loss_term=lambda outputs, targets: (outputs["point"] - end).square().sum())]
        self.splits = {name: Split(torch.zeros(1, 1), {}) for name in ("train", "val", "test")}
"""


@pytest.mark.long
def test_terms_that_differ_in_a_number_do_not_stack(mtl: Command, tmp_path: Path) -> None:
    """Breaks in silence otherwise: the first run's objective would be everyone's."""
    (tmp_path / "mine.py").write_text(MINE)
    options = (
        "data=cagrad_toy",
        "data._target_=mine.Mine",
        "+data.end=1,2",
        "model.start=[0]",
        "weighting=fixed",
        "optimizer.lr=0.1",
    )
    few = ("trainer.epochs=60", "record.plots=none", "trainer.threads=1", "hydra.sweep.dir=sweep")
    result = mtl("mtl-run", "-m", "hydra/launcher=stacked", *options, *few)
    assert result.code == 0, result.err
    ends = [
        float(recorded(run)[-2]["loss"]) for run in sorted((tmp_path / "sweep").glob("*_seed0"))
    ]
    assert len(ends) == 2
    assert max(ends) < 0.1


def test_a_group_of_losses_has_its_own_optimizer(tmp_path: Path) -> None:
    """Breaks experiment=collapse_groups: the weight of the consistency losses, which one Adam feels, has no effect on an Adam of their own."""
    options = ("trainer.epochs=2", "data.batch_size=256", "trainer.evaluate_every=1")
    found: dict[str, list[Tensor]] = {}
    for experiment in ("collapse", "collapse_groups"):
        for weight in ("1", "0.001"):
            weights = f"weighting.weights={{align: {weight}, cycle: {weight}}}"
            directory = tmp_path / f"{experiment}_{weight}"
            rows = train(directory, f"experiment={experiment}", *options, weights)
            found.setdefault(experiment, []).append(column(rows, "latent_variance", "val")[-1, 2])
            shutil.rmtree(directory)
    heavy, light = found["collapse_groups"]
    near(light, heavy, 1e-2 * float(heavy))  # but for Adam's eps
    heavy, light = found["collapse"]
    assert float(light) > 1.1 * float(heavy)
