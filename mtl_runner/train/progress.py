"""A progress bar over the epochs on a terminal; silent where the output is piped."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from tqdm import tqdm

from mtl_runner.config.settings import Settings

# A bar under that of a sweep waits so many seconds: short runs would only flicker.
DELAY = 1.0


class ReportsEpochs(Protocol):
    """A training loop that counts epochs and steps, and calls ``on_epoch`` after every epoch."""

    epoch: int
    step: int
    on_epoch: Callable[[int, float], None] | None

    @property
    def settings(self) -> Settings:
        """The settings of the run, for its number of epochs."""

    @property
    def progress(self) -> str:
        """The monitor on validation, in words; empty before the first evaluation."""


# Without tqdm's rate: the steps per second say more than the epochs.
FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class ProgressBar:
    """Shows epoch, monitor, objective and steps per second while a run or a stack of runs trains.

    Use it as a context manager around the training; it takes ``on_epoch`` of the loop if there is a
    terminal.

    Args:
        training: The loop whose epochs are shown.
        name: Text in front of the bar; None for a single run, which has the terminal to itself.
        shown: Whether there is to be a bar, on a terminal.

    Example:
        >>> from types import SimpleNamespace
        >>> options = SimpleNamespace(trainer=SimpleNamespace(epochs=2))
        >>> training = SimpleNamespace(
        ...     epoch=0, step=0, on_epoch=None, settings=options, progress="relative_loss 0.9"
        ... )
        >>> with ProgressBar(training, "4 runs") as bar:
        ...     bar.update(epoch=1, objective=0.5)
    """

    def __init__(
        self, training: ReportsEpochs, name: str | None = None, shown: bool = True
    ) -> None:
        self.bar = tqdm(
            desc=name,
            total=training.settings.trainer.epochs,
            initial=training.epoch,
            unit="epoch",
            disable=None if shown else True,
            delay=0 if name is None else DELAY,
            leave=False,
            dynamic_ncols=True,
            bar_format=FORMAT,
        )
        self.first_step = training.step
        self.training = training
        if not self.bar.disable:
            training.on_epoch = self.update

    def update(self, epoch: int, objective: float) -> None:
        """Show the end of an epoch.

        Args:
            epoch: Number of the epoch, counted from 1.
            objective: Mean objective of its steps.
        """
        elapsed = self.bar.format_dict["elapsed"] or 1e-9
        rate = (self.training.step - self.first_step) / elapsed
        parts = [self.training.progress, f"total loss {objective:.4g}", f"{rate:.0f} steps/s"]
        self.bar.set_postfix_str(", ".join(filter(None, parts)), refresh=False)
        self.bar.update(epoch - self.bar.n)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A line above it draws a bar that still waits; tqdm clears none that has not waited out.
        with self.bar.get_lock():
            self.bar.clear(nolock=True)
            self.bar.close()
