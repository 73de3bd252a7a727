"""scikit-learn's 1797 real handwritten digits, which several datasets are made of."""

from __future__ import annotations

import torch
from torch import Tensor

BRIGHTEST = 16  # the highest grey level
DIGIT_NAMES = tuple(str(digit) for digit in range(10))


def load_sklearn_digits() -> tuple[Tensor, Tensor]:
    """Return grey levels ``[1797, 8, 8]`` from 0 to 16, and which digits they show ``[1797]``.

    Example:
        >>> from mtl_runner.data.images.sklearn_digits import load_sklearn_digits
        >>> images, digits = load_sklearn_digits()
        >>> tuple(images.shape), digits[:3]
        ((1797, 8, 8), tensor([0, 1, 2]))
    """
    from sklearn.datasets import load_digits  # 1.2 s to import: only for those who use it

    bunch = load_digits()
    images = torch.as_tensor(bunch.images, dtype=torch.get_default_dtype())
    return images, torch.as_tensor(bunch.target)
