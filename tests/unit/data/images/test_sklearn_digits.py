"""scikit-learn's digits are read as they are, in the default precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mtl_runner.data.images.sklearn_digits import BRIGHTEST, DIGIT_NAMES, load_sklearn_digits


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_images_and_digits_are_scikit_learns(precision: torch.dtype) -> None:
    """Breaks four datasets at once.

    Grey levels from 0 to 16 and, in the same row, which digit it is.
    """
    torch.set_default_dtype(precision)
    try:
        images, digits = load_sklearn_digits()
    finally:
        torch.set_default_dtype(torch.float32)
    bunch = load_digits()
    assert images.dtype == precision
    assert float(images.max()) == BRIGHTEST
    np.testing.assert_array_equal(images.numpy(), bunch.images)
    np.testing.assert_array_equal(digits.numpy(), bunch.target)
    assert "".join(DIGIT_NAMES) == "0123456789"
