"""A bar over epochs on a terminal; silent when piped."""

from __future__ import annotations

from types import TracebackType

from tqdm import tqdm

from mtl_runner.train import Trainer


class Progress:
    """Shows epoch, objective and steps/s while a trainer runs."""

    def __init__(self, trainer: Trainer) -> None:
        self.bar = tqdm(
            total=trainer.settings.epochs,
            initial=trainer.epoch,
            unit="epoch",
            disable=None,
            leave=False,
            dynamic_ncols=True,
        )
        self.first_step = trainer.step
        self.trainer = trainer
        if not self.bar.disable:
            trainer.on_epoch = self.update

    def update(self, epoch: int, objective: float) -> None:
        """Called at the end of every epoch."""
        elapsed = self.bar.format_dict["elapsed"] or 1e-9
        rate = (self.trainer.step - self.first_step) / elapsed
        self.bar.set_postfix_str(f"total loss {objective:.4g}, {rate:.0f} steps/s", refresh=False)
        self.bar.update(epoch - self.bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()
