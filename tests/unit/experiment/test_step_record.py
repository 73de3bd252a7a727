"""The record of a step and its places in a row of numbers."""

from __future__ import annotations

import torch

from mtl_runner.experiment.step_record import RecordLayout, StepRecord
from tests.support.builders import assert_near

CPU = torch.device("cpu")


def test_fields_are_read_where_they_were_written() -> None:
    """Breaks if a number of one field lands in the column of another one."""
    layout = RecordLayout(2, {"cosine": 4, "norm_ratio": 1})
    record = StepRecord(
        torch.tensor([1.0, 2.0]),
        torch.tensor([3.0, 4.0]),
        torch.tensor(5.0),
        {"cosine": torch.arange(4.0), "norm_ratio": torch.tensor([9.0])},
    )
    table = torch.full((2, layout.width), torch.nan)
    layout.put(table, {name: torch.stack([value] * 2) for name, value in record.fields().items()})
    for name, value in record.fields().items():
        assert_near(layout.of(table, name)[1], value.reshape(-1), 0)
    assert table.isfinite().all()


def test_only_what_is_trained_must_be_finite() -> None:
    """Breaks if a cosine of NaN ends a run, or a loss of NaN does not."""
    layout = RecordLayout(2, {"cosine": 4})
    row = torch.zeros(1, layout.width)
    layout.of(row, "cosine").fill_(torch.nan)
    assert layout.trained(row).isfinite().all()
    for name in ("loss", "weight", "objective"):
        broken = row.clone()
        layout.of(broken, name).fill_(torch.nan)
        assert not layout.trained(broken).isfinite().all()


def test_a_step_without_any_label_weighs_nothing() -> None:
    """Breaks if an unlabelled batch counts as a loss, or claims to have measured something."""
    record = RecordLayout(2, {"norm_ratio": 1}).nothing(CPU)
    assert_near(record.loss, torch.zeros(2), 0)
    assert_near(record.weight, torch.zeros(2), 0)
    assert_near(record.objective, torch.tensor(0.0), 0)
    assert record.measured["norm_ratio"].isnan().all()
