"""The autoencoder of two fonts: what it shares, and which sizes it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
from torch import nn

from mtl_runner.data import Collapse
from mtl_runner.data.prepare import Prepared, prepare
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.likelihood import Standard
from mtl_runner.models import TwoFonts


@pytest.fixture(scope="module")
def digits() -> Prepared:
    """Return the dataset that the model is made for, checked as before training."""
    return prepare(Collapse())


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
