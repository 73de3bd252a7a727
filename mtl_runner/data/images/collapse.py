"""Four losses of one autoencoder, two of which a constant encoder solves: does it collapse?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl_runner.data.dataset import random_splits
from mtl_runner.data.images.sklearn_digits import BRIGHTEST, load_sklearn_digits
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.tasks.task import Task

FONTS = ("a", "b")
SIDE = 8  # pixels
Outputs = Mapping[str, Tensor]


class Collapse:
    r"""scikit-learn's 8x8 digits in two "fonts", for an autoencoder with four losses.

    Font a is the digit as it is, font b the same digit drawn otherwise, always in the same way.
    With an encoder :math:`E` and a decoder :math:`D_f` per font, :math:`z_f = E(x_f)`, the losses
    are two reconstructions and two latent consistencies, all four means over rows and entries:

    ============= ============================================ ==========================
    loss          formula                                      of a constant encoder
    ============= ============================================ ==========================
    reconstruct_f :math:`(D_f(z_f) - x_f)^2`                   the variance of the pixels
    align         :math:`(z_a - z_b)^2`                        0
    cycle         :math:`\tfrac12 [(E(D_b(z_a)) - z_a)^2 +     0
                  (E(D_a(z_b)) - z_b)^2]`
    ============= ============================================ ==========================

    ``align`` says that a character has one latent, whatever its font. Small latents make the last
    two losses small as well, at no cost in reconstruction once the decoders have grown to match: a
    small ``latent_variance`` is a collapse only where reconstruction is no better than the mean
    image (``relative_loss`` 1).

    ``align`` records two metrics: :func:`latent_variance` and :func:`latent_agreement`. The model
    is :class:`~mtl_runner.models.TwoFonts`.

    Args:
        font: How font b differs: ``"italic"`` (sheared), ``"bold"`` (thickened) or ``"inverse"``
            (white on black).
        val: Fraction of the rows for validation.
        test: Fraction of the rows for the test split.
        seed: Seed of the split.

    Shape:
        Inputs ``[N, 2, 64]`` in [0, 1], targets ``[N, 64]``.

    Raises:
        ConfigError: If ``font`` is unknown, or the fractions leave no training part.

    Example:
        >>> from mtl_runner.data import Collapse
        >>> data = Collapse("bold")
        >>> [task.name for task in data.tasks]
        ['reconstruct_a', 'reconstruct_b', 'align', 'cycle']
        >>> tuple(data.splits["train"].inputs.shape)
        (1257, 2, 64)
    """

    def __init__(
        self, font: str = "italic", val: float = 0.15, test: float = 0.15, seed: int = 0
    ) -> None:
        if font not in DRAWN:
            raise ConfigError(f"data.font={font!r} is unknown; {suggest(font, DRAWN)}.")
        images = load_sklearn_digits()[0] / BRIGHTEST
        pages = {"a": images.flatten(1), "b": DRAWN[font](images).flatten(1)}
        self.tasks = [Task(f"reconstruct_{name}", "regression", size=SIDE**2) for name in FONTS]
        self.tasks += [
            Task("align", "term", loss_term=Align()),
            Task("cycle", "term", loss_term=cycle),
        ]
        targets = {f"reconstruct_{name}": page for name, page in pages.items()}
        self.splits = random_splits(torch.stack(list(pages.values()), 1), targets, val, test, seed)


def italic(images: Tensor) -> Tensor:
    """Return images ``[N, 8, 8]`` sheared: upper rows to the right, lower rows to the left.

    The two upper rows of pixels move by one pixel, and so do the two lower ones; what leaves the
    page is lost.
    """
    left, right = F.pad(images, (0, 1))[..., 1:], F.pad(images, (1, 0))[..., :-1]
    return torch.cat([right[:, :2], images[:, 2:-2], left[:, -2:]], 1)


def bold(images: Tensor) -> Tensor:
    """Return images ``[N, 8, 8]`` in thicker strokes.

    Each pixel is as dark as the darkest of itself and its neighbours on the right, below, and
    between them.
    """
    return F.max_pool2d(F.pad(images, (0, 1, 0, 1)).unsqueeze(1), 2, stride=1).squeeze(1)


def inverse(images: Tensor) -> Tensor:
    """Return images in [0, 1] as white on black."""
    return 1 - images


DRAWN: dict[str, Callable[[Tensor], Tensor]] = {"italic": italic, "bold": bold, "inverse": inverse}


@dataclass(frozen=True)
class Align:
    """The loss term ``align``: mean squared difference of a character's latents in both fonts.

    Example:
        >>> import torch
        >>> from mtl_runner.data.images.collapse import Align
        >>> Align()({"latent_a": torch.zeros(5, 2), "latent_b": torch.full((5, 2), 3.0)}, {})
        tensor(9.)
    """

    @property
    def metrics(self) -> dict[str, Callable[[Outputs, Outputs], Tensor]]:
        """The measures of the latents that are recorded at every evaluation, by name."""
        return {"latent_variance": latent_variance, "latent_agreement": latent_agreement}

    def __call__(self, outputs: Outputs, targets: Outputs) -> Tensor:
        """Return the loss of the outputs of a model; there are no targets."""
        del targets
        latent_a, latent_b = _latents(outputs)
        return F.mse_loss(latent_a, latent_b)


def cycle(outputs: Outputs, targets: Outputs) -> Tensor:
    """Return the mean squared difference of a latent and that of its image in the other font."""
    del targets
    losses = [
        F.mse_loss(outputs[f"cycle_{font}"], latent)
        for font, latent in zip(FONTS, _latents(outputs), strict=True)
    ]
    return (losses[0] + losses[1]) / 2


def latent_variance(outputs: Outputs, targets: Outputs) -> Tensor:
    """Return the variance of the latents over the rows, mean over their numbers and the fonts."""
    del targets
    latent_a, latent_b = _latents(outputs)
    return (latent_a.var(0, correction=0).mean() + latent_b.var(0, correction=0).mean()) / 2


def latent_agreement(outputs: Outputs, targets: Outputs) -> Tensor:
    """Return how much more alike a character's two latents are than those of any two rows.

    It is one less the mean squared difference of a character's latents over that of any two rows'
    of the fonts: 1 if the font leaves no trace, 0 if the two are no more alike than two characters;
    of a constant encoder it is undefined.
    """
    latent_a, latent_b = _latents(outputs)
    mean_difference = (latent_a.mean(0) - latent_b.mean(0)).square().mean()
    of_any_two_rows = 2 * latent_variance(outputs, targets) + mean_difference
    return 1 - F.mse_loss(latent_a, latent_b) / of_any_two_rows


# A constant encoder has neither, so more of them is better.
latent_variance.higher_is_better = True  # type: ignore[attr-defined]
latent_agreement.higher_is_better = True  # type: ignore[attr-defined]


def _latents(outputs: Outputs) -> tuple[Tensor, Tensor]:
    if "latent_a" not in outputs:
        raise ConfigError(
            "The consistency losses need the latents of both fonts; use model=two_fonts."
        )
    return outputs["latent_a"], outputs["latent_b"]
