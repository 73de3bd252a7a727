"""Embeddings of categories: their sizes, and the model that they stand before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.models.embeddings import EmbedsCategories, embedding_size

# A number, a city of four, another number, a fuel of two.
BLOCKS = {"city": (1, 4), "fuel": (6, 2)}
WIDTH = 8


class Seen(nn.Module):
    """A model that returns what it sees."""

    def __init__(self, input_shape: Sequence[int]) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the inputs."""
        return {"seen": inputs}


def rows(cities: Sequence[int | None], fuels: Sequence[int | None]) -> torch.Tensor:
    """Return one-hot rows with the numbers 10 and 20; None: a missing category."""
    inputs = torch.zeros(len(cities), WIDTH)
    inputs[:, 0], inputs[:, 5] = 10, 20
    for row, (city, fuel) in enumerate(zip(cities, fuels, strict=True)):
        if city is not None:
            inputs[row, 1 + city] = 1
        if fuel is not None:
            inputs[row, 6 + fuel] = 1
    return inputs


def test_a_model_sees_numbers_and_then_the_embedding_of_each_category() -> None:
    """Breaks the look-up: `torch.nn.functional.embedding` is the reference."""
    model = EmbedsCategories(Seen, WIDTH, BLOCKS, {"city": 3, "fuel": 2})
    assert model.model.input_shape == (2 + 3 + 2,)
    cities, fuels = [3, 0, 2], [1, 1, 0]
    seen = model(rows(cities, fuels))["seen"]
    assert seen[:, :2].tolist() == [[10, 20]] * 3
    assert torch.equal(seen[:, 2:5], F.embedding(torch.tensor(cities), model.weights[0]))
    assert torch.equal(seen[:, 5:], F.embedding(torch.tensor(fuels), model.weights[1]))


def test_a_missing_category_is_zero() -> None:
    """Breaks categories that the training rows did not have: they would count as another one."""
    seen = EmbedsCategories(Seen, WIDTH, BLOCKS)(rows([None], [1]))["seen"]
    assert not seen[0, 2 : 2 + embedding_size(4)].any()


def test_the_gradient_reaches_the_rows_of_the_batch_alone() -> None:
    """Breaks training: a category would move with others."""
    model = EmbedsCategories(Seen, WIDTH, BLOCKS)
    model(rows([2, 2], [0, 0]))["seen"].square().sum().backward()
    moved = model.weights[0].grad.abs().sum(1) > 0
    assert moved.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ("auto", [3, 2]),
        (5, [5, 5]),
        ({"city": 7}, [7, 2]),
        ({}, [3, 2]),
    ],
)
def test_sizes_are_those_of_the_rule_or_given(sizes: Any, expected: list[int]) -> None:
    """Breaks `model.embeddings`: 1.6 * 4 ** .56 is 3.48, and 1.6 * 2 ** .56 is 2.36."""
    model = EmbedsCategories(Seen, WIDTH, BLOCKS, sizes)
    assert [weight.shape[1] for weight in model.weights] == expected


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        (
            "automatic",
            "model.embeddings must be auto, a positive whole number, {column: number} or null; found 'automatic'.",
        ),
        (
            0,
            "model.embeddings must be auto, a positive whole number, {column: number} or null; found 0.",
        ),
        (
            {"city": 2.5},
            "model.embeddings must be auto, a positive whole number, {column: number} or null; found {'city': 2.5}.",
        ),
        (
            {"citty": 2},
            "model.embeddings names 'citty', which is no feature with categories; did you mean 'city'? allowed: city, fuel.",
        ),
    ],
)
def test_impossible_sizes_get_their_sentence(sizes: Any, sentence: str) -> None:
    """Breaks if a wrong size is an error of PyTorch's."""
    with pytest.raises(ConfigError) as raised:
        EmbedsCategories(Seen, WIDTH, BLOCKS, sizes)
    assert str(raised.value) == sentence
