"""Reconstruction and KL divergence of a variational autoencoder: does the posterior collapse?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from mtl_runner.data.dataset import random_splits
from mtl_runner.data.images.sklearn_digits import BRIGHTEST, load_sklearn_digits
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, positive
from mtl_runner.tasks.task import Task

ACTIVE = 0.01  # the variance of a unit's mean over the data, from which on it is active
Tensors = Mapping[str, Tensor]


class VAEDigits:
    r"""scikit-learn's 8x8 digits for a variational autoencoder with two losses.

    With the posterior :math:`q(z \mid x) = N(\mu, \mathrm{diag}(\sigma^2))` of an encoder, a draw
    z of it and a decoder's :math:`\hat x(z)`, the losses are, in nats per image,

    ============= =================================================================================
    loss          formula
    ============= =================================================================================
    reconstruct   Bernoulli: :math:`-\sum_i [x_i \log \hat x_i + (1 - x_i) \log(1 - \hat x_i)]`;
                  Gaussian: :math:`\sum_i (x_i - \hat x_i)^2 / 2 s^2`
    kl            :math:`\tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)`, the
                  divergence of the posterior from N(0, I)
    ============= =================================================================================

    Their sum is the negative evidence lower bound (of the Gaussian, up to a constant): equal
    weights are the VAE (Kingma & Welling, ICLR 2014), a weight on ``kl`` is the beta of a beta-VAE,
    and ``schedule=ramp`` its warm-up (Bowman et al., CoNLL 2016). Where the KL is worth too much
    the posterior becomes the prior, the latent says nothing, and ``kl`` is 0: posterior collapse.
    ``reconstruct`` records ``elbo``, the same for every weighting; ``kl`` records ``active_units``,
    the number of latent units whose posterior mean varies over the data, with a variance above
    0.01 (Burda et al., ICLR 2016). The model is :class:`~mtl_runner.models.VAE`.

    Args:
        decoder: ``"bernoulli"``: pixels are 0 or 1, 1 where the grey level is above half of the
            largest; ``"gaussian"``: pixels are grey levels in [0, 1].
        scale: The standard deviation s of the Gaussian decoder.
        val: Fraction of the rows for validation.
        test: Fraction of the rows for the test split.
        seed: Seed of the split.

    Shape:
        Inputs and targets ``[N, 64]``.

    Raises:
        ConfigError: If ``decoder`` is unknown, ``scale`` is not positive, or the fractions leave no
            training part.

    Example:
        >>> from mtl_runner.data import VAEDigits
        >>> data = VAEDigits()
        >>> [task.name for task in data.tasks], data.splits["train"].inputs.unique().tolist()
        (['reconstruct', 'kl'], [0.0, 1.0])
    """

    def __init__(
        self,
        decoder: str = "bernoulli",
        scale: float = 0.1,
        val: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
    ) -> None:
        choice(decoder, "data.decoder", ("bernoulli", "gaussian"))
        positive(scale, "data.scale")
        pixels = load_sklearn_digits()[0].flatten(1) / BRIGHTEST
        loss: Bernoulli | Gaussian
        if decoder == "bernoulli":
            pixels, loss = (pixels > 0.5).to(pixels.dtype), Bernoulli()
            reconstruct = Task(
                "reconstruct", "multilabel", loss_term=loss, metrics=("micro_f1", "log_loss")
            )
        else:
            loss = Gaussian(scale)
            reconstruct = Task("reconstruct", "regression", loss_term=loss, metrics=("rmse", "r2"))
        self.tasks = [reconstruct, Task("kl", "term", loss_term=KL())]
        self.splits = random_splits(pixels, {"reconstruct": pixels}, val, test, seed)


@dataclass(frozen=True)
class Bernoulli:
    """The negative log-likelihood of pixels that are 0 or 1, summed over pixels, mean over images.

    Example:
        >>> import torch
        >>> outputs = {"reconstruct": torch.zeros(5, 64)}
        >>> Bernoulli()(outputs, {"reconstruct": torch.ones(5, 64)})  # 64 log 2
        tensor(44.3614)
    """

    @property
    def metrics(self) -> dict[str, Callable[[Tensors, Tensors], Tensor]]:
        """The numbers that are recorded beside the loss at every evaluation, by name."""
        return {"elbo": ELBO(self)}

    def __call__(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the loss of the outputs, which are logits."""
        logits, pixels = outputs["reconstruct"], targets["reconstruct"]
        return F.binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(1).mean()


@dataclass(frozen=True)
class Gaussian:
    """The negative log-likelihood of grey levels of known noise, without its constant.

    Args:
        scale: The standard deviation of the noise.

    Example:
        >>> import torch
        >>> outputs = {"reconstruct": torch.zeros(5, 64)}
        >>> Gaussian(0.5)(outputs, {"reconstruct": torch.ones(5, 64)})  # 64 / (2 * 0.25)
        tensor(128.)
    """

    scale: float

    @property
    def metrics(self) -> dict[str, Callable[[Tensors, Tensors], Tensor]]:
        """The numbers that are recorded beside the loss at every evaluation, by name."""
        return {"elbo": ELBO(self)}

    def __call__(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the loss of the outputs, which are grey levels."""
        errors = (outputs["reconstruct"] - targets["reconstruct"]) / self.scale
        return errors.square().sum(1).mean() / 2


@dataclass(frozen=True)
class KL:
    """The divergence of the posteriors from the prior N(0, I), summed over units, mean over images.

    Example:
        >>> import torch
        >>> posterior = {"latent_mean": torch.ones(5, 3), "latent_log_variance": torch.zeros(5, 3)}
        >>> KL()(posterior, {})  # 3 * 1 / 2
        tensor(1.5000)
    """

    @property
    def metrics(self) -> dict[str, Callable[[Tensors, Tensors], Tensor]]:
        """The numbers that are recorded beside the loss at every evaluation, by name."""
        return {"active_units": active_units}

    def __call__(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the loss of the outputs; there are no targets."""
        del targets
        mean = posterior_mean(outputs)
        log_variance = outputs["latent_log_variance"]
        terms = mean.square() + log_variance.exp() - 1 - log_variance
        return terms.sum(1).mean() / 2


@dataclass(frozen=True)
class ELBO:
    """The evidence lower bound: minus the sum of both losses, whatever their weights.

    Args:
        reconstruction: The loss of the reconstruction.
    """

    reconstruction: Bernoulli | Gaussian

    @property
    def higher_is_better(self) -> bool:
        """True: a higher bound says that the images are more probable."""
        return True

    def __call__(self, outputs: Tensors, targets: Tensors) -> Tensor:
        """Return the bound in nats per image, estimated by one draw of the latent per image."""
        return -self.reconstruction(outputs, targets) - KL()(outputs, targets)


def active_units(outputs: Tensors, targets: Tensors) -> Tensor:
    """Return how many latent units vary over the images: variance of their mean above 0.01.

    Example:
        >>> import torch
        >>> active_units({"latent_mean": torch.tensor([[0.0, 3.0], [0.1, 2.0], [0.0, 1.0]])}, {})
        tensor(1.)
    """
    del targets
    mean = posterior_mean(outputs)
    return (mean.var(0, correction=0) > ACTIVE).sum().to(mean.dtype)


# A collapsed posterior has none, so more of them is better.
active_units.higher_is_better = True  # type: ignore[attr-defined]


def posterior_mean(outputs: Tensors) -> Tensor:
    """Return the means of the posteriors among the outputs of a model.

    Raises:
        ConfigError: If the model has none.
    """
    if "latent_mean" not in outputs:
        raise ConfigError(
            "data=vae_digits needs a model with a posterior, whose outputs are reconstruct, latent_mean and latent_log_variance; use model=vae."
        )
    return outputs["latent_mean"]
