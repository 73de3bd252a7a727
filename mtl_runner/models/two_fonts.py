"""An autoencoder of two fonts: one encoder, a decoder per font."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import whole
from mtl_runner.models.mlp import trunk


class TwoFonts(nn.Module):
    """One encoder for both fonts, a decoder for each; also what the encoder says of an image that was decoded into the other font.

    Args:
        input_shape: ``(2, pixels)``.
        hidden: widths of the encoder's layers; the decoders have them in reverse. latent: numbers per character.
        activation: relu, gelu, silu or tanh; the latent and the decoded images have none.

    Shape: inputs ``[N, 2, pixels]`` -> ``reconstruct_a``, ``reconstruct_b`` ``[N, pixels]``, ``latent_a``, ``latent_b``, ``cycle_a`` (encoded again,
    from font b) and ``cycle_b`` ``[N, latent]``. Raises ``ConfigError`` for other inputs and for widths that are not positive.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden: Sequence[int] = (64,),
        latent: int = 16,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if isinstance(input_shape, Mapping) or len(input_shape) != 2 or input_shape[0] != 2:
            raise ConfigError(
                f"model=two_fonts takes images in two fonts, inputs of shape (2, pixels); these have {input_shape}; use data=collapse."
            )
        whole(latent, "model.latent", 1)
        pixels = input_shape[1]
        layers, width = trunk((pixels,), hidden, activation, dropout=0.0)
        self.encoder = nn.Sequential(*layers, nn.Linear(width, latent))
        self.decoder_a, self.decoder_b = (
            _decoder(latent, hidden, activation, pixels) for _ in "ab"
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        rows = len(inputs)
        a, b = self.encoder(inputs.transpose(0, 1).flatten(0, 1)).split(
            rows
        )  # both fonts in one pass
        again = self.encoder(torch.cat([self.decoder_a(b), self.decoder_b(a)]))
        cycle_b, cycle_a = again.split(rows)
        return {
            "reconstruct_a": self.decoder_a(a),
            "reconstruct_b": self.decoder_b(b),
            "latent_a": a,
            "latent_b": b,
            "cycle_a": cycle_a,
            "cycle_b": cycle_b,
        }


def _decoder(latent: int, hidden: Sequence[int], activation: str, pixels: int) -> nn.Sequential:
    layers, width = trunk((latent,), list(hidden)[::-1], activation, dropout=0.0)
    return nn.Sequential(*layers, nn.Linear(width, pixels))
