"""From text to numbers: a tokenizer without settings, and a vocabulary that is fitted on the training split only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor

PADDING, UNKNOWN = (
    0,
    1,
)  # what stands behind a text, and for every word that is not in the vocabulary
RESERVED = 2

# In this order: an abbreviation with points (u.s.), a number with its inner separators (5.93, 155,221, 5/14/82), a word (o'neill).
_TOKEN = re.compile(r"(?:[^\W\d_]\.){2,}|\d+(?:[.,/:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*")
_DIGITS = str.maketrans(dict.fromkeys("123456789", "0"))


def tokenize(text: str, most: int | None = None) -> list[str]:
    """The words and numbers of a text in lower case, at most the first ``most`` of them.

    A number keeps its shape but not its value: every digit becomes 0, so that 155,221 is ``000,000`` and 5.93 is ``0.00``. Whether a
    text is full of prices, volumes or dates is a hint to its topic; the single value is too rare to learn from. A hyphen parts
    two words; punctuation and other signs are dropped.
    """
    found = (match.group() for match in _TOKEN.finditer(text.lower()))
    return [token.translate(_DIGITS) for token in islice(found, most)]


class Vocabulary:
    """Words and their numbers: 0 is padding, 1 any unknown word, 2 the most frequent word.

    Args:
        words: the known words, the first one gets the number 2.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words, RESERVED)}

    @classmethod
    def fit(cls, texts: Iterable[Sequence[str]], size: int) -> Vocabulary:
        """The ``size`` most frequent tokens of texts; of equally frequent ones the first in the alphabet."""
        counts = Counter(token for text in texts for token in text)
        return cls(sorted(counts, key=lambda word: (-counts[word], word))[:size])

    def __len__(self) -> int:
        """How many numbers there are, those of padding and the unknown word included."""
        return len(self.words) + RESERVED

    def encode(self, texts: Sequence[Sequence[str]], length: int) -> Tensor:
        """The first ``length`` tokens of each text as numbers, padded with 0 behind: ``[N, length]`` of int64."""
        find = self._numbers.get
        rows = [[find(token, UNKNOWN) for token in text[:length]] for text in texts]
        return torch.tensor(
            [row + [PADDING] * (length - len(row)) for row in rows], dtype=torch.int64
        ).view(-1, length)
