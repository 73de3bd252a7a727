"""The variational autoencoder: its draw, what it shares, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from mtl_runner.data import VAEDigits
from mtl_runner.data.prepare import prepare
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.likelihood import Standard
from mtl_runner.models import VAE
from mtl_runner.models.vae import GaussianDraw
from tests.support.builders import assert_near


@pytest.mark.parametrize("training", [True, False])
def test_a_draw_has_the_mean_and_variance_of_the_posterior(training: bool) -> None:
    """Breaks the reparameterisation: mean + noise * exp(log_variance / 2)."""
    torch.manual_seed(0)
    mean, log_variance = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, -3.0]])
    draw = GaussianDraw().train(training)
    draws = draw(mean.expand(100_000, 2), log_variance.expand(100_000, 2))
    assert_near(draws.mean(0), mean[0], 0.03)
    assert_near(draws.var(0).log(), log_variance[0], 0.03)


def test_gradients_flow_through_a_draw() -> None:
    """Breaks training of the encoder: d z/d mean is 1, d z/d log_variance is noise * sigma / 2."""
    mean, log_variance = (torch.zeros(3, 2, requires_grad=True) for _ in range(2))
    draw = GaussianDraw()(mean, log_variance)
    to_mean, to_log_variance = torch.autograd.grad(draw.sum(), [mean, log_variance])
    assert_near(to_mean, torch.ones(3, 2), 0)
    assert_near(to_log_variance, draw.detach() / 2, 1e-6)


def test_an_evaluation_draws_the_same_again_and_disturbs_no_training() -> None:
    """Breaks the monitor of equal models, or a course that evaluations must not change."""
    model = VAE((64,), hidden=[8], latent=3)
    inputs = torch.rand(5, 64)
    state = torch.get_rng_state()
    first, second = (model.eval()(inputs)["reconstruct"] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    trained = [model.train()(inputs)["reconstruct"] for _ in range(2)]
    assert not torch.equal(*trained)


def test_the_encoder_is_shared_by_both_losses_and_the_decoder_is_not() -> None:
    """Breaks updates that ask which parameters are shared."""
    data = prepare(VAEDigits())
    model = VAE((64,), hidden=[8, 6], latent=3)
    parameters = find_parameters(
        model, Standard(data.tasks), data.splits["train"].rows(slice(0, 8))
    )
    owners = {id(p): o for p, o in zip(parameters.tensors, parameters.owners, strict=True)}
    assert {owners[id(p)] for p in model.encoder.parameters()} == {frozenset({0, 1})}
    assert {owners[id(p)] for p in model.decoder.parameters()} == {frozenset({0})}
    assert [layer.out_features for layer in model.decoder if hasattr(layer, "out_features")] == [
        6,
        8,
        64,
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"latent": 0}, "model.latent must be a whole number of at least 1; found 0."),
        ({"hidden": 3}, "model.hidden must be a list of positive widths, e.g. [64, 64]; found 3."),
        ({"activation": "swish"}, "model.activation='swish' is unknown; allowed: relu, gelu"),
        (
            {"input_shape": {"a": (3,)}},
            "model=vae takes one tensor, but the data give a dict of inputs (a); use data=vae_digits.",
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    """Breaks the sentence about an option."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        VAE(**{"input_shape": (64,), **options})
