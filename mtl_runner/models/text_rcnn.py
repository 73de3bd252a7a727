"""A recurrent convolutional network for texts: words in their contexts, then a maximum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_runner.errors import ModelError
from mtl_runner.errors.checks import fraction, whole_number
from mtl_runner.tasks.task import Task

PADDING = 0  # the number behind the end of a text
RESERVED = 2  # padding and the unknown word


class TextRCNN(nn.Module):
    r"""The recurrent convolutional network of Lai, Xu, Liu & Zhao (AAAI 2015), a head per task.

    .. math::
        x_i = [c_l(w_i);\, e(w_i);\, c_r(w_i)], \quad y_i = \tanh(W x_i + b), \quad y = \max_i y_i

    where

    - :math:`e(w_i)` is the embedding of word i (eq. 3),
    - :math:`c_l(w_i)` is the state of a recurrent network after the words before it (eq. 1),
    - :math:`c_r(w_i)` is that of another one after the words behind it, read backwards (eq. 2),
    - :math:`W` and :math:`b` are the layer of eq. 4,
    - the maximum is taken for each feature over the known words (eq. 5); it goes to the heads.

    Departs from the paper: the two recurrent networks are LSTMs that start from zero, the embedding
    is learned from nothing instead of from word2vec, and the heads' biases start at the trivial
    predictor (for labels the logits of their shares: Lin et al., ICCV 2017, section 3.3). From
    biases of 0, rare labels cost the first epochs: the network learns that all are rare through the
    features, which then say the same of every text.

    Padding may stand behind a text only and changes nothing: the backward network starts at the
    last word, and the maximum leaves padding out. A text without a word gives the heads -1 for
    every feature.

    Args:
        tasks: The tasks.
        input_shape: ``(tokens,)``.
        words: Size of the vocabulary without its numbers 0 (padding) and 1 (unknown).
        embedding: Numbers per word.
        hidden: Width of each LSTM.
        features: Width of the layer before the maximum.
        dropout: Share of the embeddings and of the pooled features that is dropped.

    Shape:
        Inputs ``[N, tokens]`` of int64, outputs ``{task: [N, size]}``.

    Raises:
        ConfigError: If an option is impossible.
        ModelError: If the inputs are not rows of word numbers below ``words + 2``.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import TextRCNN
        >>> model = TextRCNN([Task("topics", "multilabel", size=3)], input_shape=(4,), words=20)
        >>> tuple(model(torch.tensor([[2, 7, 1, 0], [5, 0, 0, 0]]))["topics"].shape)
        (2, 3)
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        words: int = 10_000,
        embedding: int = 100,
        hidden: int = 64,
        features: int = 100,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = {"words": words, "embedding": embedding, "hidden": hidden, "features": features}
        for name, size in sizes.items():
            whole_number(size, f"model.{name}", 1)
        fraction(dropout, "model.dropout", one_allowed=False)
        if len(input_shape) != 1:
            raise ModelError(
                f"model=text_rcnn reads rows of word numbers, inputs [N, tokens]; found inputs of shape {('N', *input_shape)}."
            )
        self.task_names = [task.name for task in tasks if task.has_target]
        self.embedding = nn.Embedding(words + RESERVED, embedding, padding_idx=PADDING)
        # Two LSTMs, not a bidirectional one: the backward one must not read the padding first.
        # (Packed sequences can do that too; they took 4 times as long, with lengths on the host.)
        self.before = nn.LSTM(embedding, hidden, batch_first=True)
        self.behind = nn.LSTM(embedding, hidden, batch_first=True)
        self.layer = nn.Linear(2 * hidden + embedding, features)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(_head(features, task) for task in tasks if task.has_target)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``."""
        if inputs.is_floating_point():
            raise ModelError(
                f"model=text_rcnn reads word numbers, whole numbers [N, tokens]; found inputs of type {inputs.dtype}."
            )
        known = inputs != PADDING
        words = self.dropout(self._embed(inputs))
        backwards = _backward_order(known)
        before = _states_before(self.before, words)
        behind = _reorder(_states_before(self.behind, _reorder(words, backwards)), backwards)
        features = torch.tanh(self.layer(torch.cat([before, words, behind], dim=2)))
        # -1 is below every tanh, and not -inf, so that a text without a word gives finite outputs.
        pooled = self.dropout(features.masked_fill(~known.unsqueeze(2), -1.0).amax(1))
        return {name: head(pooled) for name, head in zip(self.task_names, self.heads, strict=True)}

    def _embed(self, inputs: Tensor) -> Tensor:
        try:
            embedded: Tensor = self.embedding(inputs)
        except IndexError:  # on a GPU the device asserts, and to ask beforehand would wait for it
            highest = self.embedding.num_embeddings - 1
            raise ModelError(
                f"model.words={highest - RESERVED + 1} knows the numbers 0 to {highest}, but the inputs hold {int(inputs.min())} to {int(inputs.max())}; "
                "model.words must be at least data.words."
            ) from None
        return embedded


@torch.no_grad()
def _head(width: int, task: Task) -> nn.Linear:
    """Return a linear layer whose bias is the trivial predictor's output, if that is known."""
    head = nn.Linear(width, task.size)
    if len(task.trivial) == task.size:
        head.bias.copy_(torch.tensor(task.trivial))
    return head


def _backward_order(known: Tensor) -> Tensor:
    """Return the order ``[N, tokens]`` that reverses the words and leaves padding in place."""
    position = torch.arange(known.shape[1], device=known.device)
    last_position = known.sum(1, keepdim=True) - 1
    return torch.where(position <= last_position, last_position - position, position)


def _reorder(rows: Tensor, order: Tensor) -> Tensor:
    """Return ``rows[n, order[n, i]]`` for every n and i.

    Each place is taken once, so the gradient adds nothing up, and is the same in any order.
    """
    return rows.gather(1, order.unsqueeze(2).expand(-1, -1, rows.shape[2]))


def _states_before(lstm: nn.LSTM, words: Tensor) -> Tensor:
    """Return the states ``[N, tokens, hidden]`` before each word is read, 0 before the first."""
    states: Tensor = lstm(words)[0]
    return F.pad(states[:, :-1], (0, 0, 1, 0))
