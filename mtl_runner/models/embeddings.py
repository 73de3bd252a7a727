"""Embeddings of categories: a few learned numbers instead of a 0 or 1 per category."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import is_whole_number

LARGEST = 600


def embedding_size(categories: int) -> int:
    r"""Return how many numbers stand for a category by default.

    The rule is that of fastai: :math:`\min(600, \mathrm{round}(1.6\, n^{0.56}))`.

    Args:
        categories: How many categories the column has.

    Example:
        >>> from mtl_runner.models.embeddings import embedding_size
        >>> [embedding_size(n) for n in (2, 10, 100, 100_000)]
        [2, 6, 21, 600]
    """
    return min(LARGEST, round(1.6 * math.pow(categories, 0.56)))


class EmbedsCategories(nn.Module):
    """A model whose one-hot columns are replaced by embeddings before it sees them.

    The inputs stay one-hot, so the embedding of a category is a row of a matrix, and a category
    that is missing or unknown has the embedding 0. What is not a category passes through. The
    embeddings belong to all tasks that the model shares its inputs with.

    Args:
        make_model: Makes the model for inputs of a shape.
        width: Numbers per row of the inputs.
        blocks: Start and width of each category's one-hot columns, by the column's name.
        sizes: ``"auto"``: :func:`embedding_size`; a number for all columns; or ``{column: number}``
            with the rule for those that are not named.

    Shape:
        Inputs ``[N, width]``, outputs of the model, which sees the other columns and then the
        embeddings, in the order of ``blocks``.

    Raises:
        ConfigError: If ``sizes`` is something else, or names a column that is no category.

    Example:
        >>> from mtl_runner.models.embeddings import EmbedsCategories
        >>> make_model = lambda shape: nn.Linear(shape[0], 2)
        >>> model = EmbedsCategories(make_model, width=12, blocks={"city": (2, 10)}, sizes="auto")
        >>> model.model.in_features  # two numbers and the six of a city
        8
        >>> tuple(model(torch.zeros(5, 12)).shape)
        (5, 2)
    """

    plain_columns: Tensor

    def __init__(
        self,
        make_model: Callable[[Sequence[int]], nn.Module],
        width: int,
        blocks: Mapping[str, tuple[int, int]],
        sizes: str | int | Mapping[str, int] = "auto",
    ) -> None:
        super().__init__()
        numbers = _checked_sizes(sizes, blocks)
        self.blocks = [(start, start + count) for start, count in blocks.values()]
        inside = {column for start, end in self.blocks for column in range(start, end)}
        plain_columns = [column for column in range(width) if column not in inside]
        self.register_buffer(
            "plain_columns", torch.tensor(plain_columns, dtype=torch.int64), persistent=False
        )
        self.weights = nn.ParameterList()
        for (_, count), size in zip(blocks.values(), numbers, strict=True):
            # A row is about as long as the one-hot row that it stands for.
            self.weights.append(nn.Parameter(torch.randn(count, size) / math.sqrt(size)))
        self.model = make_model((len(plain_columns) + sum(numbers),))

    def forward(self, inputs: Tensor) -> Any:
        """Return the outputs of the model."""
        embedded = [
            inputs[:, start:end] @ weight
            for (start, end), weight in zip(self.blocks, self.weights, strict=True)
        ]
        return self.model(torch.cat([inputs[:, self.plain_columns], *embedded], 1))


def _checked_sizes(sizes: Any, blocks: Mapping[str, tuple[int, int]]) -> list[int]:
    """Return the size of each column's embeddings."""
    by_name: dict[Any, Any] = (
        dict(sizes)
        if isinstance(sizes, Mapping)
        else {}
        if sizes == "auto"
        else dict.fromkeys(["", *blocks], sizes)
    )
    if not all(is_whole_number(size, 1) for size in by_name.values()):
        raise ConfigError(
            f"model.embeddings must be auto, a positive whole number, {{column: number}} or null; found {sizes!r}."
        )
    for name in by_name if isinstance(sizes, Mapping) else ():
        if name not in blocks:
            raise ConfigError(
                f"model.embeddings names {name!r}, which is no feature with categories; {suggest(str(name), list(blocks))}."
            )
    return [by_name.get(name, embedding_size(count)) for name, (_, count) in blocks.items()]
