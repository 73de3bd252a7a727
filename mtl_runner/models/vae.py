"""A variational autoencoder: an encoder to a posterior, a draw of it, and a decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import whole_number
from mtl_runner.models.mlp import trunk_layers


class GaussianDraw(nn.Module):
    """A draw from normal distributions, through which gradients flow (reparameterised).

    In training it draws from torch's generator, as dropout does. In evaluation the noise is that of
    a generator of its own, the same at every call, so that two evaluations of a model are equal and
    do not disturb the training.

    Example:
        >>> mean, log_variance = torch.full((1000, 1), 3.0), torch.full((1000, 1), -2.0)
        >>> draw = GaussianDraw().eval()(mean, log_variance)
        >>> round(draw.mean().item(), 1), round(draw.var().log().item(), 1)
        (3.0, -1.9)
    """

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Return a draw from N(mean, exp(log_variance)), of their shape."""
        if self.training:
            noise = torch.randn_like(mean)
        else:
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(mean.shape, generator=generator).to(mean)
        return mean + (log_variance / 2).exp() * noise


class VAE(nn.Module):
    """A variational autoencoder of vectors, with fully connected encoder and decoder.

    Args:
        input_shape: Shape of one input; it is flattened.
        hidden: Widths of the encoder's layers; the decoder has them in reverse.
        latent: Number of latent units.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``; latents and outputs have none.

    Shape:
        Inputs ``[N, *input_shape]``, outputs ``reconstruct`` ``[N, numbers of an input]``,
        ``latent_mean`` and ``latent_log_variance`` ``[N, latent]``.

    Raises:
        ConfigError: If the inputs are a dict, or an option is impossible.

    Example:
        >>> from mtl_runner.models import VAE
        >>> outputs = VAE((64,), latent=3)(torch.zeros(5, 64))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'reconstruct': (5, 64), 'latent_mean': (5, 3), 'latent_log_variance': (5, 3)}
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden: Sequence[int] = (128,),
        latent: int = 16,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if isinstance(input_shape, Mapping):
            raise ConfigError(
                f"model=vae takes one tensor, but the data give a dict of inputs ({', '.join(map(str, input_shape))}); use data=vae_digits."
            )
        whole_number(latent, "model.latent", 1)
        layers, width = trunk_layers(input_shape, hidden, activation, dropout=0.0)
        self.encoder = nn.Sequential(*layers, nn.Linear(width, 2 * latent))
        self.draw = GaussianDraw()
        layers, width = trunk_layers((latent,), list(hidden)[::-1], activation, dropout=0.0)
        self.decoder = nn.Sequential(*layers, nn.Linear(width, torch.Size(input_shape).numel()))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the reconstruction of a draw of the posterior, and the posterior."""
        mean, log_variance = self.encoder(inputs).chunk(2, dim=1)
        return {
            "reconstruct": self.decoder(self.draw(mean, log_variance)),
            "latent_mean": mean,
            "latent_log_variance": log_variance,
        }
