"""Four losses of one autoencoder, two of which a constant encoder solves: does it collapse?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.data.dataset import random_splits
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.tasks.task import Task

FONTS = ("a", "b")
SIDE = 8  # pixels
Outputs = Mapping[str, Tensor]


class Collapse:
    r"""scikit-learn's 8x8 digits in two "fonts", for an autoencoder with two reconstruction and two latent-consistency losses.

    Font a is the digit as it is, font b the same digit drawn otherwise, always in the same way. With an encoder :math:`E` and a decoder
    :math:`D_f` per font, :math:`z_f = E(x_f)`, all four means over rows and entries:

    ============= ============================================================================= ==========================
    loss          formula                                                                       of a constant encoder
    ============= ============================================================================= ==========================
    reconstruct_f :math:`(D_f(z_f) - x_f)^2`                                                    the variance of the pixels
    align         :math:`(z_a - z_b)^2`: a character has one latent, whatever its font          0
    cycle         :math:`\tfrac12 [(E(D_b(z_a)) - z_a)^2 + (E(D_a(z_b)) - z_b)^2]`              0
    ============= ============================================================================= ==========================

    Small latents make the last two small as well, at no cost in reconstruction once the decoders have grown to match: a small
    ``latent_variance`` is a collapse only where reconstruction is no better than the mean image (``relative_loss`` 1).

    ``align`` records two metrics: ``latent_variance``, over the rows, the mean over the latent's numbers and the fonts; and
    ``latent_agreement``, one less the mean squared difference of a character's latents over that of any two rows' (1: the font leaves no
    trace, 0: no more alike than two characters; of a constant encoder undefined).

    Args:
        font: how font b differs: ``italic`` (sheared), ``bold`` (thickened), ``inverse`` (white on black).
        val, test: fractions of the rows. seed: of the split.

    Shape: inputs ``[N, 2, 64]`` in [0, 1], targets ``[N, 64]``. The model is :class:`~mtl_runner.models.TwoFonts`. Raises ``ConfigError`` for
    another ``font``.
    """

    def __init__(
        self, font: str = "italic", val: float = 0.15, test: float = 0.15, seed: int = 0
    ) -> None:
        from sklearn.datasets import load_digits  # 1.2 s to import: only for those who use it

        if font not in DRAWN:
            raise ConfigError(f"data.font={font!r} is unknown; {suggest(font, DRAWN)}.")
        images = torch.as_tensor(load_digits().images, dtype=torch.get_default_dtype()) / 16
        pages = {"a": images.flatten(1), "b": DRAWN[font](images).flatten(1)}
        self.tasks = [Task(f"reconstruct_{name}", "regression", size=SIDE**2) for name in FONTS]
        self.tasks += [
            Task("align", "term", loss_term=Align()),
            Task("cycle", "term", loss_term=cycle),
        ]
        targets = {f"reconstruct_{name}": page for name, page in pages.items()}
        self.splits = random_splits(torch.stack(list(pages.values()), 1), targets, val, test, seed)


def italic(images: Tensor) -> Tensor:
    """Sheared: the two upper rows of pixels stand one pixel further right, the two lower ones further left; what leaves the page is lost."""
    left, right = F.pad(images, (0, 1))[..., 1:], F.pad(images, (1, 0))[..., :-1]
    return torch.cat([right[:, :2], images[:, 2:-2], left[:, -2:]], 1)


def bold(images: Tensor) -> Tensor:
    """Each pixel as dark as the darkest of itself and its neighbours on the right, below, and between them."""
    return F.max_pool2d(F.pad(images, (0, 1, 0, 1)).unsqueeze(1), 2, stride=1).squeeze(1)


def inverse(images: Tensor) -> Tensor:
    """White on black."""
    return 1 - images


DRAWN: dict[str, Callable[[Tensor], Tensor]] = {"italic": italic, "bold": bold, "inverse": inverse}


@dataclass(frozen=True)
class Align:
    """The mean squared difference between the latents of a character in both fonts, and what is measured of them."""

    @property
    def metrics(self) -> dict[str, Callable[[Outputs, Outputs], Tensor]]:
        """What is recorded at every evaluation."""
        return {"latent_variance": latent_variance, "latent_agreement": latent_agreement}

    def __call__(self, outputs: Outputs, targets: Outputs) -> Tensor:
        del targets
        a, b = _latents(outputs)
        return F.mse_loss(a, b)


def cycle(outputs: Outputs, targets: Outputs) -> Tensor:
    """The mean squared difference between a latent and that of its image in the other font."""
    del targets
    losses = [
        F.mse_loss(outputs[f"cycle_{name}"], z)
        for name, z in zip(FONTS, _latents(outputs), strict=True)
    ]
    return (losses[0] + losses[1]) / 2


def latent_variance(outputs: Outputs, targets: Outputs) -> Tensor:
    """The variance over the rows, mean over the latent's numbers and the fonts."""
    del targets
    a, b = _latents(outputs)
    return (a.var(0, correction=0).mean() + b.var(0, correction=0).mean()) / 2


def latent_agreement(outputs: Outputs, targets: Outputs) -> Tensor:
    """One less the squared difference of a character's latents over that of any two rows' of the fonts."""
    a, b = _latents(outputs)
    any_two = 2 * latent_variance(outputs, targets) + (a.mean(0) - b.mean(0)).square().mean()
    return 1 - F.mse_loss(a, b) / any_two


# A constant encoder has neither, so more of them is better.
latent_variance.higher_is_better = True  # type: ignore[attr-defined]
latent_agreement.higher_is_better = True  # type: ignore[attr-defined]


def _latents(outputs: Outputs) -> tuple[Tensor, Tensor]:
    if "latent_a" not in outputs:
        raise ConfigError(
            "The consistency losses need the latents of both fonts; use model=two_fonts."
        )
    return outputs["latent_a"], outputs["latent_b"]
