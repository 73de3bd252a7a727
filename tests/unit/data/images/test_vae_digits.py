"""Both losses of the variational autoencoder are the textbook's, and its collapse is counted."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from mtl_runner.data import VAEDigits
from mtl_runner.data.images.vae_digits import ACTIVE, KL, active_units
from mtl_runner.errors import ConfigError
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")


def outputs_of_a_model(rows: int = 30) -> dict[str, Tensor]:
    """Return outputs as of a model with four latent units."""
    generator = torch.Generator().manual_seed(0)
    return {
        "reconstruct": torch.randn(rows, 64, generator=generator),
        "latent_mean": torch.randn(rows, 4, generator=generator),
        "latent_log_variance": torch.randn(rows, 4, generator=generator),
    }


def test_kl_is_the_divergence_of_torch_and_of_a_mean_over_draws() -> None:
    """Breaks the closed form: sum over units, mean over images."""
    outputs = outputs_of_a_model()
    sigma = (outputs["latent_log_variance"] / 2).exp()
    posterior, prior = Normal(outputs["latent_mean"], sigma), Normal(0.0, 1.0)
    loss = KL()(outputs, {})
    assert_near(loss, kl_divergence(posterior, prior).sum(1).mean(), 1e-12)
    torch.manual_seed(0)
    draws = posterior.sample((20_000,))
    by_hand = (posterior.log_prob(draws) - prior.log_prob(draws)).sum(-1).mean()
    assert_near(loss, by_hand, 0.02)
    collapsed = {name: torch.zeros(5, 4) for name in outputs}
    assert KL()(collapsed, {}).item() == 0


def test_reconstruction_is_the_negative_log_likelihood_in_nats_per_image() -> None:
    """Breaks the sum over pixels, of either decoder; the Gaussian leaves out its constant."""
    outputs = outputs_of_a_model()
    for decoder, pixels in (("bernoulli", None), ("gaussian", torch.rand(30, 64))):
        data = VAEDigits(decoder, scale=0.3)
        target = data.splits["train"].targets["reconstruct"][:30] if pixels is None else pixels
        task = data.tasks[0]
        assert task.loss_term is not None
        loss = task.loss_term(outputs, {"reconstruct": target})
        likelihood: Any = (
            Independent(Bernoulli(logits=outputs["reconstruct"]), 1)
            if decoder == "bernoulli"
            else Independent(Normal(outputs["reconstruct"], 0.3), 1)
        )
        constant = 0.0 if decoder == "bernoulli" else likelihood.log_prob(outputs["reconstruct"])
        assert_near(loss, (constant - likelihood.log_prob(target)).mean(), 1e-9)
        elbo = task.term_metrics["elbo"](outputs, {"reconstruct": target})
        assert_near(elbo, -loss - KL()(outputs, {}), 1e-12)
        assert task.directions["elbo"] is True


def test_a_unit_is_active_if_its_mean_varies() -> None:
    """Breaks the count of Burda et al.: the variance over the data of the posterior's mean."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(10_000, 3, generator=generator)
    spread = torch.tensor([0.9, 1.1, 0.0]) * ACTIVE**0.5
    # A unit that is far from 0, but the same for every image, says nothing of the image.
    outputs = {"latent_mean": spread * mean + torch.tensor([0.0, 0.0, 5.0])}
    assert active_units(outputs, {}).item() == 1
    assert VAEDigits().tasks[1].directions["active_units"] is True


def test_pixels_are_0_or_1_or_grey() -> None:
    """Breaks the likelihood: a Bernoulli variable is 0 or 1."""
    binary, grey = (VAEDigits(decoder).splits for decoder in ("bernoulli", "gaussian"))
    for split in ("train", "val", "test"):
        inputs, levels = binary[split].inputs, grey[split].inputs
        assert isinstance(inputs, Tensor)
        assert isinstance(levels, Tensor)
        assert inputs.unique().tolist() == [0, 1]
        assert torch.equal(inputs, (levels > 0.5).double())
        assert len(levels.unique()) == 17
        assert torch.equal(binary[split].targets["reconstruct"], inputs)


def test_a_model_without_a_posterior_is_refused() -> None:
    """Breaks the sentence for another model."""
    with pytest.raises(ConfigError, match=r"needs a model with a posterior, .*; use model=vae\.$"):
        KL()({"reconstruct": torch.zeros(2, 64)}, {})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"decoder": "poisson"},
            "data.decoder='poisson' is unknown; allowed: bernoulli, gaussian.",
        ),
        ({"scale": 0}, "data.scale must be a positive number; found 0."),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    """Breaks the sentence about an option."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        VAEDigits(**options)
