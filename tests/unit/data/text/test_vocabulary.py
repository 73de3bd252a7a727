"""Texts become words, and words numbers."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.data.text.vocabulary import Vocabulary, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Wheat ROSE, then fell.", ["wheat", "rose", "then", "fell"]),
        (
            "155,221 bags at 5.93 mln on 5/14/82",
            ["000,000", "bags", "at", "0.00", "mln", "on", "0/00/00"],
        ),
        ("The U.S. said O'Neill's soy-meal", ["the", "u.s.", "said", "o'neill's", "soy", "meal"]),
        ("<MCD> & Co, 4th qtr. 3.", ["mcd", "co", "0", "th", "qtr", "0"]),
        ("São Paulo; Zürich", ["são", "paulo", "zürich"]),
        ("****** \x03\n", []),
        ("", []),
    ],
)
def test_a_text_becomes_words_and_shapes_of_numbers(text: str, tokens: list[str]) -> None:
    """Breaks if case or punctuation makes words different.

    Single numbers must not fill the vocabulary, nor abbreviations fall apart.
    """
    assert tokenize(text) == tokens


def test_only_the_first_tokens_are_read() -> None:
    """Breaks if long texts cost more than what is used of them, or the wrong end is cut off."""
    assert tokenize("one two three four", 2) == ["one", "two"]


def test_the_most_frequent_words_come_first_and_ties_follow_the_alphabet() -> None:
    """Breaks if the numbers depend on anything but the texts, so that a run cannot be repeated."""
    assert Vocabulary.fit([["b", "c", "a"], ["c", "d"]], 3).words == ("c", "a", "b")


def test_padding_is_0_an_unknown_word_1_and_the_most_frequent_word_2() -> None:
    """Breaks if a model takes padding for a word, or a word for padding."""
    vocabulary = Vocabulary(["the", "of"])
    rows = vocabulary.encode([["the", "gold", "of"], ["of"], [], ["the"] * 9], 4)
    assert rows.dtype == torch.int64
    assert rows.tolist() == [[2, 1, 3, 0], [3, 0, 0, 0], [0, 0, 0, 0], [2, 2, 2, 2]]
    assert len(vocabulary) == 4
