"""A single run with the compiled step, as a stack of one."""

from __future__ import annotations

from mtl_runner.train.interruption import gracefully
from mtl_runner.train.progress import Progress
from mtl_runner.train.stack.eligibility import reason_against
from mtl_runner.train.stack.loop import Stack
from mtl_runner.train.stack.step import CannotStackError
from mtl_runner.train.trainer import Trainer


def run_compiled(trainer: Trainer) -> str:
    """Train a single run with the compiled step, as a stack of one. Returns why that cannot be, in which case nothing was trained."""
    reason = reason_against(trainer.experiment)
    if reason:
        return reason
    stack = Stack([trainer], compiled=True, snapshots=False)
    try:
        with Progress(stack), gracefully(stack):
            stack.run()
    except CannotStackError as error:
        return f"torch.func refuses the model ({error})"
    trainer.stop = stack.stop
    for failure in stack.failed.values():
        raise failure
    return ""
