"""The sentence for the user that each exception becomes."""

from __future__ import annotations

import errno

import pytest
import torch

from mtl_runner.errors import DataError
from mtl_runner.errors.messages import run_message

CASES = [
    (DataError("As it stands."), "As it stands."),
    (
        MemoryError(),
        "Out of memory; set trainer.accumulate, lower data.batch_size or model.hidden, or choose another trainer.device.",
    ),
    (
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        "Out of memory; set trainer.accumulate, lower data.batch_size or model.hidden,",
    ),
    (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        "Out of memory; set trainer.accumulate, lower data.batch_size",
    ),
    (
        OSError(errno.ENOSPC, "No space left on device"),
        "The disk is full (writing the run directory); free some space and go on with mtl-run resume=",
    ),
    (
        PermissionError(errno.EACCES, "Permission denied", "/x/run"),
        "Cannot write '/x/run': Permission denied; choose a directory you may write to",
    ),
    (
        OSError(errno.EROFS, "Read-only file system", "/x"),
        "Cannot write '/x': Read-only file system; choose a directory you may write to",
    ),
    (
        NotADirectoryError(errno.ENOTDIR, "Not a directory", "f/x"),
        "Cannot make the directory 'f/x': a file of that name is in the way;",
    ),
    (
        KeyError("a user's own mistake"),
        'KeyError: "a user\'s own mistake"; run.log holds the traceback, HYDRA_FULL_ERROR=1 shows it.',
    ),
]


@pytest.mark.parametrize(("error", "expected"), CASES, ids=lambda value: type(value).__name__)
def test_every_failure_is_one_sentence(error: BaseException, expected: str) -> None:
    """Breaks if a failure that cannot be provoked in a test is not explained to the user."""
    message = run_message(error)
    assert message.startswith(expected)
    assert "\n" not in message


def test_a_real_allocation_failure_is_recognised() -> None:
    """Breaks if PyTorch words it differently."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert run_message(caught.value).startswith("Out of memory;")
