"""Two fonts of the same digits, four losses of one autoencoder, and measures of its latents."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mtl_runner.data import Collapse
from mtl_runner.data.images.collapse import DRAWN, latent_agreement, latent_variance
from mtl_runner.data.prepare import Prepared, prepare
from mtl_runner.errors import ConfigError
from mtl_runner.models import TwoFonts
from tests.support.builders import assert_near


@pytest.fixture(scope="module")
def digits() -> Prepared:
    """Return the dataset, checked as before training."""
    return prepare(Collapse())


def first_rows(data: Prepared, rows: int = 32) -> Tensor:
    """Return the inputs of the first training rows."""
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
    """Breaks alignment if the two pictures of a row are of two digits.

    Font b is always font a, drawn otherwise.
    """
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
    """Return the latents of both fonts, as a model would name them."""
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
    """Breaks the metric.

    Of z = W x it is the mean of the diagonal of W cov(x) W', averaged over the fonts.
    """
    inputs = first_rows(prepare(Collapse("bold")), 200)
    encoder = nn.Linear(64, 5)
    expected = [
        torch.trace(encoder.weight @ torch.cov(inputs[:, font].T, correction=0) @ encoder.weight.T)
        / 5
        for font in (0, 1)
    ]
    assert_near(
        latent_variance(outputs_of(encoder, inputs), {}), (expected[0] + expected[1]) / 2, 1e-12
    )
    doubled = {name: 2 * z for name, z in outputs_of(encoder, inputs).items()}
    assert_near(latent_variance(doubled, {}), 2 * (expected[0] + expected[1]), 1e-12)


def test_agreement_is_1_for_equal_latents_and_about_0_for_strangers() -> None:
    """Breaks the metric's meaning; it does not depend on the latents' scale."""
    z = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    assert float(latent_agreement({"latent_a": z, "latent_b": z}, {})) == 1
    stranger = z.roll(1, 0)
    assert float(latent_agreement({"latent_a": z, "latent_b": stranger}, {})) == pytest.approx(
        0, abs=0.05
    )
    assert_near(
        latent_agreement({"latent_a": 9 * z, "latent_b": 9 * (z + stranger)}, {}),
        latent_agreement({"latent_a": z, "latent_b": z + stranger}, {}),
        1e-5,
    )


def test_align_and_cycle_are_their_formulas(digits: Prepared) -> None:
    """Breaks which latent is compared with which.

    Each one with the other font's, and with itself, decoded into the other font.
    """
    inputs = first_rows(digits)
    model = TwoFonts((2, 64), hidden=[8], latent=3)
    a, b = model.encoder(inputs[:, 0]), model.encoder(inputs[:, 1])
    outputs = model(inputs)
    align, cycle = (task.loss(outputs, {}) for task in digits.tasks[2:])
    assert_near(align, (a - b).square().mean(), 1e-6)
    there = (model.encoder(model.decoder_b(a)) - a).square().mean()
    back = (model.encoder(model.decoder_a(b)) - b).square().mean()
    assert_near(cycle, (there + back) / 2, 1e-6)
    assert_near(outputs["reconstruct_a"], model.decoder_a(a), 1e-6)
    assert_near(outputs["reconstruct_b"], model.decoder_b(b), 1e-6)


def test_consistency_without_latents_is_refused(digits: Prepared) -> None:
    """Breaks the sentence for `model=mlp`."""
    for task in digits.tasks[2:]:
        with pytest.raises(
            ConfigError,
            match="The consistency losses need the latents of both fonts; use model=two_fonts",
        ):
            task.loss({"reconstruct_a": torch.zeros(1, 64)}, {})
