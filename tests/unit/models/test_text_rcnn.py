"""A recurrent convolutional network for texts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from mtl_runner.errors import ConfigError, ModelError
from mtl_runner.models import TextRCNN
from mtl_runner.tasks.task import Task
from tests.support.builders import assert_near, assert_same_bits

TASKS = [Task("topics.a", "multilabel", size=3), Task("length", size=1)]
WORDS = 20


def network(tokens: int, **options: object) -> TextRCNN:
    """Return a small network with the same weights at every call, for any number of tokens."""
    torch.manual_seed(0)
    sizes = {"words": WORDS, "embedding": 5, "hidden": 4, "features": 6, **options}
    return TextRCNN(TASKS, (tokens,), **sizes)  # type: ignore[arg-type]


def padded(rows: Sequence[Sequence[int]], tokens: int) -> Tensor:
    """Return rows of word numbers, padded with 0 behind."""
    return torch.tensor([[*row, *[0] * (tokens - len(row))] for row in rows])


TEXTS = ([2, 3, 4, 5, 6], [7], [1, 1, 8], [21, 20, 2, 2])


def test_one_answer_per_task_with_its_size() -> None:
    """Breaks the contract of a model, or fails for a task with a point in its name."""
    outputs = network(9)(padded(TEXTS, 9))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "topics.a": (4, 3),
        "length": (4, 1),
    }


@pytest.mark.usefixtures("float64")
def test_padding_does_not_change_an_answer() -> None:
    """Breaks if the backward network reads the padding first, or padding wins a maximum."""
    short, long = network(5)(padded(TEXTS, 5)), network(40)(padded(TEXTS, 40))
    assert_near(long, short, 1e-14)


@pytest.mark.usefixtures("float64")
def test_texts_of_a_batch_do_not_touch_each_other() -> None:
    """Breaks if a text's answer depends on the lengths or words of its neighbours."""
    model = network(5)
    together = model(padded(TEXTS, 5))
    alone = [model(padded([text], 5)) for text in TEXTS]
    assert_near(
        together,
        {name: torch.cat([outputs[name] for outputs in alone]) for name in together},
        1e-14,
    )


def test_padding_gets_no_gradient() -> None:
    """Breaks if training moves what stands for nothing.

    Nor may a gradient depend on how long the longest text is.
    """
    gradients = []
    for tokens in (5, 12):
        model = network(tokens)
        outputs = model(padded(TEXTS, tokens))
        torch.stack([output.sum() for output in outputs.values()]).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert not gradients[0]["embedding.weight"][0].any()  # type: ignore[index]
    assert all(g is not None and bool(g.any()) for g in gradients[0].values())
    assert_near(gradients[1], gradients[0], 1e-5)


@pytest.mark.usefixtures("float64")
def test_a_text_read_backwards_with_the_two_networks_exchanged_is_the_same_text() -> None:
    """Breaks if the two contexts are not mirror images.

    One of them is a place off, or includes the word itself.
    """
    model, mirrored = network(5), network(5)
    mirrored.before.load_state_dict(model.behind.state_dict())
    mirrored.behind.load_state_dict(model.before.state_dict())
    left, word, right = model.layer.weight.split([4, 5, 4], dim=1)
    mirrored.layer.weight.data = torch.cat([right, word, left], dim=1).detach()
    assert_near(mirrored(padded([text[::-1] for text in TEXTS], 5)), model(padded(TEXTS, 5)), 1e-14)


@pytest.mark.usefixtures("float64")
def test_the_context_of_a_word_leaves_the_word_itself_out() -> None:
    """Breaks equations 1 and 2.

    The left context of the last word knows the words before it, the right one of the first those
    behind.
    """
    model = network(3)
    with torch.no_grad():
        word = model.layer.weight[:, 4:9]
        word.zero_()  # only contexts are left: with a single word there is none
    alone_7, alone_9 = model(padded([[7], [9]], 3))["length"]
    assert_same_bits(alone_7, alone_9)
    after_7, after_9 = model(padded([[7, 8], [9, 8]], 3))["length"]
    assert not torch.equal(after_7, after_9)


def test_order_matters() -> None:
    """Breaks if the network is a bag of words."""
    there, back = network(3)(padded([[2, 3, 4], [4, 3, 2]], 3))["length"]
    assert not torch.equal(there, back)


def test_a_text_without_a_word_has_a_finite_answer_and_gradient() -> None:
    """Breaks training on an empty body by NaN: the maximum of nothing is minus infinity."""
    model = network(4)
    output = model(padded([[], [2]], 4))["length"]
    output.sum().backward()
    assert bool(output.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_heads_start_at_the_trivial_predictor() -> None:
    """Breaks the quick start with rare labels: their biases begin at the logits of their shares."""
    torch.manual_seed(0)
    model = TextRCNN([Task("a", "multilabel", size=2, trivial=(-3.0, 1.5))], (4,), words=WORDS)
    assert model.heads[0].bias.tolist() == [-3.0, 1.5]  # type: ignore[union-attr, operator]


def test_dropout_acts_in_training_only() -> None:
    """Breaks if `model.dropout` does nothing, or evaluation is random."""
    model, inputs = network(5, dropout=0.5), padded(TEXTS, 5)
    assert not torch.equal(model(inputs)["length"], model(inputs)["length"])
    model.eval()
    assert_same_bits(model(inputs), model(inputs))


@pytest.mark.parametrize("option", ["words", "embedding", "hidden", "features"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "many"])
def test_sizes_are_whole_positive_numbers(option: str, value: object) -> None:
    """Breaks if a wrong size ends in an error of torch."""
    with pytest.raises(
        ConfigError, match=rf"model\.{option} must be a whole number of at least 1; found"
    ):
        network(5, **{option: value})


@pytest.mark.parametrize("dropout", [1.0, -0.1, "half"])
def test_dropout_is_a_share(dropout: object) -> None:
    """Breaks if a dropout of 1 trains on nothing."""
    with pytest.raises(ConfigError, match=r"model\.dropout must lie in \[0, 1\); found"):
        network(5, dropout=dropout)


def test_inputs_that_are_no_rows_are_refused() -> None:
    """Breaks if model=text_rcnn with images ends in an error of torch."""
    with pytest.raises(
        ModelError, match=r"inputs \[N, tokens\]; found inputs of shape \('N', 8, 8\)"
    ):
        TextRCNN(TASKS, (8, 8))


def test_inputs_that_are_no_word_numbers_are_refused() -> None:
    """Breaks if model=text_rcnn with a table ends in an error of torch."""
    with pytest.raises(
        ModelError, match=r"whole numbers \[N, tokens\]; found inputs of type torch.float32"
    ):
        network(5)(torch.zeros(2, 5))


@pytest.mark.parametrize("number", [22, -1])
def test_a_word_beyond_the_vocabulary_is_refused(number: int) -> None:
    """Breaks if a model.words below data.words ends in an "index out of range in self"."""
    with pytest.raises(
        ModelError,
        match=r"model\.words=20 knows the numbers 0 to 21, .* model\.words must be at least data\.words\.",
    ):
        network(3)(torch.tensor([[1, number, 0]]))
