"""A point is trained as floats, from a start that the user gives."""

from __future__ import annotations

import math

import pytest
import torch

from mtl_runner.errors import ConfigError
from mtl_runner.models import Point
from tests.support.builders import assert_near


def test_a_point_of_whole_numbers_is_trained_as_floats() -> None:
    """Breaks `model.start=[9,9]`: integers have no gradient."""
    model = Point([9, 9])
    assert_near(model(torch.zeros(1, 1))["point"].detach(), torch.tensor([9.0, 9.0]), 0)
    assert [p.dtype for p in model.parameters()] == [torch.float32]


@pytest.mark.parametrize(
    "start", [None, 9, "99", [], [9, "a"], [9, True], [9, math.nan], [[9, 9]], {"x": 9}]
)
def test_a_bad_start_is_refused(start: object) -> None:
    """Breaks if the user sees PyTorch's opinion of a list instead of a sentence."""
    with pytest.raises(
        ConfigError, match=r"model\.start must be a list of finite numbers, e\.g\. \[9, 9\]; found "
    ):
        Point(start)  # type: ignore[arg-type]
