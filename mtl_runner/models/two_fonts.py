"""An autoencoder of two fonts: one encoder, a decoder per font."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import whole_number
from mtl_runner.models.mlp import trunk_layers


class TwoFonts(nn.Module):
    """An autoencoder of images in two fonts a and b: one encoder for both, a decoder for each.

    Beside reconstructions and latents it returns ``cycle_a``, the latent of font a decoded into
    font b and encoded again, and ``cycle_b``, its mirror image.

    Args:
        input_shape: ``(2, pixels)``.
        hidden: Widths of the encoder's layers; the decoders have them in reverse.
        latent: Numbers per character.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``; latents and images have none.

    Shape:
        Inputs ``[N, 2, pixels]``, outputs ``reconstruct_a`` and ``reconstruct_b`` ``[N, pixels]``,
        ``latent_a``, ``latent_b``, ``cycle_a`` and ``cycle_b`` ``[N, latent]``.

    Raises:
        ConfigError: If the inputs have another shape, or an option is impossible.

    Example:
        >>> import torch
        >>> from mtl_runner.models import TwoFonts
        >>> outputs = TwoFonts((2, 64), latent=3)(torch.zeros(5, 2, 64))
        >>> tuple(outputs["latent_a"].shape), tuple(outputs["reconstruct_a"].shape)
        ((5, 3), (5, 64))
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
        whole_number(latent, "model.latent", 1)
        pixels = input_shape[1]
        layers, width = trunk_layers((pixels,), hidden, activation, dropout=0.0)
        self.encoder = nn.Sequential(*layers, nn.Linear(width, latent))
        self.decoder_a, self.decoder_b = (
            _decoder(latent, hidden, activation, pixels) for _ in "ab"
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return reconstructions, latents and cycled latents of both fonts."""
        rows = len(inputs)
        # Both fonts in one pass of the encoder.
        latent_a, latent_b = self.encoder(inputs.transpose(0, 1).flatten(0, 1)).split(rows)
        in_other_font = torch.cat([self.decoder_a(latent_b), self.decoder_b(latent_a)])
        cycle_b, cycle_a = self.encoder(in_other_font).split(rows)
        return {
            "reconstruct_a": self.decoder_a(latent_a),
            "reconstruct_b": self.decoder_b(latent_b),
            "latent_a": latent_a,
            "latent_b": latent_b,
            "cycle_a": cycle_a,
            "cycle_b": cycle_b,
        }


def _decoder(latent: int, hidden: Sequence[int], activation: str, pixels: int) -> nn.Sequential:
    layers, width = trunk_layers((latent,), list(hidden)[::-1], activation, dropout=0.0)
    return nn.Sequential(*layers, nn.Linear(width, pixels))
