"""A recurrent convolutional network for texts: every word with its context on both sides, then the strongest of each feature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_runner.errors import ModelError
from mtl_runner.errors.checks import fraction, whole
from mtl_runner.tasks.task import Task

PADDING = 0  # the number behind the end of a text
RESERVED = 2  # padding and the unknown word


class TextRCNN(nn.Module):
    r"""The recurrent convolutional neural network of Lai, Xu, Liu & Zhao (AAAI 2015), with one linear head per task.

    .. math::
        x_i = [c_l(w_i);\, e(w_i);\, c_r(w_i)], \quad y_i = \tanh(W x_i + b), \quad y = \max_i y_i

    where :math:`e(w_i)` is the embedding of word i (eq. 3), :math:`c_l` what a recurrent network knows after the words before it
    (eq. 1), :math:`c_r` after those behind it, read backwards (eq. 2), W and b the layer of eq. 4, and the maximum is taken for
    each feature over the known words (eq. 5). Departs from the paper: the two recurrent networks are LSTMs that start from zero, the
    embedding is learned from nothing instead of from word2vec, and the heads' biases start at the trivial predictor (for labels the
    logits of their shares: Lin et al., ICCV 2017, section 3.3). From biases of 0, rare labels cost the first epochs: the network
    learns that all are rare through the features, which then say the same of every text.

    Padding (0), which may stand behind a text only, changes nothing: the backward network starts at the last word, and the maximum
    leaves padding out. A text without a word gives the heads -1 for every feature.

    Args:
        tasks: the tasks. input_shape: ``(tokens,)``.
        words: size of the vocabulary without its numbers 0 (padding) and 1 (unknown). embedding: numbers per word.
        hidden: width of each LSTM. features: width of the layer before the maximum. dropout: of embeddings and pooled features.

    Shape: inputs ``[N, tokens]`` of int64 -> ``{task: [N, size]}``. Raises ``ConfigError`` for an impossible option and ``ModelError``
    for inputs that are not numbers of words.
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
            whole(size, f"model.{name}", 1)
        fraction(dropout, "model.dropout", one=False)
        if len(input_shape) != 1:
            raise ModelError(
                f"model=text_rcnn reads rows of word numbers, inputs [N, tokens]; found inputs of shape {('N', *input_shape)}."
            )
        self.names = [task.name for task in tasks if task.has_target]
        self.embedding = nn.Embedding(words + RESERVED, embedding, padding_idx=PADDING)
        # Two LSTMs instead of one bidirectional: the backward one must not read the padding first. (Packed sequences can do
        # that too; they took 4 times as long and need the lengths on the host.)
        self.before = nn.LSTM(embedding, hidden, batch_first=True)
        self.behind = nn.LSTM(embedding, hidden, batch_first=True)
        self.layer = nn.Linear(2 * hidden + embedding, features)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(_head(features, task) for task in tasks if task.has_target)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        if inputs.is_floating_point():
            raise ModelError(
                f"model=text_rcnn reads word numbers, whole numbers [N, tokens]; found inputs of type {inputs.dtype}."
            )
        known = inputs != PADDING
        words = self.dropout(self._embedded(inputs))
        turned = _turned(known)
        before = _states_before(self.before, words)
        behind = _taken(_states_before(self.behind, _taken(words, turned)), turned)
        features = torch.tanh(self.layer(torch.cat([before, words, behind], dim=2)))
        # -1 is below every tanh, and not -inf, so that a text without a word gives finite outputs.
        strongest = self.dropout(features.masked_fill(~known.unsqueeze(2), -1.0).amax(1))
        return {name: head(strongest) for name, head in zip(self.names, self.heads, strict=True)}

    def _embedded(self, inputs: Tensor) -> Tensor:
        try:
            found: Tensor = self.embedding(inputs)
        except (
            IndexError
        ):  # on a GPU it is an assertion of the device, and nothing is cheaper than that
            last = self.embedding.num_embeddings - 1
            raise ModelError(
                f"model.words={last - RESERVED + 1} knows the numbers 0 to {last}, but the inputs hold {int(inputs.min())} to {int(inputs.max())}; "
                "model.words must be at least data.words."
            ) from None
        return found


@torch.no_grad()
def _head(width: int, task: Task) -> nn.Linear:
    """A linear layer whose bias starts at the trivial predictor's output, where the task knows it."""
    head = nn.Linear(width, task.size)
    if len(task.trivial) == task.size:
        head.bias.copy_(torch.tensor(task.trivial))
    return head


def _turned(known: Tensor) -> Tensor:
    """Where each place of a text stands when its known words are read backwards, ``[N, tokens]``; padding stays where it is."""
    place = torch.arange(known.shape[1], device=known.device)
    last = known.sum(1, keepdim=True) - 1
    return torch.where(place <= last, last - place, place)


def _taken(rows: Tensor, order: Tensor) -> Tensor:
    """``rows[n, order[n, i]]`` for every n and i; each place is taken once, so that the gradient adds nothing up, in no order."""
    return rows.gather(1, order.unsqueeze(2).expand(-1, -1, rows.shape[2]))


def _states_before(lstm: nn.LSTM, words: Tensor) -> Tensor:
    """What the network knows before it reads each word, ``[N, tokens, hidden]``: its state one place earlier, zeros at the first."""
    states: Tensor = lstm(words)[0]
    return F.pad(states[:, :-1], (0, 0, 1, 0))
