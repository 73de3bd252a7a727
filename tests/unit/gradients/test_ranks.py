"""The processes that train together; here a group of one, by the real library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mtl_runner.compat.torch_stores import private_store
from mtl_runner.errors import OtherRankError
from mtl_runner.gradients import ranks as module
from mtl_runner.gradients.ranks import (
    RankFailure,
    Ranks,
    Reports,
    current_ranks,
    differentiable_sum,
    joined,
)


@pytest.fixture
def alone() -> Iterator[Ranks]:
    """Return a group of one process."""
    with joined(Ranks(0, 1)) as ranks:
        yield ranks


def test_a_process_knows_its_group_while_it_lasts() -> None:
    """Breaks if a run on one device after another on two waits for the other process."""
    assert current_ranks() is None
    with joined(Ranks(0, 1)) as ranks:
        assert current_ranks() is ranks
    assert current_ranks() is None


def test_tensors_of_several_types_travel_together(alone: Ranks) -> None:
    """Breaks if a message mixes up types, shapes or the order."""
    tensors = [
        torch.arange(6.0).view(2, 3),
        torch.tensor(5.0, dtype=torch.float64),
        torch.ones(2),
        torch.empty(0),
    ]
    for result, tensor in zip(alone.sum_together(tensors), tensors, strict=True):
        torch.testing.assert_close(result, tensor, rtol=0, atol=0)
    assert alone.sum_together([]) == []


def test_rows_numbers_and_objects_are_exchanged(alone: Ranks) -> None:
    """Breaks if something of the only process is lost."""
    rows = torch.arange(4.0).view(2, 2)
    assert torch.equal(alone.gathered(rows), rows)
    assert torch.equal(alone.from_first(rows.clone()), rows)
    assert alone.largest([True, 3, 0]) == [1, 3, 0]
    assert alone.objects({"a": 1}) == [{"a": 1}]


def test_a_sum_has_a_gradient(alone: Ranks) -> None:
    """Breaks if batch normalisation over processes is trained wrongly."""
    point = torch.tensor([1.0, 2.0], requires_grad=True)
    (differentiable_sum(point, alone).square().sum()).backward()
    assert point.grad is not None
    assert point.grad.tolist() == [2.0, 4.0]


def test_an_error_of_the_library_becomes_the_sentence_of_who_ended_first() -> None:
    """Breaks if a survivor says that a connection was reset."""
    ranks = Ranks(1, 2)
    ranks.reports.fail(RankFailure("The disk is full."))
    ranks.reports.fail(RankFailure("Something else."))
    with pytest.raises(OtherRankError) as error, ranks.in_words():
        raise RuntimeError("Connection reset by peer")
    assert (str(error.value), error.value.signal) == ("The disk is full.", 0)


def test_a_signal_is_told_with_its_number() -> None:
    """Breaks if a run that was stopped counts as failed."""
    ranks = Ranks(1, 2)
    ranks.reports.fail(RankFailure("Stopped.", signal=15))
    with pytest.raises(OtherRankError) as error, ranks.in_words():
        raise RuntimeError("Connection closed")
    assert error.value.signal == 15


def test_a_process_that_left_no_word_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a survivor waits for ever, or guesses."""
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    with pytest.raises(OtherRankError) as error, Ranks(0, 2).in_words():
        raise RuntimeError("Connection closed")
    assert str(error.value) == (
        "Another process of this run has ended without a word; what it printed last says more."
    )


def test_a_process_that_hangs_is_named() -> None:
    """Breaks if nobody knows which of many processes hangs."""
    board = Reports(private_store())
    board.store.set("waiting 0", "")
    ranks = Ranks(2, 3, reports=board, timeout=0.2)
    with pytest.raises(OtherRankError) as error, ranks.in_words():
        raise RuntimeError("Timed out waiting 200ms for recv operation to complete")
    assert str(error.value) == (
        "Process 2 of 3 has not answered for 0.2 seconds; if that is no mistake, raise trainer.timeout."
    )


def test_a_call_that_torch_makes_by_itself_fails_in_words() -> None:
    """Breaks if a model that is sharded ends with "connection reset" instead of the reason."""
    ranks = Ranks(0, 2)
    ranks.reports.fail(RankFailure("The disk is full."))
    with pytest.raises(OtherRankError, match=r"^The disk is full\.$"), ranks.others_in_words():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), ranks.others_in_words():
        raise RuntimeError("shapes differ")
