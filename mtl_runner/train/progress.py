"""A bar over epochs on a terminal; silent when piped."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from tqdm import tqdm

from mtl_runner.config.settings import Settings


class Training(Protocol):
    """What counts epochs and steps, and tells of them."""

    epoch: int
    step: int
    on_epoch: Callable[[int, float], None] | None

    @property
    def settings(self) -> Settings: ...


class Progress:
    """Shows epoch, objective and steps/s while a run or a stack trains."""

    def __init__(self, training: Training, name: str | None = None) -> None:
        self.bar = tqdm(
            desc=name,
            total=training.settings.trainer.epochs,
            initial=training.epoch,
            unit="epoch",
            disable=None,
            leave=False,
            dynamic_ncols=True,
        )
        self.first_step = training.step
        self.training = training
        if not self.bar.disable:
            training.on_epoch = self.update

    def update(self, epoch: int, objective: float) -> None:
        """Called at the end of every epoch."""
        elapsed = self.bar.format_dict["elapsed"] or 1e-9
        rate = (self.training.step - self.first_step) / elapsed
        self.bar.set_postfix_str(f"total loss {objective:.4g}, {rate:.0f} steps/s", refresh=False)
        self.bar.update(epoch - self.bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.close()
