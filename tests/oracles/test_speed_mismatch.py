"""The losses of ``data=speed_mismatch`` fall one after the other in training."""

from __future__ import annotations

from pathlib import Path

from tests.oracles.methods.runs import column
from tests.oracles.methods.runs import train as train_run


def test_one_loss_falls_long_before_the_other(tmp_path: Path) -> None:
    """Breaks if the two tasks are learned at a similar speed.

    When the digits are half learned, nearly everything is left to learn of the pixels.
    """
    options = (
        "data=speed_mismatch",
        "weighting=fixed",
        "trainer.epochs=4",
        "trainer.lr_scheduler=null",
        "model.width=8",
    )
    digit, pixels = column(train_run(tmp_path / "run", *options), "relative_loss", "val")[-1]
    assert float(digit) < 0.5
    assert float(pixels) > 0.6
    assert float(pixels) > 2 * float(digit)
