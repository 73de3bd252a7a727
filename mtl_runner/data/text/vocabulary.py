"""From text to numbers: a tokenizer without settings, and a vocabulary fitted on training texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor

PADDING = 0  # stands behind a text
UNKNOWN = 1  # stands for every word that is not in the vocabulary
RESERVED = 2  # numbers below this are no words

# In this order: an abbreviation with points (u.s.), a number with its inner separators (5.93,
# 155,221, 5/14/82), a word (o'neill).
_TOKEN = re.compile(r"(?:[^\W\d_]\.){2,}|\d+(?:[.,/:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*")
_DIGITS = str.maketrans(dict.fromkeys("123456789", "0"))


def tokenize(text: str, limit: int | None = None) -> list[str]:
    """Return the words and numbers of a text in lower case.

    A number keeps its shape but not its value: every digit becomes 0, so that 155,221 is
    ``000,000`` and 5.93 is ``0.00``. Whether a text is full of prices, volumes or dates is a hint
    to its topic; the single value is too rare to learn from. A hyphen parts two words; punctuation
    and other signs are dropped.

    Args:
        text: The text.
        limit: How many tokens to return at most; None: all.

    Example:
        >>> from mtl_runner.data.text.vocabulary import tokenize
        >>> tokenize("The U.S. sold 155,221 bags.")
        ['the', 'u.s.', 'sold', '000,000', 'bags']
    """
    tokens = (match.group() for match in _TOKEN.finditer(text.lower()))
    return [token.translate(_DIGITS) for token in islice(tokens, limit)]


class Vocabulary:
    """Words and their numbers: 0 is padding, 1 any unknown word, 2 the most frequent word.

    Args:
        words: The known words; the first one gets the number 2.

    Example:
        >>> from mtl_runner.data.text.vocabulary import Vocabulary
        >>> vocabulary = Vocabulary.fit([["oil", "and", "gold"], ["oil"]], size=2)
        >>> vocabulary.words, len(vocabulary)
        (('oil', 'and'), 4)
        >>> vocabulary.encode([["oil", "gold"], ["and"]], length=3)
        tensor([[2, 1, 0],
                [3, 0, 0]])
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words, RESERVED)}

    @classmethod
    def fit(cls, texts: Iterable[Sequence[str]], size: int) -> Vocabulary:
        """Return the vocabulary of the ``size`` most frequent tokens of some texts.

        Of equally frequent tokens the first in the alphabet is taken.
        """
        counts = Counter(token for text in texts for token in text)
        return cls(sorted(counts, key=lambda word: (-counts[word], word))[:size])

    def __len__(self) -> int:
        """Return how many numbers there are, those of padding and the unknown word included."""
        return len(self.words) + RESERVED

    def encode(self, texts: Sequence[Sequence[str]], length: int) -> Tensor:
        """Return the first ``length`` tokens of each text as numbers, ``[N, length]`` of int64.

        Shorter texts are padded behind their last token.
        """
        numbers = self._numbers
        rows = [[numbers.get(token, UNKNOWN) for token in text[:length]] for text in texts]
        return torch.tensor(
            [row + [PADDING] * (length - len(row)) for row in rows], dtype=torch.int64
        ).view(-1, length)
