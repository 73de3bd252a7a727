"""A single run with a compiled step, as a stack of one replica."""

from __future__ import annotations

from mtl_runner.train.interruption import graceful_interruption
from mtl_runner.train.progress import ProgressBar
from mtl_runner.train.stack.eligibility import reason_in_batches, reason_not_to_stack
from mtl_runner.train.stack.stack_trainer import StackTrainer
from mtl_runner.train.stack.stacked_step import CannotStackError
from mtl_runner.train.trainer import Trainer
from mtl_runner.weighting.protocols import DrawsNumbers


def run_compiled(trainer: Trainer, name: str | None = None, shown: bool = True) -> str:
    """Train a single run with a compiled step, as a stack of one replica.

    Args:
        trainer: The trainer of the run.
        name: What its bar begins with; None for a single run.
        shown: Whether it has a bar, on a terminal.

    Returns:
        An empty text, or the reason why the run cannot be stacked; then nothing was trained.

    Raises:
        Exception: Whatever ended the training, such as ``DivergedError`` or ``Interrupted``.
    """
    reason = reason_not_to_stack(trainer.experiment) or reason_in_batches(
        trainer.batches, trainer.settings.trainer.epochs, trainer.tasks
    )
    if reason:
        return reason
    stack = StackTrainer([trainer], compiled=True, snapshots=False)
    try:
        with ProgressBar(stack, name, shown), graceful_interruption(stack):
            stack.run()
    except CannotStackError as error:
        weighting = trainer.learner.weighting
        if isinstance(weighting, DrawsNumbers):
            weighting.draws_ahead = False
        return f"torch.func refuses the model ({error})"
    trainer.stop, trainer.stop_signal = stack.stop, stack.stop_signal
    for failure in stack.failed.values():
        raise failure
    return ""
