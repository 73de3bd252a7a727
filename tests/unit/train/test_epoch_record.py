"""The record of an epoch: means over its steps, and the first number that is not finite."""

from __future__ import annotations

import math

import pytest
import torch

from mtl_runner.errors import DivergedError
from mtl_runner.experiment.step_record import RecordLayout, StepRecord
from mtl_runner.tasks.activity import Active
from mtl_runner.train import epoch_record
from mtl_runner.train.epoch_record import EpochBuffer, EpochMeans
from tests.support.builders import make_tasks

TASKS = make_tasks(a="regression", b="regression")
CPU = torch.device("cpu")
BOTH = Active((1.0, 1.0))
ONLY_A = Active((1.0, 0.0), labelled=(True, False))


def record(
    *losses: float,
    weights: tuple[float, ...] = (1.0, 1.0),
    objective: float = 1.0,
    **measured: torch.Tensor,
) -> StepRecord:
    """Return the record of a step."""
    return StepRecord(
        torch.tensor(losses), torch.tensor(weights), torch.tensor(objective), measured
    )


def test_losses_are_averaged_over_the_steps_with_a_label() -> None:
    """Breaks if a batch without a label of a task counts as a loss of 0."""
    buffer = EpochBuffer(TASKS, 3, CPU)
    buffer.add(record(1.0, 8.0), BOTH)
    buffer.add(record(2.0, 0.0, weights=(1.0, 0.0)), ONLY_A)
    buffer.add(record(6.0, 4.0), BOTH)
    means = buffer.take(1, 1).means()
    assert means.loss == [3.0, 6.0]
    assert means.weight == [1.0, pytest.approx(2 / 3)]
    assert means.active == [1.0, pytest.approx(2 / 3)]


def test_a_likelihood_is_averaged_over_the_steps_with_a_label() -> None:
    """Breaks if the 0 that stands for no label is taken for a likelihood."""
    buffer = EpochBuffer(TASKS, 2, CPU, RecordLayout(2, {"nll": 2, "norm_ratio": 1}))
    ratio = torch.tensor(0.5)
    buffer.add(record(1.0, 1.0, nll=torch.tensor([2.0, 3.0]), norm_ratio=ratio), BOTH)
    buffer.add(record(1.0, 0.0, nll=torch.tensor([4.0, 0.0]), norm_ratio=ratio), ONLY_A)
    assert buffer.take(1, 1).means().measured == {"nll": [3.0, 3.0], "norm_ratio": [0.5]}


def test_a_step_without_any_label_measures_nothing() -> None:
    """Breaks if an empty batch pulls the means of what is measured beside the losses to 0."""
    buffer = EpochBuffer(TASKS, 2, CPU, RecordLayout(2, {"gradient_norm": 2}))
    buffer.add(record(1.0, 2.0, gradient_norm=torch.tensor([3.0, 4.0])), BOTH)
    buffer.add(buffer.empty_record, Active((0.0, 0.0), labelled=(False, False)))
    means = buffer.take(1, 1).means()
    assert means.loss == [1.0, 2.0]
    assert means.measured == {"gradient_norm": [3.0, 4.0]}


def test_steps_stay_in_order_over_many_copies_into_the_buffer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks if a long epoch loses steps, or a second epoch holds steps of the first."""
    monkeypatch.setattr(epoch_record, "FLUSH_STEPS", 4)
    buffer = EpochBuffer(TASKS, 10, CPU)
    for epoch in (0, 1):
        for step in range(10):
            buffer.add(record(float(epoch), float(step)), BOTH)
        losses = buffer.take(epoch + 1, 1).of("loss").tolist()
        assert losses == [[float(epoch), float(step)] for step in range(10)]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (record(1.0, math.nan), "The loss of task 'b' became nan in epoch 7, step 102; lower"),
        (record(math.inf, math.nan), "The loss of task 'a' became inf in epoch 7, step 102; lower"),
        (
            record(1.0, 1.0, weights=(1.0, math.nan)),
            "The weight of 'b' became NaN or infinite in epoch 7, step 102; check",
        ),
        (
            record(1.0, 1.0, objective=math.inf),
            "The weight of 'the objective' became NaN or infinite in epoch 7, step 102; check",
        ),
    ],
)
def test_the_first_number_that_is_not_finite_is_named(broken: StepRecord, sentence: str) -> None:
    """Breaks if a diverged run goes on, or the error blames another task or step."""
    buffer = EpochBuffer(TASKS, 3, CPU)
    for step_record in (record(1.0, 1.0), broken, record(math.nan, math.nan)):
        buffer.add(step_record, BOTH)
    with pytest.raises(DivergedError) as error:
        buffer.take(epoch=7, first_step=101)
    assert str(error.value).startswith(sentence)


def test_a_likelihood_that_diverges_is_named_by_its_own_value() -> None:
    """Breaks if a NaN of what is trained is hidden by a standard loss that stays finite."""
    buffer = EpochBuffer(TASKS, 1, CPU, RecordLayout(2, {"nll": 2}))
    nll = torch.tensor([1.0, math.nan])
    buffer.add(record(1.0, 1.0, objective=math.nan, nll=nll), BOTH)
    with pytest.raises(DivergedError, match="The loss of task 'b' became nan in epoch 1, step 1"):
        buffer.take(1, 1)


def test_means_come_back_from_checkpoints_of_every_version() -> None:
    """Breaks if a run that was recorded with an earlier version cannot be resumed."""
    means = EpochMeans([1.0], [2.0], [0.5], 3.0, {"nll": [4.0]})
    state = means.state_dict()
    assert state == {
        "loss": [1.0],
        "weight": [2.0],
        "active": [0.5],
        "objective": 3.0,
        "further": {"nll": [4.0]},
    }
    assert EpochMeans.from_state_dict(state) == means
